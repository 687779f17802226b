import type { Decision } from '@brink/protocol';
import type { Logger } from '@brink/runtime';
import type { Failure } from './messages.ts';
import type { Committed } from './records.ts';

/** Decisions that were not kept and are remembered, for whoever waits for one over HTTP. */
const UNKEPT_MAX = 1000;

/** How the ledger is: counters, listeners, and what is wrong. */
export function createState(logger: Logger) {
  const committedListeners: ((committed: Committed) => void)[] = [];
  const dueListeners: (() => void)[] = [];

  function tell<T>(listeners: readonly ((value: T) => void)[], value: T): void {
    for (const listener of listeners) {
      try {
        listener(value);
      } catch (error) {
        logger.error({ err: error }, 'a listener of the ledger failed');
      }
    }
  }

  return {
    problem: 'not started' as string | undefined,
    damage: [] as readonly string[],
    onCorrupt: (_detail: string) => {},
    /** What SQLite finds wrong with the file. */
    corrupt({ code, detail }: Failure): void {
      if (code === 'E_STORAGE_CORRUPT') this.onCorrupt(detail);
    },
    counters: {
      ...{ committed: 0, duplicates: 0, refusedBusy: 0, failedCommits: 0, actions: 0, purged: 0 },
      ...{ lastCommitMs: 0, gapsClosed: 0, rows: 0, bytes: 0, unkept: 0, refusedFull: 0 },
    },
    /** The writer found no room on the disk. */
    short: false,
    /** The newest ones that `keep` left out. */
    unkept: new Map<string, Decision>(),
    remember(decisions: readonly Decision[]): void {
      for (const decision of decisions) this.unkept.set(decision.id, decision);
      this.counters.unkept += decisions.length;
      for (const id of this.unkept.keys()) {
        if (this.unkept.size <= UNKEPT_MAX) break;
        this.unkept.delete(id);
      }
    },
    get full(): string | undefined {
      return this.short ? 'E_STORAGE_FULL: the disk, or what the ledger may take of it, is full' : undefined;
    },
    /** @returns whether it is news that there is none */
    isShort(short: boolean): boolean {
      const news = short && !this.short;
      if (news) logger.error({ code: 'E_STORAGE_FULL' }, 'the ledger has no room: nothing new is taken in');
      else if (this.short && !short) logger.info('the ledger has room again');
      this.short = short;
      return news;
    },
    /** A refusal is the caller's; what the store cannot do is everybody's. */
    note({ code, detail }: Failure): void {
      if (!code.startsWith('E_STORAGE') && code !== 'E_UNAVAILABLE') return;
      this.counters.failedCommits += 1;
      // How long that lasts is the room's to say, not the next commit's.
      if (code === 'E_STORAGE_FULL') return;
      this.corrupt({ code, detail });
      const problem = `${code}: ${detail}`;
      if (this.problem !== problem) logger.error({ code, detail }, 'the ledger cannot commit');
      this.problem = problem;
    },
    onClock(shiftMs: number): void {
      logger.warn({ seconds: shiftMs / 1000 }, 'the clock was set; deadlines move along');
    },
    onCommitted: (listener: (committed: Committed) => void) => void committedListeners.push(listener),
    onDue: (listener: () => void) => void dueListeners.push(listener),
    tellCommitted: (committed: Committed) => tell(committedListeners, committed),
    tellDue: () => tell(dueListeners, undefined),
  };
}

export type LedgerState = ReturnType<typeof createState>;
