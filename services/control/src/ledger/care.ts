import type { Clock, Logger } from '@brink/runtime';
import { createBackups } from './backup/hourly.ts';
import type { ScrubReply } from './integrity/integrity.ts';
import { createRounds } from './integrity/rounds.ts';
import type { Operation } from './messages.ts';

const COPIES_KEPT = 3;

/** What keeps the ledger from being lost: copies, and a look at every page once a day. */
export function createCare(
  o: { readonly folder: string; readonly copyEveryMs?: number; readonly copiesKept?: number },
  d: {
    readonly clock: Clock;
    readonly logger: Logger;
    readonly perform: (operation: Operation, full: boolean) => Promise<unknown>;
    readonly onCorrupt: (detail: string) => void;
  },
) {
  const backups = createBackups(
    { folder: o.folder, everyMs: o.copyEveryMs ?? 0, keep: o.copiesKept ?? COPIES_KEPT },
    d,
  );
  const rounds = createRounds({
    clock: d.clock,
    scrub: (from, pages) => d.perform({ op: 'scrub', from, pages }, false) as Promise<ScrubReply>,
    onDamage: (pages) => d.onCorrupt(`pages ${pages.join(', ')} are not what was written`),
  });
  return {
    copy: backups.make,
    start(): void {
      backups.start();
      rounds.start();
    },
    async stop(): Promise<void> {
      rounds.stop();
      await backups.stop();
    },
    get stats() {
      const { made, failed, lastMs = 0 } = backups.stats;
      return { copies: made, copiesFailed: failed, copiedAt: lastMs / 1000 };
    },
  };
}
