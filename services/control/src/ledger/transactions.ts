import { BrinkError } from '@brink/protocol';
import type { Integrity } from './integrity/integrity.ts';
import type { Failure, GroupReply, Operation, WorkerData } from './messages.ts';
import { type Made, nothingMade, type Parts, perform } from './operations.ts';
import { type Store, storageError } from './store.ts';

export type Results = GroupReply['results'];

export interface Done {
  readonly results: Results;
  readonly made: Made;
}

/** Operations of people, that look at everything which can be wrong with them before they change anything. */
const REFUSED_FIRST: ReadonlySet<Operation['op']> = new Set([
  'retry',
  'cancel',
  'arm',
  'fire',
  'putDevice',
  'configure',
]);

/** Operations as transactions: all of them one, or, where one is at fault, each its own. */
export function createTransactions(store: Store, parts: Parts, config: WorkerData, integrity: Integrity) {
  const { units, outbox } = parts;
  let synchronous = '';
  let passed = 0;

  function failpoint(name: string): void {
    const { killAt } = config.testing;
    if (killAt?.point !== name) return;
    passed += 1;
    if (passed === killAt.n) process.kill(process.pid, 'SIGKILL');
  }

  /** What is refused before anything was changed needs no ROLLBACK: that would cost the others a second run, each by itself. */
  function performOne(operation: Operation, nowMs: number, made: Made): Results[number] {
    try {
      return { value: perform(parts, operation, nowMs, made) };
    } catch (error) {
      if (error instanceof BrinkError && REFUSED_FIRST.has(operation.op)) return failed(error);
      throw error;
    }
  }

  /** All or nothing. @throws what SQLite or an operation threw, after the ROLLBACK */
  function transact(operations: readonly Operation[], nowMs: number, full: boolean): Done {
    setSynchronous(full ? 'FULL' : 'NORMAL');
    const made = nothingMade();
    try {
      store.db.exec('BEGIN IMMEDIATE');
      integrity.begin();
      const results = operations.map((operation) => performOne(operation, nowMs, made));
      for (const part of parts.cached) part.flush();
      made.ended.push(...outbox.takeEnded());
      integrity.seal(units.n, partsOf(operations));
      failpoint('commit.before');
      store.db.exec('COMMIT');
      failpoint('commit.after');
      integrity.committed(nowMs, full);
      return { results, made };
    } catch (error) {
      if (store.db.isTransaction) store.db.exec('ROLLBACK');
      integrity.rolledBack();
      for (const part of parts.cached) part.forget();
      throw error;
    }
  }

  function setSynchronous(level: 'FULL' | 'NORMAL'): void {
    if (synchronous === level) return;
    store.db.exec(`PRAGMA synchronous = ${level}`);
    synchronous = level;
  }

  /**
   * A group with an action is a promise as well, which is known only once its rules have run: SQLite fixes `synchronous`
   * before BEGIN. A small FULL commit behind it syncs the whole WAL, so what went before is on the disk too.
   */
  function syncActions(): void {
    try {
      setSynchronous('FULL');
      units.saveNumbers();
      integrity.synced();
    } catch {
      // The disk became full in between. What was committed stands; the next FULL commit syncs it.
    }
  }

  /** One of them is at fault: each for itself, so that it alone fails. */
  function transactEach(operations: readonly Operation[], nowMs: number): Done {
    const made = nothingMade();
    const results = operations.map((operation) => {
      try {
        const one = transact([operation], nowMs, true);
        made.actions.push(...one.made.actions);
        made.ended.push(...one.made.ended);
        made.outboxDue ||= one.made.outboxDue;
        return one.results[0] as Results[number];
      } catch (error) {
        return failed(error);
      }
    });
    return { results, made };
  }

  /** @throws where the disk is full, after the ROLLBACK */
  function attempt(operations: readonly Operation[], nowMs: number, full: boolean): Done {
    if (operations.length === 0) return { results: [], made: nothingMade() };
    try {
      const done = transact(operations, nowMs, full);
      if (!full && done.made.actions.length > 0) syncActions();
      return done;
    } catch (error) {
      if (isFull(error)) throw error;
      if (!isStorage(error) && operations.length > 1) return transactEach(operations, nowMs);
      return { results: operations.map(() => failed(error)), made: nothingMade() };
    }
  }

  return { attempt };
}

/** What the running hash is made of. */
function* partsOf(operations: readonly Operation[]): Generator<string> {
  for (const operation of operations) {
    if (operation.op === 'commit') yield* operation.texts;
    else yield JSON.stringify(operation);
  }
}

const isFull = (error: unknown) => storageError(error, '').code === 'E_STORAGE_FULL';
const isStorage = (error: unknown) => (error as { errcode?: number }).errcode !== undefined;

export function failed(error: unknown): { failure: Failure } {
  const { code, detail } = storageError(error, 'ledger.db');
  return { failure: { code, detail } };
}
