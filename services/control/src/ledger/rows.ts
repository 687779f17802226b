import type { ActionRecord, Attempt, DeadRecord, Decision, DeviceRecord, ErrorCode, Outcome } from '@brink/protocol';
import { formatUnitId } from '@brink/protocol';
import type { Row } from './store.ts';

/** The decision that an outcome becomes. Key order is that of CONTRACTS §4, since its JSON is what people read. */
export function decisionOf(outcome: Outcome, n: number, revision: string): Decision {
  return {
    v: 1,
    id: formatUnitId(outcome),
    n,
    device: outcome.device,
    stream: outcome.stream,
    pipeline: outcome.pipeline,
    outcome: outcome.outcome,
    ...outcome.result,
    ...(outcome.error === undefined ? {} : { error: outcome.error }),
    frames: outcome.frames,
    model: outcome.model,
    received_at: iso(outcome.received_ms),
    latency_ms: outcome.latency_ms,
    revision,
  };
}

export const iso = (ms: unknown) => new Date(Number(ms)).toISOString();

const given = (value: unknown) => value !== null && value !== undefined;

export function actionRecord(row: Row): ActionRecord {
  return {
    id: String(row.id),
    kind: row.kind as ActionRecord['kind'],
    target: String(row.target),
    config: JSON.parse(String(row.config)),
    state: row.state as ActionRecord['state'],
    decision: String(row.decision),
    n: Number(row.n),
    ...(given(row.rule) ? { rule: String(row.rule), key: String(row.key) } : {}),
    ...(given(row.phase) ? { phase: row.phase as 'then' | 'on_release' } : {}),
    index: Number(row.idx),
    attempts: Number(row.attempts),
    created_at: iso(row.created_ms),
    expires_at: iso(row.expires_ms),
    ...(given(row.ended_ms) ? { ended_at: iso(row.ended_ms) } : {}),
    ...(given(row.ack_ms) ? { ack: ackOf(row) } : {}),
    ...(given(row.error_code)
      ? { error: { code: row.error_code as ErrorCode, detail: String(row.error_detail) } }
      : {}),
  };
}

function ackOf(row: Row): NonNullable<ActionRecord['ack']> {
  const error = given(row.ack_error) ? { error: String(row.ack_error) } : {};
  return { status: Number(row.ack_status), ...error, at: iso(row.ack_ms) };
}

export function attemptRecord(row: Row): Attempt {
  return {
    attempt: Number(row.attempt),
    leased_at: iso(row.leased_ms),
    ...(given(row.sent_ms) ? { sent_at: iso(row.sent_ms) } : {}),
    result: row.result as Attempt['result'],
    ...(given(row.code) ? { error: { code: row.code as ErrorCode, detail: String(row.detail) } } : {}),
  };
}

export function deadRecord(row: Row): DeadRecord {
  return {
    id: String(row.id),
    device: String(row.device),
    stream: String(row.stream),
    ...(given(row.boot) ? { boot: String(row.boot) } : {}),
    ...(given(row.seq) ? { seq: Number(row.seq) } : {}),
    error: { code: row.code as ErrorCode, detail: String(row.detail) },
    sha256: String(row.sha256),
    bytes: Number(row.bytes),
    ...(given(row.type) ? { type: String(row.type) } : {}),
    received_at: iso(row.received_ms),
  };
}

export function deviceRecord(row: Row): DeviceRecord {
  return {
    name: String(row.name),
    state: row.state as DeviceRecord['state'],
    registered: row.registered === 1,
    ...(given(row.note) ? { note: String(row.note) } : {}),
    ...(given(row.credentials_at) ? { credentials_at: String(row.credentials_at) } : {}),
    ...(given(row.first_ms) ? { first_seen: iso(row.first_ms) } : {}),
    ...(given(row.last_ms) ? { last_seen: iso(row.last_ms) } : {}),
  };
}
