import { BrinkError } from '@brink/protocol';
import { type Clock, fullJitter } from '@brink/runtime';
import type { AttemptOutcome, LeasedAction } from '../ledger/records.ts';
import { awaitsAck, type SendContext, type Sent, sendAction } from './kinds.ts';

export interface AttemptConfig {
  /** A publish that takes longer counts as failed, ms. What goes over HTTP has its target's `timeout_ms`. */
  readonly sendMsMax?: number;
  /** How long a device has to answer before the command is sent again, ms; back-off is added. */
  readonly ackMs?: number;
}

export interface AttemptDeps extends Omit<SendContext, 'mqttAllow'> {
  /** site.mqtt_allow of the active configuration */
  readonly mqttAllow: () => readonly string[];
  /** uniform in [0, 1) */
  readonly random: () => number;
}

export interface Attempted {
  readonly outcome: AttemptOutcome;
  /** What the receiver asked for. */
  readonly retryAfterMs?: number | undefined;
}

const SEND_MS_MAX = 5000;
const ACK_MS = 2000;
/** Longer than the longest timeout_ms: only for what hangs where no timeout reaches. */
export const HTTP_MS_MAX = 40_000;
/** Of failed attempts: the broker is away for a moment, or for long. */
const FAILED_WAITS = { baseMs: 200, capMs: 10_000 };
/** Of failed requests: receivers are restarted in minutes, not in milliseconds. */
const HTTP_WAITS = { baseMs: 5000, capMs: 300_000 };
/** Of attempts without an ack, on top of `ackMs`: a device that is slow must not be flooded. */
const UNACKED_WAITS = { baseMs: 1000, capMs: 30_000 };

/**
 * One attempt at an action. Never rejects: what went wrong is part of the outcome.
 * @param check throws where it must not even be tried
 */
export async function attemptAction(
  action: LeasedAction,
  config: AttemptConfig,
  d: AttemptDeps,
  check: (action: LeasedAction) => void = () => {},
): Promise<Attempted> {
  const { id, attempt, kind } = action;
  const http = kind === 'webhook' || kind === 'notify';
  const later = (waits: typeof FAILED_WAITS) => d.clock.now() + backOff(waits, attempt, d.random);
  try {
    check(action);
    const limitMs = http ? HTTP_MS_MAX : (config.sendMsMax ?? SEND_MS_MAX);
    const sent = await withinLimit(sendAction(action, { ...d, mqttAllow: d.mqttAllow() }), limitMs, d.clock);
    if (sent.result === 'acked') return { outcome: { id, attempt, ...sent } };
    if (!awaitsAck(action)) return { outcome: { id, attempt, result: 'sent' } };
    const retryMs = later(UNACKED_WAITS) + (config.ackMs ?? ACK_MS);
    return { outcome: { id, attempt, result: 'sent', retryMs } };
  } catch (reason) {
    const { code, detail, retryable, retryAfterMs } = BrinkError.from(reason);
    if (!retryable) return { outcome: { id, attempt, result: 'dead', code, detail } };
    const retryMs = Math.max(later(http ? HTTP_WAITS : FAILED_WAITS), d.clock.now() + (retryAfterMs ?? 0));
    return { outcome: { id, attempt, result: 'failed', code, detail, retryMs }, retryAfterMs };
  }
}

/** The wait of the n-th attempt: attempts of one action may lie in different lives of this process. */
function backOff(waits: { baseMs: number; capMs: number }, attempt: number, random: () => number): number {
  const capMs = Math.min(waits.capMs, waits.baseMs * 2 ** Math.min(attempt - 1, 30));
  return fullJitter({ baseMs: capMs, capMs }, random).next().value;
}

function withinLimit(sending: Promise<Sent>, limitMs: number, clock: Clock): Promise<Sent> {
  return new Promise((resolve, reject) => {
    const late = clock.setTimeout(() => {
      reject(new BrinkError('E_TIMEOUT', `it was not taken within ${limitMs} ms`));
    }, limitMs);
    sending.then(resolve, reject).finally(() => clock.clearTimeout(late));
  });
}
