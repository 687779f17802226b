import type { Integrity } from './integrity/integrity.ts';
import type { Group, GroupReply, Operation, WorkerData } from './messages.ts';
import { createParts, nothingMade } from './operations.ts';
import { usedBytes } from './retention.ts';
import { loadPublished } from './revisions.ts';
import { createRoom, takesIn } from './room.ts';
import type { Store } from './store.ts';
import { createTransactions, type Done, failed, type Results } from './transactions.ts';

/** The one writer: applies groups of operations in order, each group one transaction. */
export function createWriter(store: Store, config: WorkerData, integrity: Integrity) {
  const parts = createParts(store, config);
  const { rulebook, units, seen, outbox } = parts;
  const { attempt } = createTransactions(store, parts, config, integrity);
  const room = createRoom(store, config.folder, () => integrity.checkpoint('truncate'), config.testing.ballastBytes);
  function apply({ operations, nowMs, full }: Group): Done {
    if (!room.short) {
      try {
        return attempt(operations, nowMs, full);
      } catch {
        room.lost();
      }
    }
    return settleOnly(operations, nowMs);
  }

  /** Without room: what takes something in is refused, what settles what is there goes on with the ballast's room. */
  function settleOnly(operations: readonly Operation[], nowMs: number): Done {
    const rest = operations.filter((operation) => !takesIn(operation));
    let done: Done;
    try {
      done = attempt(rest, nowMs, true);
    } catch (error) {
      room.lost();
      done = { results: rest.map(() => failed(error)), made: nothingMade() };
    }
    const settled = done.results.values();
    const results = operations.map((operation) =>
      takesIn(operation) ? failed(room.error()) : (settled.next().value as Results[number]),
    );
    return { results, made: done.made };
  }

  /** Between transactions: what a checkpoint or a deletion made room for is found out at once. */
  function lookAround(operations: readonly Operation[], results: Results): void {
    for (const [index, operation] of operations.entries()) {
      if (operation.op === 'scrub') results[index] = { value: integrity.scrub(operation.from, operation.pages) };
    }
    const asked = operations.some(({ op }) => op === 'look' || (op === 'retain' && room.short));
    if (asked) room.look();
  }

  return {
    /** What was at work when the ledger was closed. @param clockSetMs by how much the clock was set since @returns warnings */
    start(clockSetMs = 0): string[] {
      if (config.testing.dropUniqueKey) store.db.exec('DROP INDEX IF EXISTS decision_unit');
      if (config.testing.pagesMax) store.db.exec(`PRAGMA max_page_count = ${config.testing.pagesMax}`);
      if (clockSetMs !== 0) {
        const why = 'the clock was set while control was down';
        attempt([{ op: 'clock', shiftMs: clockSetMs, why }], config.nowMs, true);
      }
      outbox.recover();
      parts.keeping.configure(loadPublished(store)?.configuration);
      const warning = rulebook.restore();
      const { hung = [], nowMs } = config;
      if (hung.length > 0) attempt([{ op: 'rest', hung }], nowMs, true);
      return warning === undefined ? [] : [warning];
    },
    apply(group: Group): GroupReply {
      const started = performance.now();
      const { shiftMs, nowMs } = group;
      if (shiftMs !== 0 && config.testing.ignoreClock !== true)
        attempt([{ op: 'clock', shiftMs, why: 'the clock was set' }], nowMs, true);
      const { results, made } = apply(group);
      const commitMs = performance.now() - started;
      lookAround(group.operations, results);
      return {
        ...{ id: group.id, results, ...made, nextTimerMs: rulebook.nextTimerMs },
        ...{ commitMs, gapsClosed: seen.gapsClosed, rows: units.rows, bytes: usedBytes(store), short: room.short },
      };
    },
    get nextTimerMs() {
      return rulebook.nextTimerMs;
    },
    stop(): void {
      units.saveNumbers();
      integrity.checkpoint('truncate');
    },
  };
}
