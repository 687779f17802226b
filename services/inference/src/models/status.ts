import type { BrinkError } from '@brink/protocol';

type VersionState = 'loading' | 'ready' | 'failed' | 'draining';

/** How one model version is, for everybody who shows it. */
export interface VersionStatus {
  readonly state: VersionState;
  /** Why it failed. */
  readonly error: BrinkError | undefined;
  /** What is to be known about it although it serves; '' where there is nothing. */
  readonly note: string;
  /** Empty until the passport was read, and where there is none. */
  readonly passportSha256: string;
  /** A folder without a passport: it takes requests of the Open Inference Protocol, and no units. */
  readonly isBare: boolean;
  /** The largest useful batch; 0 until measured. */
  readonly batchBest: number;
  /** Runners that take batches. */
  readonly copies: number;
  /** What really computes it. */
  readonly provider: string;
  /** Why that is not the preferred one; '' where it is. */
  readonly fallback: string;
}

/** Written in one place, read everywhere. */
export interface Status {
  /** The same object, kept up to date. */
  readonly now: VersionStatus;
  set(changes: Partial<Omit<VersionStatus, 'note' | 'isBare'>>): void;
  /** @param about of each there is one note; '' takes it back */
  note(about: string, text: string): void;
  bare(): void;
}

/** @param changed called after every change that others are told of */
export function createStatus(changed: () => void): Status {
  const notes = new Map<string, string>();
  const now: { -readonly [Key in keyof VersionStatus]: VersionStatus[Key] } = {
    state: 'loading',
    error: undefined,
    note: '',
    passportSha256: '',
    isBare: false,
    batchBest: 0,
    copies: 0,
    provider: '',
    fallback: '',
  };

  function note(about: string, text: string): void {
    if (text === '') notes.delete(about);
    else notes.set(about, text);
    const all = [...notes.values()].join('; ');
    if (all === now.note) return;
    now.note = all;
    changed();
  }

  return {
    now,
    set(changes) {
      Object.assign(now, changes);
      if (changes.fallback !== undefined) note('provider', changes.fallback);
      changed();
    },
    note,
    bare() {
      now.isBare = true;
      note('passport', 'no model.json: it answers the Open Inference Protocol and takes no units');
    },
  };
}

/** For a status: why it is as it is; '' where there is nothing to say. */
export const reasonOf = ({ error, note }: VersionStatus) => (error?.message ?? note).slice(0, 500);
