import { type ActionConfig, type ActionRecord, actionKind, type ErrorCode, parseUnitId } from '@brink/protocol';
import type { EmittedAction } from '@brink/rules';
import { actionRecord } from './rows.ts';
import type { Rulebook } from './rulebook.ts';
import type { Row, Store } from './store.ts';

/** What every change of an action works on. */
export interface OutboxContext {
  readonly store: Store;
  readonly rulebook: Rulebook;
  /** When this process opened the ledger: what is older was left by another one. */
  readonly startedMs: number;
  /** Actions that the transaction ended without an ack. */
  readonly ended: ActionRecord[];
}

export interface NewAction {
  readonly id: string;
  readonly n: number;
  readonly decision: string;
  readonly config: ActionConfig;
  readonly index: number;
  readonly nowMs: number;
  /** Absent where a person ordered it. */
  readonly emitted?: EmittedAction;
}

export type End = 'expired' | 'dead' | 'cancelled' | 'suppressed';

export const findAction = ({ store }: OutboxContext, id: string) =>
  store.sql('SELECT * FROM action WHERE id = ?').get(id) as Row | undefined;

/** From its making, or from when a person sends it again. */
export function lifeMsOf(config: ActionConfig): number {
  if ('record' in config) return RECORD_LIFE_MS;
  if ('command' in config) return config.command.expires_ms;
  if ('mqtt' in config) return config.mqtt.expires_ms;
  return ('webhook' in config ? config.webhook : config.notify).expires_ms;
}

/** What led to it leaves the gateway's memory sooner or later. */
const RECORD_LIFE_MS = 60_000;

function targetOf(config: ActionConfig, decision: string): string {
  if ('command' in config) return config.command.device;
  if ('mqtt' in config) return config.mqtt.topic;
  if ('webhook' in config) return config.webhook.target;
  // A rule fills in that of the site; without any, it is refused when it is to be sent.
  if ('notify' in config) return config.notify.target ?? '';
  const { device, stream } = parseUnitId(decision);
  return `${device}/${stream}`;
}

/** What waits for one receiver, or for the broker, must not hold up what goes elsewhere. */
function outletOf(config: ActionConfig, target: string): string {
  if ('webhook' in config || 'notify' in config) return `to:${target}`;
  return 'record' in config ? 'record' : 'mqtt';
}

export function insertAction(context: OutboxContext, action: NewAction): ActionRecord {
  const { config, nowMs, emitted } = action;
  const target = targetOf(config, action.decision);
  const fate = emitted?.fate ?? 'pending';
  const pending = fate === 'pending';
  context.store
    .sql(
      `INSERT INTO action (id, n, decision, idx, kind, target, outlet, config, state, created_ms, expires_ms, next_ms,
         ended_ms)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING`,
    )
    .run(
      ...([action.id, action.n, action.decision, action.index, actionKind(config)] as const),
      ...([target, outletOf(config, target), JSON.stringify(config), fate, nowMs, nowMs + lifeMsOf(config)] as const),
      ...([pending ? nowMs : null, pending ? null : nowMs] as const),
    );
  if (emitted !== undefined) {
    const { rule, key, phase, because, staleMs, error } = emitted;
    context.store
      .sql(
        `UPDATE action SET rule = ?, key = ?, phase = ?, because = ?, stale_ms = ?, error_code = ?, error_detail = ?
         WHERE id = ?`,
      )
      .run(rule, key, phase, JSON.stringify(because), staleMs, error?.code ?? null, error?.detail ?? null, action.id);
  }
  return actionRecord(findAction(context, action.id) as Row);
}

/** An end that no ack brought. Without an error, the one of its last attempt stays. */
export function endAction(
  context: OutboxContext,
  row: Row,
  end: { readonly state: End; readonly nowMs: number; readonly code?: ErrorCode; readonly detail?: string },
): void {
  const ended = context.store
    .sql(
      `UPDATE action SET state = ?, ended_ms = ?, next_ms = NULL,
         error_code = coalesce(?, error_code), error_detail = coalesce(?, error_detail) WHERE row = ? RETURNING *`,
    )
    .get(end.state, end.nowMs, end.code ?? null, end.detail ?? null, row.row as number);
  context.ended.push(actionRecord(ended as Row));
  if (row.sent === 0) tellRule(context, row, 'unsent');
}

/** The rule holds a cooldown for it. */
export function tellRule(
  { rulebook }: OutboxContext,
  row: Row,
  change: 'sent' | 'acked' | 'unsent',
  nowMs?: number,
): void {
  if (row.rule !== null) rulebook.action(String(row.rule), String(row.key), String(row.id), change, nowMs);
}
