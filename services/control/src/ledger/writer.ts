import {
  type ActionRecord,
  BrinkError,
  type DeadLetter,
  type DeviceRecord,
  isName,
  type Outcome,
} from '@brink/protocol';
import type { EmittedAction } from '@brink/rules';
import type { CommitReply, Failure, Group, GroupReply, Operation, WorkerData } from './messages.ts';
import { createOutbox } from './outbox.ts';
import { createRetention } from './retention.ts';
import { deviceRecord } from './rows.ts';
import { createRulebook } from './rulebook.ts';
import { createSeen } from './seen.ts';
import { type Row, type Store, storageError } from './store.ts';
import { createUnits } from './units.ts';

type Of<K extends Operation['op']> = Operation & { op: K };

/** The one writer: applies groups of operations in order, each group one transaction. */
export function createWriter(store: Store, config: WorkerData) {
  const seen = createSeen(store);
  const units = createUnits(store, seen);
  const rulebook = createRulebook(store);
  const outbox = createOutbox(store, rulebook, config.nowMs);
  const retention = createRetention(store, { seen, units }, config);
  let synchronous = '';
  let actions: ActionRecord[] = [];
  let outboxDue = false;

  function emit(emitted: readonly EmittedAction[], nowMs: number): void {
    for (const action of emitted) {
      actions.push(outbox.emit(action, nowMs));
      if (action.fate === 'pending') outboxDue = true;
    }
  }

  function commit({ texts, dead }: Of<'commit'>, nowMs: number): CommitReply {
    const reply = { ns: [] as number[], texts: [] as string[], duplicates: 0, revision: rulebook.revision };
    for (const [index, text] of texts.entries()) {
      const inserted = dead[index]
        ? units.deadLetter(JSON.parse(text) as DeadLetter, text)
        : decide(JSON.parse(text) as Outcome, nowMs);
      if (inserted === undefined || inserted === false) reply.duplicates += 1;
      reply.ns.push(typeof inserted === 'object' ? inserted.decision.n : 0);
      reply.texts.push(typeof inserted === 'object' ? inserted.text : '');
    }
    return reply;
  }

  function decide(outcome: Outcome, nowMs: number) {
    const inserted = units.outcome(outcome, nowMs, rulebook.revision);
    if (inserted !== undefined) emit(rulebook.decision(inserted.decision, outcome.received_ms, nowMs), nowMs);
    return inserted;
  }

  function deviceStatus({ device, state }: Of<'deviceStatus'>, nowMs: number): void {
    store
      .sql(
        `INSERT INTO device (name, state, first_ms, last_ms) VALUES (?1, ?2, ?3, ?3)
         ON CONFLICT DO UPDATE SET state = ?2, first_ms = coalesce(first_ms, ?3), last_ms = ?3`,
      )
      .run(device, state, nowMs);
  }

  function putDevice({ name, patch }: Of<'putDevice'>): DeviceRecord {
    if (!isName(name))
      throw new BrinkError('E_NAME', `device "${name.slice(0, 80)}"; expected [a-z0-9][a-z0-9-]{0,63}`);
    const registered = patch.registered === undefined ? null : Number(patch.registered);
    store
      .sql(
        `INSERT INTO device (name, registered, note, credentials_at) VALUES (?1, coalesce(?2, 0), ?3, ?4)
         ON CONFLICT DO UPDATE SET registered = coalesce(?2, registered), note = coalesce(?3, note),
           credentials_at = coalesce(?4, credentials_at)`,
      )
      .run(name, registered, patch.note ?? null, patch.credentials_at ?? null);
    return deviceRecord(store.sql('SELECT * FROM device WHERE name = ?').get(name) as Row);
  }

  function run(operation: Operation, nowMs: number): unknown {
    switch (operation.op) {
      case 'commit':
        return commit(operation, nowMs);
      case 'configure':
        return rulebook.configure(operation.published, nowMs);
      case 'ack': {
        const { key, status, error } = operation.ack;
        return outbox.ack(operation.device, key, status, error, nowMs);
      }
      case 'tick':
        return emit(rulebook.tick(operation.dueMs, nowMs), nowMs);
      case 'lease':
        return outbox.lease(operation.limit, operation.leaseMs, nowMs);
      case 'settle':
        return outbox.settle(operation.outcomes, nowMs);
      case 'order': {
        const record = outbox.order(operation.id, operation.config, operation.by, nowMs);
        actions.push(record);
        outboxDue = true;
        return record;
      }
      case 'retry': {
        const record = outbox.retry(operation.id, nowMs);
        outboxDue = true;
        return record;
      }
      case 'cancel':
        return outbox.cancel(operation.id, nowMs);
      case 'deviceStatus':
        return deviceStatus(operation, nowMs);
      case 'putDevice':
        return putDevice(operation);
      case 'deleteDevice':
        return Number(store.sql('DELETE FROM device WHERE name = ?').run(operation.name).changes) > 0;
      case 'retain':
        return { deleted: retention.run(nowMs, operation.rows) };
    }
  }

  /** All or nothing. @throws what SQLite or an operation threw, after the ROLLBACK */
  function transact(operations: readonly Operation[], nowMs: number, full: boolean): GroupReply['results'] {
    setSynchronous(full ? 'FULL' : 'NORMAL');
    actions = [];
    outboxDue = false;
    try {
      store.db.exec('BEGIN IMMEDIATE');
      const results = operations.map((operation) => ({ value: run(operation, nowMs) }));
      for (const part of [units, rulebook, seen]) part.flush();
      store.db.exec('COMMIT');
      return results;
    } catch (error) {
      if (store.db.isTransaction) store.db.exec('ROLLBACK');
      for (const part of [seen, units, rulebook]) part.forget();
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
      const { operations, nowMs } = group;
      const reply = (results: GroupReply['results'], made: ActionRecord[], due: boolean): GroupReply => ({
        ...{ id: group.id, results, actions: made, outboxDue: due, nextTimerMs: rulebook.nextTimerMs },
        ...{ commitMs: performance.now() - started, gapsClosed: seen.gapsClosed },
      });
      try {
        const results = transact(operations, nowMs, group.full);
        const made = actions;
        const due = outboxDue;
        if (!group.full && made.length > 0) syncActions();
        return reply(results, made, due);
      } catch (error) {
        if (isStorage(error) || operations.length === 1)
          return reply(
            operations.map(() => failed(error)),
            [],
            false,
          );
      }
      // One of them is at fault: each for itself, so that it alone fails.
      const made: ActionRecord[] = [];
      let due = false;
      const results = operations.map((operation) => {
        try {
          const [result] = transact([operation], nowMs, true);
          made.push(...actions);
          due ||= outboxDue;
          return result as GroupReply['results'][number];
        } catch (error) {
          return failed(error);
        }
      });
      return reply(results, made, due);
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

const isStorage = (error: unknown) => (error as { errcode?: number }).errcode !== undefined;

function failed(error: unknown): { failure: Failure } {
  const { code, detail } = storageError(error, 'ledger.db');
  return { failure: { code, detail } };
}
