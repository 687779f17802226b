import type { ErrorCode } from '@brink/protocol';

// What the gateway and its spool thread say to each other.

/** Which numbers of one boot were taken. */
export interface Numbers {
  /** Every one up to it. */
  readonly through: number;
  /** And these beyond it, ascending: [first, last], both included. */
  readonly above: readonly (readonly [number, number])[];
}

export interface Rejection {
  readonly seq: number;
  readonly code: ErrorCode;
}

interface FrameRow {
  readonly id: number;
  readonly boot: string;
  readonly seq: number;
  readonly receivedMs: number;
  readonly type: string;
  readonly traceparent: string | undefined;
  /** Position of the first sample, where the device says it. */
  readonly at?: number | undefined;
  readonly payload: Uint8Array;
  readonly pipelines: readonly string[];
  /** It is to be cut into windows: its units are not known yet. */
  readonly uncut?: boolean;
}

/** One thing that happened to a stream of a device; all of it is committed, or nothing. */
export interface Change {
  readonly device: string;
  readonly stream: string;
  /** Counters that go up by one. */
  readonly counts?: readonly string[];
  readonly numbers?: Numbers & { readonly boot: string; readonly rejected: readonly Rejection[] };
  /** A boot that is too old to be remembered. */
  readonly forget?: string | undefined;
  readonly frame?: FrameRow;
  readonly attempts?: UnitRow & { readonly attempts: number };
  readonly settled?: UnitRow;
  /** A frame was cut into windows: these units of it are to be decided. Its samples are needed until it is released. */
  readonly cut?: {
    readonly frame: number;
    readonly pipeline: string;
    readonly parts: readonly number[];
    /** Those of before go. */
    readonly again?: boolean;
  };
  /** A pipeline needs the samples of these frames no more. */
  readonly released?: { readonly frames: readonly number[]; readonly pipeline: string };
  /** Where a pipeline stands after what is released or settled with it. */
  readonly chain?: ChainRow;
  /** This boot is over. */
  readonly ended?: { readonly boot: string };
}

interface UnitRow {
  readonly frame: number;
  readonly pipeline: string;
  /** default 0 */
  readonly part?: number;
}

export interface ChainRow {
  readonly boot: string;
  readonly pipeline: string;
  /** absent: as it was */
  readonly mark?: Uint8Array;
  readonly states?: Uint8Array;
}

/** Of a row of `unit` that is no unit. */
export const UNCUT = -1;
export const NEEDED = -2;

export interface Group {
  /** Committed with it, so that whoever opens the spool after a crash knows whether it is there. */
  readonly n: number;
  readonly changes: readonly Change[];
}

/** Rows of one stream, in the order of arrival. */
export interface Load {
  readonly stream: string;
  readonly after: number;
  readonly rowsMax: number;
  readonly bytesMax: number;
}

/** `probe`: is there room for frames again? */
export type Ask = { readonly load: Load } | 'probe';

export type Request = { readonly write: Group } | { readonly ask: Ask; readonly n: number } | 'stop';

export interface Failure {
  readonly code: ErrorCode;
  readonly detail: string;
}

export interface LoadedRow extends Omit<FrameRow, 'pipelines' | 'uncut'> {
  readonly device: string;
}

export type Answer =
  | { readonly group: number; readonly failure?: Failure }
  | { readonly asked: number; readonly failure?: Failure; readonly rows?: readonly LoadedRow[] };

export type Reply = Answer | { readonly opened: SpoolContents } | { readonly notOpened: Failure };

/** What a spool holds when it is opened. */
export interface SpoolContents {
  /** Number of the last group that was committed, in whichever process. */
  readonly lastGroup: number;
  readonly lastId: number;
  readonly rows: readonly {
    readonly id: number;
    readonly device: string;
    readonly stream: string;
    readonly boot: string;
    readonly seq: number;
    readonly bytes: number;
    readonly receivedMs: number;
    readonly units: readonly (readonly [pipeline: string, attempts: number, part: number])[];
  }[];
  readonly boots: readonly (Numbers & {
    readonly device: string;
    readonly stream: string;
    readonly boot: string;
    readonly rejected: readonly Rejection[];
  })[];
  readonly chains: readonly (ChainRow & { readonly device: string; readonly stream: string })[];
  readonly counters: readonly {
    readonly device: string;
    readonly stream: string;
    readonly name: string;
    readonly value: number;
  }[];
}
