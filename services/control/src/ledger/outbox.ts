import { type ActionConfig, type ActionRecord, BrinkError } from '@brink/protocol';
import type { EmittedAction } from '@brink/rules';
import type { AckOutcome, AttemptOutcome, Lease, LeasedAction } from './records.ts';
import { actionRecord } from './rows.ts';
import type { Rulebook } from './rulebook.ts';
import type { Row, Store } from './store.ts';

/** Expired and stale rows that one lease ends on the way. */
const ENDED_AT_ONCE_MAX = 500;
const STALE = 'it was not sent before a restart, and its trigger is older than stale_ms_max now';

/** The table of actions. Every change of state is here, and each is told to the rule that the action came from. */
export function createOutbox(store: Store, rulebook: Rulebook, startedMs: number) {
  const byId = (id: string) => store.sql('SELECT * FROM action WHERE id = ?').get(id) as Row | undefined;

  function insert(row: {
    readonly id: string;
    readonly n: number;
    readonly decision: string;
    readonly config: ActionConfig;
    readonly index: number;
    readonly nowMs: number;
    readonly emitted?: EmittedAction;
  }): ActionRecord {
    const { config, nowMs, emitted } = row;
    const kind = 'command' in config ? 'command' : 'mqtt';
    const target = 'command' in config ? config.command.device : config.mqtt.topic;
    const expiresMs = nowMs + ('command' in config ? config.command : config.mqtt).expires_ms;
    const pending = emitted === undefined || emitted.fate === 'pending';
    store
      .sql(
        `INSERT INTO action (id, n, decision, rule, key, phase, idx, kind, target, config, because, state, created_ms,
           expires_ms, stale_ms, next_ms, ended_ms, error_code, error_detail)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING`,
      )
      .run(
        ...([
          row.id,
          row.n,
          row.decision,
          emitted?.rule ?? null,
          emitted?.key ?? null,
          emitted?.phase ?? null,
        ] as const),
        ...([row.index, kind, target, JSON.stringify(config)] as const),
        ...([
          emitted === undefined ? null : JSON.stringify(emitted.because),
          pending ? 'pending' : (emitted?.fate ?? 'dead'),
        ] as const),
        ...([nowMs, expiresMs, emitted?.staleMs ?? null, pending ? nowMs : null, pending ? null : nowMs] as const),
        ...([emitted?.error?.code ?? null, emitted?.error?.detail ?? null] as const),
      );
    return actionRecord(byId(row.id) as Row);
  }

  /** An end that no ack brought. */
  function end(
    row: Row,
    state: 'expired' | 'dead' | 'cancelled' | 'suppressed',
    nowMs: number,
    code?: string,
    detail?: string,
  ): void {
    store
      .sql(
        `UPDATE action SET state = ?, ended_ms = ?, next_ms = NULL,
           error_code = coalesce(?, error_code), error_detail = coalesce(?, error_detail) WHERE row = ?`,
      )
      .run(state, nowMs, code ?? null, detail ?? null, row.row as number);
    if (row.sent === 0) tell(row, 'unsent');
  }

  function expire(row: Row, nowMs: number): void {
    const last =
      row.error_code === null ? '' : `; the last attempt: ${String(row.error_code)}: ${String(row.error_detail)}`;
    const how = row.sent === 0 ? 'before it could be sent' : 'before an ack came';
    end(row, 'expired', nowMs, 'E_ACTION_EXPIRED', `it expired ${how}, after ${String(row.attempts)} attempts${last}`);
  }

  function tell(row: Row, change: 'sent' | 'acked' | 'unsent'): void {
    if (row.rule !== null) rulebook.action(String(row.rule), String(row.key), String(row.id), change);
  }

  function leaseRow(row: Row, nowMs: number, leaseMs: number): LeasedAction {
    const attempt = Number(row.attempts) + 1;
    const expiresMs = Number(row.expires_ms);
    const leasedUntilMs = Math.min(nowMs + leaseMs, expiresMs);
    if (row.state === 'leased') {
      store
        .sql("UPDATE attempt SET result = 'lost' WHERE action = ? AND attempt = ? AND result = 'open'")
        .run(row.row as number, attempt - 1);
    }
    store
      .sql("UPDATE action SET state = 'leased', attempts = ?, next_ms = ? WHERE row = ?")
      .run(attempt, leasedUntilMs, row.row as number);
    store
      .sql("INSERT INTO attempt (action, attempt, leased_ms, result) VALUES (?, ?, ?, 'open')")
      .run(row.row as number, attempt, nowMs);
    return {
      id: String(row.id),
      kind: row.kind as LeasedAction['kind'],
      config: JSON.parse(String(row.config)),
      decision: String(row.decision),
      attempt,
      expires_ms: expiresMs,
      leased_until_ms: leasedUntilMs,
    };
  }

  function settleOne(outcome: AttemptOutcome, nowMs: number): void {
    const row = byId(outcome.id);
    if (row === undefined) return;
    const failed = outcome.result !== 'sent';
    const error = failed ? ([outcome.code, outcome.detail] as const) : ([null, null] as const);
    store
      .sql('UPDATE attempt SET result = ?, sent_ms = ?, code = ?, detail = ? WHERE action = ? AND attempt = ?')
      .run(failed ? 'failed' : 'sent', failed ? null : nowMs, ...error, row.row as number, outcome.attempt);
    if (!failed) {
      store.sql('UPDATE action SET sent = 1 WHERE row = ?').run(row.row as number);
      tell(row, 'sent');
    }
    // An ack may have come before, or a person may have cancelled it: what has ended stays as it ended.
    if (row.state !== 'leased' || row.attempts !== outcome.attempt) return;
    if (outcome.result === 'dead') return end(row, 'dead', nowMs, ...(error as readonly [string, string]));
    if (outcome.result === 'sent' && outcome.retryMs === undefined) {
      store
        .sql(
          "UPDATE action SET state = 'sent', next_ms = NULL, ended_ms = ?, error_code = NULL, error_detail = NULL WHERE row = ?",
        )
        .run(nowMs, row.row as number);
      return;
    }
    const nextMs = Math.min(Number(outcome.retryMs), Number(row.expires_ms));
    store
      .sql('UPDATE action SET state = ?, next_ms = ?, error_code = ?, error_detail = ? WHERE row = ?')
      .run(failed ? 'pending' : 'sent', nextMs, ...error, row.row as number);
  }

  return {
    emit: (emitted: EmittedAction, nowMs: number) => insert({ ...emitted, nowMs, emitted }),

    /** After a restart: nobody holds the leases of the process before. */
    recover(): void {
      store.sql("UPDATE action SET next_ms = ? WHERE state = 'leased'").run(startedMs);
    },

    lease(limit: number, leaseMs: number, nowMs: number): Lease {
      const over = store
        .sql('SELECT * FROM action WHERE expires_ms <= ? AND next_ms IS NOT NULL ORDER BY expires_ms LIMIT ?')
        .all(nowMs, ENDED_AT_ONCE_MAX) as Row[];
      for (const row of over) expire(row, nowMs);
      const actions: LeasedAction[] = [];
      const due =
        limit === 0
          ? []
          : store
              .sql('SELECT * FROM action WHERE next_ms <= ? ORDER BY next_ms LIMIT ?')
              .all(nowMs, limit + ENDED_AT_ONCE_MAX);
      for (const row of due as Row[]) {
        if (actions.length === limit) break;
        if (isLeftOver(row, nowMs)) end(row, 'suppressed', nowMs, 'E_ACTION_STALE', STALE);
        else actions.push(leaseRow(row, nowMs, leaseMs));
      }
      const next = store.sql('SELECT min(next_ms) AS ms FROM action WHERE next_ms IS NOT NULL').get()?.ms;
      return { actions, nextDueMs: next === null || next === undefined ? undefined : Number(next) };
    },

    settle(outcomes: readonly AttemptOutcome[], nowMs: number): void {
      for (const outcome of outcomes) settleOne(outcome, nowMs);
    },

    ack(device: string, key: string, status: number, error: string | undefined, nowMs: number): AckOutcome {
      const row = byId(key);
      if (row === undefined || row.kind !== 'command') return 'unknown';
      if (row.target !== device) return 'foreign';
      const ended = row.next_ms === null && row.ended_ms !== null;
      // Its first ack counts: SDKs repeat theirs when a command reaches them twice.
      if (row.ack_ms === null) {
        store
          .sql('UPDATE action SET ack_status = ?, ack_error = ?, ack_ms = ? WHERE row = ?')
          .run(status, error ?? null, nowMs, row.row as number);
      }
      if (row.state === 'acked') return 'acked';
      // Sent, and no ack was asked for: the end stands, the ack completes it.
      if (ended && row.state !== 'sent') return 'late';
      if (status >= 400) {
        end(
          { ...row, sent: 1 },
          'dead',
          nowMs,
          'E_ACTION_REFUSED',
          `${device} answered ${status}${error === undefined ? '' : `: ${error}`}`,
        );
        tell(row, 'acked');
        return 'refused';
      }
      store
        .sql(
          "UPDATE action SET state = 'acked', ended_ms = ?, next_ms = NULL, error_code = NULL, error_detail = NULL WHERE row = ?",
        )
        .run(nowMs, row.row as number);
      tell(row, 'acked');
      return 'acked';
    },

    order: (id: string, config: ActionConfig, by: string, nowMs: number) =>
      insert({ id, n: 0, decision: by, config, index: 0, nowMs }),

    retry(id: string, nowMs: number): ActionRecord {
      const row = known(byId(id), id);
      if (row.ended_ms === null)
        throw new BrinkError('E_CONFLICT', `action ${id} is ${String(row.state)}; expected one that has ended`);
      if (row.state === 'acked')
        throw new BrinkError('E_CONFLICT', `action ${id} was carried out; it is not sent again`);
      const config = JSON.parse(String(row.config)) as ActionConfig;
      const lifeMs = ('command' in config ? config.command : config.mqtt).expires_ms;
      store
        .sql(
          `UPDATE action SET state = 'pending', next_ms = ?1, expires_ms = ?1 + ?2, stale_ms = NULL, ended_ms = NULL,
             error_code = NULL, error_detail = NULL, ack_status = NULL, ack_error = NULL, ack_ms = NULL WHERE row = ?3`,
        )
        .run(nowMs, lifeMs, row.row as number);
      return actionRecord(byId(id) as Row);
    },

    cancel(id: string, nowMs: number): ActionRecord {
      const row = known(byId(id), id);
      if (row.ended_ms !== null)
        throw new BrinkError('E_CONFLICT', `action ${id} is ${String(row.state)}; expected one that has not ended`);
      end(row, 'cancelled', nowMs);
      return actionRecord(byId(id) as Row);
    },
  };

  function isLeftOver(row: Row, nowMs: number): boolean {
    return (
      row.attempts === 0 && row.stale_ms !== null && Number(row.created_ms) < startedMs && Number(row.stale_ms) < nowMs
    );
  }
}
export type Outbox = ReturnType<typeof createOutbox>;

function known(row: Row | undefined, id: string): Row {
  if (row === undefined) throw new BrinkError('E_NOT_FOUND', `there is no action ${id.slice(0, 300)}`);
  return row;
}
