import type { ActionRecord, DeadLetter, Outcome } from '@brink/protocol';
import type { EmittedAction } from '@brink/rules';
import { createDeadLetters } from './dead-letters.ts';
import { createDevices } from './devices.ts';
import type { CommitReply, Failure, Group, GroupReply, Operation, WorkerData } from './messages.ts';
import { createOutbox } from './outbox.ts';
import { createRetention } from './retention.ts';
import { createRulebook } from './rulebook.ts';
import { createSeen } from './seen.ts';
import { type Store, storageError } from './store.ts';
import { createUnits } from './units.ts';

type Results = GroupReply['results'];

/** What a transaction led to, besides the results of its operations. */
interface Made {
  readonly actions: ActionRecord[];
  /** Older actions that expired, died, were cancelled or suppressed. */
  readonly ended: ActionRecord[];
  outboxDue: boolean;
}

const nothingMade = (): Made => ({ actions: [], ended: [], outboxDue: false });

/** The one writer: applies groups of operations in order, each group one transaction. */
export function createWriter(store: Store, config: WorkerData) {
  const parts = createParts(store, config);
  const { rulebook, units, seen, outbox } = parts;
  let synchronous = '';
  let passed = 0;

  function failpoint(name: string): void {
    const { killAt } = config.testing;
    if (killAt?.point !== name) return;
    passed += 1;
    if (passed === killAt.n) process.kill(process.pid, 'SIGKILL');
  }

  /** All or nothing. @throws what SQLite or an operation threw, after the ROLLBACK */
  function transact(operations: readonly Operation[], nowMs: number, full: boolean): { results: Results; made: Made } {
    setSynchronous(full ? 'FULL' : 'NORMAL');
    const made = nothingMade();
    try {
      store.db.exec('BEGIN IMMEDIATE');
      const results = operations.map((operation) => ({ value: perform(parts, operation, nowMs, made) }));
      for (const part of parts.cached) part.flush();
      made.ended.push(...outbox.takeEnded());
      failpoint('commit.before');
      store.db.exec('COMMIT');
      failpoint('commit.after');
      return { results, made };
    } catch (error) {
      if (store.db.isTransaction) store.db.exec('ROLLBACK');
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
      units.saveNumber();
    } catch {
      // The disk became full in between. What was committed stands; the next FULL commit syncs it.
    }
  }

  /** One of them is at fault: each for itself, so that it alone fails. */
  function transactEach(operations: readonly Operation[], nowMs: number): { results: Results; made: Made } {
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

  function apply({ operations, nowMs, full }: Group): { results: Results; made: Made } {
    try {
      const done = transact(operations, nowMs, full);
      if (!full && done.made.actions.length > 0) syncActions();
      return done;
    } catch (error) {
      if (!isStorage(error) && operations.length > 1) return transactEach(operations, nowMs);
      return { results: operations.map(() => failed(error)), made: nothingMade() };
    }
  }

  return {
    /** What was at work when the ledger was closed. @returns warnings */
    start(): string[] {
      if (config.testing.dropUniqueKey) store.db.exec('DROP INDEX IF EXISTS decision_unit');
      if (config.testing.pagesMax) store.db.exec(`PRAGMA max_page_count = ${config.testing.pagesMax}`);
      outbox.recover();
      const warning = rulebook.restore();
      return warning === undefined ? [] : [warning];
    },
    apply(group: Group): GroupReply {
      const started = performance.now();
      const { results, made } = apply(group);
      return {
        ...{ id: group.id, results, ...made, nextTimerMs: rulebook.nextTimerMs },
        ...{ commitMs: performance.now() - started, gapsClosed: seen.gapsClosed },
      };
    },
    get nextTimerMs() {
      return rulebook.nextTimerMs;
    },
    stop(): void {
      units.saveNumber();
      store.db.exec('PRAGMA wal_checkpoint(TRUNCATE)');
    },
  };
}

function createParts(store: Store, config: WorkerData) {
  const seen = createSeen(store);
  const devices = createDevices(store);
  const units = createUnits(store, { seen, devices });
  const deadLetters = createDeadLetters(store);
  const rulebook = createRulebook(store);
  const outbox = createOutbox({ store, rulebook, startedMs: config.nowMs });
  const retention = createRetention(store, { seen, units }, config);
  // Written before COMMIT, read anew after a ROLLBACK.
  const cached = [
    seen,
    units,
    deadLetters,
    rulebook,
    { flush() {}, forget: devices.forget },
    { flush() {}, forget: outbox.forget },
  ];
  return { seen, devices, units, deadLetters, rulebook, outbox, retention, cached };
}
type Parts = ReturnType<typeof createParts>;

/** One operation within the transaction. @returns what its caller gets */
function perform(parts: Parts, operation: Operation, nowMs: number, made: Made): unknown {
  const { devices, outbox, rulebook, retention } = parts;
  switch (operation.op) {
    case 'commit':
      return commit(parts, operation, nowMs, made);
    case 'configure':
      return rulebook.configure(operation.published, nowMs, operation.activation);
    case 'tick':
      return emit(parts, rulebook.tick(operation.dueMs, nowMs), nowMs, made);
    case 'ack':
      return outbox.ack(operation.device, operation.ack, nowMs);
    case 'lease':
      return outbox.lease(operation.limit, operation.leaseMs, nowMs);
    case 'settle':
      return outbox.settle(operation.outcomes, nowMs);
    case 'order':
      return due(made, outbox.order(operation.id, operation.config, operation.by, nowMs));
    case 'retry':
      return due(made, outbox.retry(operation.id, nowMs));
    case 'cancel':
      return outbox.cancel(operation.id, nowMs);
    case 'deviceStatus':
      return devices.status(operation, nowMs);
    case 'putDevice':
      return devices.put(operation);
    case 'deleteDevice':
      return devices.delete(operation);
    case 'retain':
      return { deleted: retention.run(nowMs, operation.rows) };
  }
}

function commit(parts: Parts, { texts, dead }: Operation & { op: 'commit' }, nowMs: number, made: Made): CommitReply {
  const reply = { ns: [] as number[], texts: [] as string[], duplicates: 0, revision: parts.rulebook.revision };
  for (const [index, text] of texts.entries()) {
    const inserted = dead[index]
      ? parts.deadLetters.add(JSON.parse(text) as DeadLetter, text)
      : decide(parts, JSON.parse(text) as Outcome, nowMs, made);
    if (inserted === undefined || inserted === false) reply.duplicates += 1;
    reply.ns.push(typeof inserted === 'object' ? inserted.decision.n : 0);
    reply.texts.push(typeof inserted === 'object' ? inserted.text : '');
  }
  return reply;
}

/** Decision, rule state and outbox: one transaction. */
function decide(parts: Parts, outcome: Outcome, nowMs: number, made: Made) {
  const { units, rulebook } = parts;
  const inserted = units.add(outcome, nowMs, rulebook.revision);
  if (inserted === undefined) return undefined;
  emit(parts, rulebook.decision(inserted.decision, outcome.received_ms, nowMs), nowMs, made);
  return inserted;
}

function emit({ outbox }: Parts, emitted: readonly EmittedAction[], nowMs: number, made: Made): void {
  for (const action of emitted) {
    made.actions.push(outbox.emit(action, nowMs));
    if (action.fate === 'pending') made.outboxDue = true;
  }
}

function due(made: Made, action: ActionRecord): ActionRecord {
  made.actions.push(action);
  made.outboxDue = true;
  return action;
}

const isStorage = (error: unknown) => (error as { errcode?: number }).errcode !== undefined;

function failed(error: unknown): { failure: Failure } {
  const { code, detail } = storageError(error, 'ledger.db');
  return { failure: { code, detail } };
}
