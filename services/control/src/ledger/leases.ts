import type { Because, ErrorCode } from '@brink/protocol';
import { endAction, findAction, type OutboxContext, tellRule } from './outbox-rows.ts';
import type { AttemptOutcome, Lease, LeasedAction, LeaseOptions } from './records.ts';
import type { Row } from './store.ts';

/** Expired and stale rows that one lease ends on the way. */
const ENDED_AT_ONCE_MAX = 500;

/** After a restart: nobody holds the leases of the process before. */
export function recoverLeases({ store, startedMs }: OutboxContext): void {
  store.sql("UPDATE action SET next_ms = ? WHERE state = 'leased'").run(startedMs);
}

/**
 * Ends what is over, and hands out what is due: oldest first of each outlet, one of each outlet in turn.
 * @param rooms how many each outlet may take; one that is not named: `limit`
 */
export function leaseActions(context: OutboxContext, o: LeaseOptions, nowMs: number): Lease {
  expire(context, nowMs);
  const roomOf = (outlet: string) => Math.min(o.rooms?.[outlet] ?? o.limit, o.limit);
  const open = outletsOf(context).filter((outlet) => roomOf(outlet) > 0);
  const rows = inTurn(open.map((outlet) => fresh(context, outlet, { ...o, limit: roomOf(outlet) }, nowMs))).slice(
    0,
    o.limit,
  );
  const actions = rows.map((row) => leaseRow(context, row, nowMs, o.leaseMs));
  return { actions, nextDueMs: nextDue(context, open) };
}

/** Outlets for which something waits. Each step is one look into the index, however many rows it has. */
function outletsOf({ store }: OutboxContext): string[] {
  const after = store.sql('SELECT min(outlet) AS outlet FROM action WHERE next_ms IS NOT NULL AND outlet > ?');
  const outlets: string[] = [];
  for (let last = ''; ; outlets.push(last)) {
    const next = after.get(last)?.outlet;
    if (typeof next !== 'string') return outlets;
    last = next;
  }
}

/** Due rows of an outlet that may still be sent; those that are too old by now are ended. */
function fresh(context: OutboxContext, outlet: string, o: LeaseOptions, nowMs: number): Row[] {
  const due = context.store.sql('SELECT * FROM action WHERE outlet = ? AND next_ms <= ? ORDER BY next_ms LIMIT ?');
  const rows: Row[] = [];
  for (const row of due.all(outlet, nowMs, o.limit + ENDED_AT_ONCE_MAX) as Row[]) {
    if (rows.length === o.limit) break;
    // More of them expired at once than one lease ends: the next one does.
    if (Number(row.expires_ms) <= nowMs) continue;
    if (isLeftOver(context, row, nowMs)) suppress(context, row, nowMs);
    else if (mayBeAcked(row, o.holdUntilMs, nowMs)) postpone(context, row, o.holdUntilMs);
    else rows.push(row);
  }
  return rows;
}

/** It left, or may have; who it was for may have answered while nobody here was listening. */
function mayBeAcked(row: Row, holdUntilMs: number | undefined, nowMs: number): holdUntilMs is number {
  if (holdUntilMs === undefined || holdUntilMs <= nowMs || row.kind !== 'command') return false;
  return row.state === 'sent' || row.state === 'leased';
}

function postpone({ store }: OutboxContext, row: Row, untilMs: number): void {
  const again = Math.min(untilMs, Number(row.expires_ms));
  store.sql('UPDATE action SET next_ms = ? WHERE row = ?').run(again, row.row as number);
}

function inTurn(lists: readonly Row[][]): Row[] {
  const rows: Row[] = [];
  const longest = Math.max(0, ...lists.map((list) => list.length));
  for (let at = 0; at < longest; at++) for (const list of lists) rows.push(...list.slice(at, at + 1));
  return rows;
}

/** When something is due by an open outlet, or expires by any. */
function nextDue({ store }: OutboxContext, open: readonly string[]): number | undefined {
  const due = store.sql('SELECT min(next_ms) AS ms FROM action WHERE outlet = ? AND next_ms IS NOT NULL');
  const over = store.sql('SELECT min(expires_ms) AS ms FROM action WHERE next_ms IS NOT NULL').get();
  const times = [over, ...open.map((outlet) => due.get(outlet))].flatMap((row) =>
    typeof row?.ms === 'number' ? [row.ms] : [],
  );
  return times.length === 0 ? undefined : Math.min(...times);
}

function expire(context: OutboxContext, nowMs: number): void {
  const over = context.store
    .sql('SELECT * FROM action WHERE expires_ms <= ? AND next_ms IS NOT NULL ORDER BY expires_ms LIMIT ?')
    .all(nowMs, ENDED_AT_ONCE_MAX) as Row[];
  for (const found of over) {
    const row = loseAttempt(context, found, nowMs);
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
function loseAttempt(context: OutboxContext, row: Row, nowMs: number): Row {
  if (row.state !== 'leased') return row;
  context.store
    .sql("UPDATE attempt SET result = 'lost' WHERE action = ? AND attempt = ? AND result = 'open'")
    .run(row.row as number, row.attempts as number);
  return markSent(context, row, leasedMsOf(context, row, nowMs));
}

/** When its last attempt began: it left no earlier. undefined: there was none. @param nowMs a clock that was set back is believed */
export function leasedMsOf({ store }: OutboxContext, row: Row, nowMs: number): number | undefined {
  const found = store
    .sql('SELECT leased_ms FROM attempt WHERE action = ? AND attempt = ?')
    .get(row.row as number, row.attempts as number);
  return found === undefined ? undefined : Math.min(Number(found.leased_ms), nowMs);
}

/** @param nowMs where it is known when: its rule's cooldown counts from then */
function markSent(context: OutboxContext, row: Row, nowMs?: number): Row {
  if (row.sent === 1) return row;
  context.store.sql('UPDATE action SET sent = 1 WHERE row = ?').run(row.row as number);
  tellRule(context, row, 'sent', nowMs);
  return { ...row, sent: 1 };
}

/** Written down before it is made: a crash in between leaves a trace. */
function leaseRow(context: OutboxContext, found: Row, nowMs: number, leaseMs: number): LeasedAction {
  const row = loseAttempt(context, found, nowMs);
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
      target: String(row.target),
      outlet: String(row.outlet),
      at_ms: atMsOf(row),
      asked_ms: Number(row.retried_ms ?? row.created_ms),
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
  const failed = outcome.result === 'failed' || outcome.result === 'dead';
  const error = failed ? ([outcome.code, outcome.detail] as const) : ([null, null] as const);
  context.store
    .sql('UPDATE attempt SET result = ?, sent_ms = ?, code = ?, detail = ? WHERE action = ? AND attempt = ?')
    .run(failed ? 'failed' : 'sent', failed ? null : nowMs, ...error, found.row as number, outcome.attempt);
  const row = failed ? found : markSent(context, found, nowMs);
  if (row.state !== 'leased' || row.attempts !== outcome.attempt) return;
  if (outcome.result === 'acked') {
    confirm(context, row, outcome.status, nowMs);
    return;
  }
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

/** The answer to the attempt was that it was taken: nobody else is asked for an ack. */
function confirm(context: OutboxContext, row: Row, status: number, nowMs: number): void {
  tellRule(context, row, 'acked');
  context.store
    .sql(
      `UPDATE action SET state = 'acked', ended_ms = ?1, next_ms = NULL, ack_status = ?2, ack_ms = ?1,
         error_code = NULL, error_detail = NULL WHERE row = ?3`,
    )
    .run(nowMs, status, row.row as number);
}
