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
  let owedMs = 0;

  function apply({ operations, nowMs, full }: Pick<Group, 'operations' | 'nowMs' | 'full'>): Done {
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

  /** What could not be written down for want of room is still owed, and comes before anything else. */
  function moveClock(setMs: number, nowMs: number, why: string): void {
    owedMs += setMs;
    if (owedMs === 0) return;
    const clock: Operation = { op: 'clock', shiftMs: owedMs, why };
    const [result] = apply({ operations: [clock], nowMs, full: true }).results;
    if (result !== undefined && 'value' in result) owedMs = 0;
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
      const { hung = [], nowMs } = config;
      parts.keeping.configure(loadPublished(store)?.configuration);
      const warning = rulebook.restore();
      parts.clocks.restore(nowMs);
      // After that: the times of the rules move along as well.
      moveClock(clockSetMs, nowMs, 'the clock was set while control was down');
      outbox.recover();
      if (hung.length > 0) attempt([{ op: 'rest', hung }], nowMs, true);
      return warning === undefined ? [] : [warning];
    },
    apply(group: Group): GroupReply {
      const started = performance.now();
      const { shiftMs, nowMs } = group;
      if (config.testing.ignoreClock !== true) moveClock(shiftMs, nowMs, 'the clock was set');
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
