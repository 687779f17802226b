import { BrinkError } from '@brink/protocol';
import { listCopies, restoreCopy } from '../backup/copies.ts';
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
  readonly warnings: string[];
  /** The sums hold. False: they must be made anew. */
  readonly verified: boolean;
}

/** Copies that are tried, one after the other. */
const TRIES_MAX = 4;

/**
 * Opens the ledger if it is sound. If not: what is damaged moves to damaged/, the newest copy that is sound takes its place,
 * and without one a new ledger begins. Damage is never passed over: it stands in `damage`.
 * @param deep a doubt came up while it ran: SQLite's own check looks at everything
 * @throws BrinkError E_STORAGE_CORRUPT where the file is none of Brink's, E_STORAGE_NEWER, E_STORAGE_READONLY, E_STORAGE_FULL
 */
export async function openSound(folder: string, o: { nowMs: number; deep: boolean }): Promise<SoundStore> {
  const damage: string[] = [];
  const restored = takeRestored(folder);
  let found = examine(folder, MIGRATIONS.length);
  const { mirror, warnings } = found;
  for (let tries = 0; ; tries++) {
    if (found.damage === undefined) {
      const log = found.torn ? copyLogAside(folder, o.nowMs) : undefined;
      const opened = await tryOpen(folder, checkFor(found, o.deep || tries > 0));
      if (!(opened instanceof BrinkError)) {
        const gap = tries === 0 && restored === undefined ? gapIn(readHead(opened.db), mirror) : undefined;
        const better = gap?.lost === true ? newerCopy(folder, readHead(opened.db)) : undefined;
        if (better === undefined) {
          if (log !== undefined && gap?.lost !== true) dropAside(folder, log);
          const kept = log === undefined ? '' : `; the log as it was found: ${log}`;
          if (gap?.lost === true) damage.push(gap.text + kept);
          const odd = gap?.lost === false ? [gap.text] : [];
          const head = readHead(opened.db);
          const { verified } = found;
          return { store: opened, head, mirror, damage, restored, verified, warnings: [...warnings, ...odd] };
        }
        opened.close();
        found = { ...found, damage: (gap as Gap).text };
      } else found = { ...found, damage: opened.detail };
    }
    damage.push(replace(folder, found.damage as string, o.nowMs, tries));
    removeSums(folder);
    found = { ...found, damage: undefined, verified: false, torn: false };
  }
}

const checkFor = ({ verified }: Findings, deep: boolean): Check => (deep ? 'whole' : verified ? 'none' : 'whole');

async function tryOpen(folder: string, check: Check): Promise<Store | BrinkError> {
  try {
    return await openStore(folder, MIGRATIONS, check);
  } catch (reason) {
    const error = BrinkError.from(reason);
    if (error.code !== 'E_STORAGE_CORRUPT') throw error;
    return error;
  }
}

/** @returns what was done, as a sentence */
function replace(folder: string, why: string, nowMs: number, tries: number): string {
  const place = moveAside(folder, nowMs);
  const said = `${why}; it was moved to ${place}`;
  if (tries < TRIES_MAX) {
    for (const copy of listCopies(folder)) {
      if (!restoreCopy(folder, copy)) continue;
      const at = new Date(copy.made_ms).toISOString();
      return `${said}, and the copy of ${at} is in its place: what came after decision ${copy.n} is not in it`;
    }
  }
  return `${said}; there is no copy, so a new ledger has begun`;
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

function newerCopy(folder: string, head: Head) {
  return listCopies(folder).find(({ commits }) => commits > head.commits);
}
