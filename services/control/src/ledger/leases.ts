import type { Because, ErrorCode } from '@brink/protocol';
import { endAction, findAction, type OutboxContext, tellRule } from './outbox-rows.ts';
import type { AttemptOutcome, Lease, LeasedAction } from './records.ts';
import type { Row } from './store.ts';

/** Expired and stale rows that one lease ends on the way. */
const ENDED_AT_ONCE_MAX = 500;

/** After a restart: nobody holds the leases of the process before. */
export function recoverLeases({ store, startedMs }: OutboxContext): void {
  store.sql("UPDATE action SET next_ms = ? WHERE state = 'leased'").run(startedMs);
}

/** Ends what is over, and hands out what is due, oldest first. */
export function leaseActions(context: OutboxContext, limit: number, leaseMs: number, nowMs: number): Lease {
  expire(context, nowMs);
  const actions: LeasedAction[] = [];
  for (const row of dueRows(context, limit, nowMs)) {
    if (actions.length === limit) break;
    if (isLeftOver(context, row, nowMs)) suppress(context, row, nowMs);
    else actions.push(leaseRow(context, row, nowMs, leaseMs));
  }
  const next = context.store.sql('SELECT min(next_ms) AS ms FROM action WHERE next_ms IS NOT NULL').get()?.ms;
  return { actions, nextDueMs: typeof next === 'number' ? next : undefined };
}

function dueRows({ store }: OutboxContext, limit: number, nowMs: number): Row[] {
  if (limit === 0) return [];
  const due = store.sql('SELECT * FROM action WHERE next_ms <= ? ORDER BY next_ms LIMIT ?');
  return due.all(nowMs, limit + ENDED_AT_ONCE_MAX) as Row[];
}

function expire(context: OutboxContext, nowMs: number): void {
  const over = context.store
    .sql('SELECT * FROM action WHERE expires_ms <= ? AND next_ms IS NOT NULL ORDER BY expires_ms LIMIT ?')
    .all(nowMs, ENDED_AT_ONCE_MAX) as Row[];
  for (const found of over) {
    const row = loseAttempt(context, found);
    const how = row.sent === 0 ? 'before it could be sent' : 'before an ack came';
    const last =
      row.error_code === null ? '' : `; the last attempt: ${String(row.error_code)}: ${String(row.error_detail)}`;
    const detail = `it expired ${how}, after ${String(row.attempts)} attempts${last}`;
    endAction(context, row, { state: 'expired', nowMs, code: 'E_ACTION_EXPIRED', detail });
  }
}

/** Never tried by the process that made it, and too old by now. */
function isLeftOver({ startedMs }: OutboxContext, row: Row, nowMs: number): boolean {
  if (row.attempts !== 0 || row.stale_ms === null) return false;
  return Number(row.created_ms) < startedMs && Number(row.stale_ms) < nowMs;
}

function suppress(context: OutboxContext, row: Row, nowMs: number): void {
  const detail = 'it was not sent before a restart, and its trigger is older than stale_ms_max now';
  endAction(context, row, { state: 'suppressed', nowMs, code: 'E_ACTION_STALE', detail });
}

/** An attempt whose fate nobody wrote down may have reached the device: it counts as sent. */
function loseAttempt(context: OutboxContext, row: Row): Row {
  if (row.state !== 'leased') return row;
  context.store
    .sql("UPDATE attempt SET result = 'lost' WHERE action = ? AND attempt = ? AND result = 'open'")
    .run(row.row as number, row.attempts as number);
  return markSent(context, row);
}

function markSent(context: OutboxContext, row: Row): Row {
  if (row.sent === 1) return row;
  context.store.sql('UPDATE action SET sent = 1 WHERE row = ?').run(row.row as number);
  tellRule(context, row, 'sent');
  return { ...row, sent: 1 };
}

/** Written down before it is made: a crash in between leaves a trace. */
function leaseRow(context: OutboxContext, found: Row, nowMs: number, leaseMs: number): LeasedAction {
  const row = loseAttempt(context, found);
  const attempt = Number(row.attempts) + 1;
  const expiresMs = Number(row.expires_ms);
  const leasedUntilMs = Math.min(nowMs + leaseMs, expiresMs);
  context.store
    .sql("UPDATE action SET state = 'leased', attempts = ?, next_ms = ? WHERE row = ?")
    .run(attempt, leasedUntilMs, row.row as number);
  context.store
    .sql("INSERT INTO attempt (action, attempt, leased_ms, result) VALUES (?, ?, ?, 'open')")
    .run(row.row as number, attempt, nowMs);
  return {
    ...{ id: String(row.id), kind: row.kind as LeasedAction['kind'], config: JSON.parse(String(row.config)) },
    ...{
      decision: String(row.decision),
      at_ms: atMsOf(row),
      attempt,
      expires_ms: expiresMs,
      leased_until_ms: leasedUntilMs,
    },
  };
}

function atMsOf({ because, created_ms }: Row): number {
  const at = because === null ? Number.NaN : Date.parse((JSON.parse(String(because)) as Because).at);
  return Number.isNaN(at) ? Number(created_ms) : at;
}

/** What became of an attempt. An action that has ended meanwhile, by an ack or a person, stays as it ended. */
export function settleAttempt(context: OutboxContext, outcome: AttemptOutcome, nowMs: number): void {
  const found = findAction(context, outcome.id);
  if (found === undefined) return;
  const failed = outcome.result !== 'sent';
  const error = failed ? ([outcome.code, outcome.detail] as const) : ([null, null] as const);
  context.store
    .sql('UPDATE attempt SET result = ?, sent_ms = ?, code = ?, detail = ? WHERE action = ? AND attempt = ?')
    .run(failed ? 'failed' : 'sent', failed ? null : nowMs, ...error, found.row as number, outcome.attempt);
  const row = failed ? found : markSent(context, found);
  if (row.state !== 'leased' || row.attempts !== outcome.attempt) return;
  if (outcome.result === 'dead') {
    endAction(context, row, { state: 'dead', nowMs, code: outcome.code as ErrorCode, detail: outcome.detail });
    return;
  }
  const again = outcome.retryMs;
  context.store
    .sql('UPDATE action SET state = ?, next_ms = ?, ended_ms = ?, error_code = ?, error_detail = ? WHERE row = ?')
    .run(
      failed ? 'pending' : 'sent',
      again === undefined ? null : Math.min(again, Number(row.expires_ms)),
      again === undefined ? nowMs : null,
      ...error,
      row.row as number,
    );
}
