import { BrinkError } from '@brink/protocol';
import { type LedgerCopy, listCopies, restoreCopy } from '../backup/copies.ts';
import { MIGRATIONS } from '../migrations.ts';
import { type Check, openStore, readHead, type Store } from '../store.ts';
import { copyLogAside, dropAside, moveAside } from './aside.ts';
import { examine, type Findings } from './examine.ts';
import { type Head, type Mirrored, machineNow } from './mirror.ts';
import { takeRestored } from './restored.ts';
import { removeSums } from './sums.ts';

/** A ledger that is sound, and what had to be done for it. */
export interface SoundStore {
  readonly store: Store;
  readonly head: Head;
  /** The newest that the mirror knows of; its number is never given again, even where its decision is lost. */
  readonly mirror: Mirrored | undefined;
  /** What somebody has to know: something was lost. */
  readonly damage: string[];
  /** What happened on purpose. */
  readonly restored: string | undefined;
  readonly warnings: readonly string[];
  /** The sums hold. False: they must be made anew. */
  readonly verified: boolean;
}

/**
 * Opens the ledger if it is sound. If not: what is damaged moves to damaged/, the newest copy that is sound takes its place,
 * and without one a new ledger begins. Damage is never passed over: it stands in `damage`.
 * @param deep a doubt came up while it ran: SQLite's own check looks at everything
 * @throws BrinkError E_STORAGE_CORRUPT where the file is none of Brink's, E_STORAGE_NEWER, E_STORAGE_READONLY, E_STORAGE_FULL
 */
export async function openSound(folder: string, o: { nowMs: number; deep: boolean }): Promise<SoundStore> {
  const restored = takeRestored(folder);
  const found = examine(folder, MIGRATIONS.length);
  const { mirror, warnings, verified } = found;
  const first = found.damage ?? (await openFound(folder, found, { ...o, restored: restored !== undefined }));
  if (typeof first !== 'string') {
    const { store, gap, log } = first;
    const known = { store, head: readHead(store.db), mirror, restored, verified };
    if (gap?.lost !== true) return { ...known, damage: [], warnings: [...warnings, ...(gap ? [gap.text] : [])] };
    const kept = log === undefined ? '' : `; the log as it was found: ${log}`;
    return { ...known, damage: [gap.text + kept], warnings };
  }
  const { store, damage } = await openReplacement(folder, first, o.nowMs);
  return { store, head: readHead(store.db), mirror, restored, verified: false, damage, warnings };
}

interface Found {
  readonly store: Store;
  readonly gap: Gap | undefined;
  /** Where the end of the log was kept. */
  readonly log: string | undefined;
}

/** @returns the store, or why it must not be used */
async function openFound(
  folder: string,
  { verified, torn, mirror }: Findings,
  o: { nowMs: number; deep: boolean; restored: boolean },
): Promise<Found | string> {
  const log = torn ? copyLogAside(folder, o.nowMs) : undefined;
  const store = await tryOpen(folder, verified && !o.deep ? 'none' : 'whole');
  if (store instanceof BrinkError) return store.detail;
  const head = readHead(store.db);
  const gap = o.restored ? undefined : gapIn(head, mirror);
  if (gap?.lost !== true && log !== undefined) dropAside(folder, log);
  // What is left is as good as a copy. On a quiet site a copy may still hold more than it.
  if (gap?.lost !== true || !listCopies(folder).some(({ commits }) => commits > head.commits)) {
    return { store, gap, log };
  }
  store.close();
  return gap.text;
}

/** The newest copy that opens, or a new ledger. @returns with what was done, in sentences */
async function openReplacement(folder: string, why: string, nowMs: number) {
  const copies = listCopies(folder);
  const damage: string[] = [];
  for (let reason = why; ; ) {
    damage.push(replace(folder, reason, nowMs, copies));
    removeSums(folder);
    const store = await tryOpen(folder, 'whole');
    if (!(store instanceof BrinkError)) return { store, damage };
    reason = store.detail;
  }
}

async function tryOpen(folder: string, check: Check): Promise<Store | BrinkError> {
  try {
    return await openStore(folder, MIGRATIONS, check);
  } catch (reason) {
    const error = BrinkError.from(reason);
    if (error.code !== 'E_STORAGE_CORRUPT') throw error;
    return error;
  }
}

/** @param copies those that were not tried yet, newest first @returns what was done, as a sentence */
function replace(folder: string, why: string, nowMs: number, copies: LedgerCopy[]): string {
  const said = `${why}; it was moved to ${moveAside(folder, nowMs)}`;
  for (let copy = copies.shift(); copy !== undefined; copy = copies.shift()) {
    if (!restoreCopy(folder, copy)) continue;
    const at = new Date(copy.made_ms).toISOString();
    return `${said}, and the copy of ${at} is in its place: what came after decision ${copy.n} is not in it`;
  }
  return `${said}; there is no copy that is whole, so a new ledger has begun`;
}

interface Gap {
  readonly text: string;
  /** Somebody relied on it. False: it may go with the power, and the power went. */
  readonly lost: boolean;
}

/** Commits that the mirror knows and the ledger does not. */
function gapIn(head: Head, mirror: Mirrored | undefined): Gap | undefined {
  if (mirror === undefined) {
    return head.commits === 0
      ? undefined
      : { lost: true, text: 'ledger.head is gone: whether the newest commits are there cannot be told' };
  }
  if (head.commits > mirror.commits) return undefined;
  if (head.commits === mirror.commits) {
    return head.hash === mirror.hash
      ? undefined
      : { lost: true, text: `commit ${head.commits} of the ledger is not the one that ledger.head knows` };
  }
  const { machine } = machineNow();
  // The log is not synced at every commit. While the machine runs, that loses nothing: the system has what was written.
  const sameMachine = machine !== '' && machine === mirror.machine;
  const lost = sameMachine || head.commits < mirror.promised;
  const missing = `commits ${head.commits + 1} to ${mirror.commits} are not in the ledger`;
  const text = lost
    ? `${missing}: the end of its log is damaged; decisions up to ${mirror.n} were made, up to ${head.n} are left`
    : `${missing}: they went with the power; nobody had been promised any of them`;
  return { lost, text };
}
