import { statfsSync } from 'node:fs';
import { BrinkError } from '@brink/protocol';
import type { LedgerState } from './condition.ts';
import type { LedgerConfig, LedgerDeps } from './contract.ts';
import type { Group, GroupReply, HungRule, WorkerData } from './messages.ts';
import { createQueries } from './queries.ts';
import { createThread } from './thread.ts';
import { createWatchdog } from './watchdog.ts';

const RETAIN_DAYS = 30;
const RETAIN_ROWS = 10_000_000;
const GIB = 1024 ** 3;
const RETAIN_BYTES = 20 * GIB;
const RETAIN_SUMMARY_DAYS = 90;

/** The thread that writes and the one that reads. */
export function createThreads(config: LedgerConfig, { clock, logger, machine }: LedgerDeps, state: LedgerState) {
  let deep = false;
  const data = (role: 'write' | 'read'): WorkerData => ({
    ...{ role, folder: config.folder, nowMs: clock.now(), testing: config.testing ?? {}, deep, machine: machine?.() },
    ...{ retainDays: config.retainDays ?? RETAIN_DAYS, retainRows: config.retainRows ?? RETAIN_ROWS },
    retainBytes: Math.min(config.retainBytes ?? RETAIN_BYTES, halfOfDisk(config.folder)),
    // Queries by time find their way with them, so they live as long as the decisions at the least.
    retainSummaryDays: Math.max(
      config.retainSummaryDays ?? RETAIN_SUMMARY_DAYS,
      (config.retainDays ?? RETAIN_DAYS) + 1,
    ),
  });
  const watchdog = createWatchdog({ clock, onHang });
  const writer = createThread<Group | 'stop', GroupReply>(() => ({
    ...data('write'),
    ...{ watch: watchdog.memory, hung: watchdog.hung },
  }));

  function onHang({ rule, note }: HungRule): void {
    logger.error({ rule }, `${note}: the rule rests until its configuration changes; the writer starts again`);
    writer.end(new BrinkError('E_UNAVAILABLE', `rule ${rule}: ${note}; it is set aside`));
  }

  return {
    writer: watchdog.over(writer),
    watchdog,
    queries: createQueries(
      () => data('read'),
      (failure) => state.corrupt(failure),
    ),
    beDeep: (on: boolean) => {
      deep = on;
    },
  };
}

/** Where the folder is not there yet, opening it will say so. */
function halfOfDisk(folder: string): number {
  try {
    const { blocks, bsize } = statfsSync(folder);
    return (blocks * bsize) / 2;
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}
