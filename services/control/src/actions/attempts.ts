import { BrinkError, type Topics } from '@brink/protocol';
import { type Clock, fullJitter, type Mqtt } from '@brink/runtime';
import type { AttemptOutcome, LeasedAction } from '../ledger/records.ts';
import { awaitsAck, type SendContext, sendAction } from './kinds.ts';

export interface AttemptConfig {
  /** A publish that takes longer counts as failed, ms. */
  readonly sendMsMax?: number;
  /** How long a device has to answer before the command is sent again, ms; back-off is added. */
  readonly ackMs?: number;
}

export interface AttemptDeps {
  readonly mqtt: Pick<Mqtt, 'publish'>;
  readonly topics: Topics;
  readonly record?: SendContext['record'];
  /** site.mqtt_allow of the active configuration */
  readonly mqttAllow: () => readonly string[];
  readonly clock: Clock;
  /** uniform in [0, 1) */
  readonly random: () => number;
}

const SEND_MS_MAX = 5000;
const ACK_MS = 2000;
/** Of failed attempts: the broker is away for a moment, or for long. */
const FAILED_WAITS = { baseMs: 200, capMs: 10_000 };
/** Of attempts without an ack, on top of `ackMs`: a device that is slow must not be flooded. */
const UNACKED_WAITS = { baseMs: 1000, capMs: 30_000 };

/** One attempt at an action. Never rejects: what went wrong is part of the outcome. */
export async function attemptAction(
  action: LeasedAction,
  config: AttemptConfig,
  d: AttemptDeps,
): Promise<AttemptOutcome> {
  const { id, attempt } = action;
  const later = (waits: typeof FAILED_WAITS) => d.clock.now() + backOff(waits, attempt, d.random);
  try {
    await withinLimit(sendAction(action, { ...d, mqttAllow: d.mqttAllow() }), config.sendMsMax ?? SEND_MS_MAX, d.clock);
    if (!awaitsAck(action)) return { id, attempt, result: 'sent' };
    return { id, attempt, result: 'sent', retryMs: later(UNACKED_WAITS) + (config.ackMs ?? ACK_MS) };
  } catch (reason) {
    const { code, detail, retryable } = BrinkError.from(reason);
    if (retryable) return { id, attempt, result: 'failed', code, detail, retryMs: later(FAILED_WAITS) };
    return { id, attempt, result: 'dead', code, detail };
  }
}

/** The wait of the n-th attempt: attempts of one action may lie in different lives of this process. */
function backOff(waits: { baseMs: number; capMs: number }, attempt: number, random: () => number): number {
  const capMs = Math.min(waits.capMs, waits.baseMs * 2 ** Math.min(attempt - 1, 30));
  return fullJitter({ baseMs: capMs, capMs }, random).next().value;
}

function withinLimit(sending: Promise<void>, limitMs: number, clock: Clock): Promise<void> {
  return new Promise((resolve, reject) => {
    const late = clock.setTimeout(() => {
      reject(new BrinkError('E_TIMEOUT', `it was not taken within ${limitMs} ms`));
    }, limitMs);
    sending.then(resolve, reject).finally(() => clock.clearTimeout(late));
  });
}
