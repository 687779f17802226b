import { type Ack, type ActionConfig, type ActionRecord, BrinkError } from '@brink/protocol';
import type { EmittedAction } from '@brink/rules';
import { leaseActions, leasedMsOf, recoverLeases, settleAttempt } from './leases.ts';
import { endAction, findAction, insertAction, lifeMsOf, type OutboxContext, tellRule } from './outbox-rows.ts';
import type { AckOutcome, AttemptOutcome } from './records.ts';
import { actionRecord } from './rows.ts';
import type { Row } from './store.ts';

/** The table of actions. Every change of state is here, and each is told to the rule that the action came from. */
export function createOutbox(parts: Omit<OutboxContext, 'ended'>) {
  const context: OutboxContext = { ...parts, ended: [] };
  return {
    /** What ended since it was last asked. */
    takeEnded: () => context.ended.splice(0),
    forget: () => void context.ended.splice(0),
    recover: () => recoverLeases(context),
    emit: (emitted: EmittedAction, nowMs: number) => insertAction(context, { ...emitted, nowMs, emitted }),
    order: (id: string, config: ActionConfig, by: string, nowMs: number) =>
      insertAction(context, { id, n: 0, decision: by, config, index: 0, nowMs }),
    lease: (o: Parameters<typeof leaseActions>[1], nowMs: number) => leaseActions(context, o, nowMs),
    settle(outcomes: readonly AttemptOutcome[], nowMs: number): void {
      for (const outcome of outcomes) settleAttempt(context, outcome, nowMs);
    },
    ack: (device: string, ack: Ack, nowMs: number) => acknowledge(context, device, ack, nowMs),
    retry: (id: string, nowMs: number) => retry(context, id, nowMs),
    retryAll: (ids: readonly string[], nowMs: number) => retryAll(context, ids, nowMs),
    cancel: (id: string, nowMs: number) => cancel(context, id, nowMs),
  };
}

function acknowledge(context: OutboxContext, device: string, ack: Ack, nowMs: number): AckOutcome {
  const row = findAction(context, ack.key);
  if (row === undefined || row.kind !== 'command') return 'unknown';
  if (row.target !== device) return 'foreign';
  // Its first ack counts: SDKs repeat theirs when a command reaches them twice.
  if (row.ack_ms === null) {
    context.store
      .sql('UPDATE action SET ack_status = ?, ack_error = ?, ack_ms = ? WHERE row = ?')
      .run(ack.status, ack.error ?? null, nowMs, row.row as number);
  }
  if (row.state === 'acked') return 'acked';
  // Sent, and no ack was asked for: that end is completed by an ack, every other one stands.
  if (row.ended_ms !== null && row.state !== 'sent') return 'late';
  // It may come before its attempt is written down as sent.
  tellRule(context, row, 'acked', leasedMsOf(context, row, nowMs));
  if (ack.status >= 400) {
    const detail = `${device} answered ${ack.status}${ack.error === undefined ? '' : `: ${ack.error}`}`;
    endAction(context, { ...row, sent: 1 }, { state: 'dead', nowMs, code: 'E_ACTION_REFUSED', detail });
    return 'refused';
  }
  context.store
    .sql(
      `UPDATE action SET state = 'acked', ended_ms = ?, next_ms = NULL, error_code = NULL, error_detail = NULL
       WHERE row = ?`,
    )
    .run(nowMs, row.row as number);
  return 'acked';
}

function retry(context: OutboxContext, id: string, nowMs: number): ActionRecord {
  const row = known(context, id);
  if (row.state === 'acked') throw new BrinkError('E_CONFLICT', `action ${id} was carried out; it is not sent again`);
  if (row.ended_ms === null) {
    throw new BrinkError('E_CONFLICT', `action ${id} is ${String(row.state)}; expected one that has ended`);
  }
  const lifeMs = lifeMsOf(JSON.parse(String(row.config)) as ActionConfig);
  context.store
    .sql(
      `UPDATE action SET state = 'pending', next_ms = ?1, retried_ms = ?1, expires_ms = ?1 + ?2, stale_ms = NULL, ended_ms = NULL,
         error_code = NULL, error_detail = NULL, ack_status = NULL, ack_error = NULL, ack_ms = NULL WHERE row = ?3`,
    )
    .run(nowMs, lifeMs, row.row as number);
  return actionRecord(known(context, id));
}

/** Those that cannot be sent again, by then, are left as they are: nobody who asks for many knows each of them. */
function retryAll(context: OutboxContext, ids: readonly string[], nowMs: number): ActionRecord[] {
  return ids.flatMap((id) => {
    const row = findAction(context, id);
    return row === undefined || row.ended_ms === null || row.state === 'acked' ? [] : [retry(context, id, nowMs)];
  });
}

function cancel(context: OutboxContext, id: string, nowMs: number): ActionRecord {
  const row = known(context, id);
  if (row.ended_ms !== null) {
    throw new BrinkError('E_CONFLICT', `action ${id} is ${String(row.state)}; expected one that has not ended`);
  }
  endAction(context, row, { state: 'cancelled', nowMs });
  return actionRecord(known(context, id));
}

function known(context: OutboxContext, id: string): Row {
  const row = findAction(context, id);
  if (row === undefined) throw new BrinkError('E_NOT_FOUND', `there is no action ${id.slice(0, 300)}`);
  return row;
}
