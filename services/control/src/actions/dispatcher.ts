import { BrinkError, type Topics } from '@brink/protocol';
import { type Clock, fullJitter, type Logger, type Mqtt, type Part, type Timer } from '@brink/runtime';
import type { Ledger } from '../ledger/ledger.ts';
import type { AttemptOutcome, LeasedAction } from '../ledger/records.ts';
import { awaitsAck, sendAction } from './kinds.ts';

export interface DispatcherConfig {
  /** Actions on their way at once; the rest waits in the ledger. */
  readonly inFlightMax?: number;
  /** How long an attempt may take before another one may begin, ms. Longer than `sendMsMax`. */
  readonly leaseMs?: number;
  /** A publish that takes longer counts as failed, ms. */
  readonly sendMsMax?: number;
  /** How long a device has to answer before the command is sent again, ms; back-off is added. */
  readonly ackMs?: number;
}

export interface DispatcherDeps {
  readonly ledger: Pick<Ledger, 'lease' | 'settle' | 'onDue'>;
  readonly mqtt: Pick<Mqtt, 'publish' | 'connected' | 'onConnect'>;
  readonly topics: Topics;
  /** site.mqtt_allow of the active configuration */
  readonly mqttAllow: () => readonly string[];
  readonly clock: Clock;
  /** uniform in [0, 1) */
  readonly random: () => number;
  readonly logger: Logger;
}

export interface DispatcherStats {
  readonly inFlight: number;
  readonly sent: number;
  readonly failed: number;
  readonly refused: number;
}

export interface Dispatcher extends Part {
  readonly stats: DispatcherStats;
}

const IN_FLIGHT_MAX = 100;
const LEASE_MS = 15_000;
const SEND_MS_MAX = 5000;
const ACK_MS = 2000;
/** Of failed attempts: the broker is away for a moment, or for long. */
const FAILED_WAITS = { baseMs: 200, capMs: 10_000 };
/** Of attempts without an ack, on top of `ackMs`: a device that is slow must not be flooded. */
const UNACKED_WAITS = { baseMs: 1000, capMs: 30_000 };
/** While the broker is away, nothing is leased; what expires meanwhile is ended at this pace. */
const AWAY_POLL_MS = 1000;
const POLL_MS_MAX = 60_000;

/**
 * Takes due actions from the ledger's outbox, sends them, and writes down what became of each attempt. At least once,
 * always under the same key: an attempt whose fate is unknown is made again.
 */
export function createDispatcher(config: DispatcherConfig, d: DispatcherDeps): Dispatcher {
  const inFlightMax = config.inFlightMax ?? IN_FLIGHT_MAX;
  const leaseMs = config.leaseMs ?? LEASE_MS;
  const inFlight = new Set<Promise<void>>();
  const counters = { sent: 0, failed: 0, refused: 0 };
  let running = false;
  let polling: Promise<void> | undefined;
  let again = false;
  let timer: Timer | undefined;
  let subscribed = false;

  /** Every reason to look (a commit, a timer, a slot that became free, the broker's return) ends here. */
  function wake(): void {
    if (!running) return;
    again = true;
    polling ??= poll().finally(() => {
      polling = undefined;
      if (again) wake();
    });
  }

  async function poll(): Promise<void> {
    while (again && running) {
      again = false;
      clearTimer();
      const limit = d.mqtt.connected ? inFlightMax - inFlight.size : 0;
      // A full house needs no look: the next slot that becomes free wakes it.
      if (limit === 0 && d.mqtt.connected) return;
      try {
        const { actions, nextDueMs } = await d.ledger.lease({ limit, leaseMs });
        for (const action of actions) launch(action);
        const waitMs = nextDueMs === undefined ? undefined : nextDueMs - d.clock.now();
        if (!d.mqtt.connected) setTimer(AWAY_POLL_MS);
        else if (waitMs !== undefined) setTimer(Math.min(Math.max(waitMs, 0), POLL_MS_MAX));
      } catch (error) {
        const { code, detail } = BrinkError.from(error);
        if (running) d.logger.warn({ code, detail }, 'the dispatcher cannot read the outbox');
        setTimer(AWAY_POLL_MS);
      }
    }
  }

  function setTimer(ms: number): void {
    clearTimer();
    if (!running) return;
    timer = d.clock.setTimeout(() => {
      timer = undefined;
      wake();
    }, ms);
  }

  function clearTimer(): void {
    if (timer !== undefined) d.clock.clearTimeout(timer);
    timer = undefined;
  }

  function launch(action: LeasedAction): void {
    const attempt = dispatch(action).finally(() => {
      inFlight.delete(attempt);
      wake();
    });
    inFlight.add(attempt);
  }

  async function dispatch(action: LeasedAction): Promise<void> {
    const outcome = await attempt(action);
    try {
      await d.ledger.settle([outcome]);
    } catch (error) {
      // The row stays leased; when the lease ends it is sent again, under the same key.
      const { code, detail } = BrinkError.from(error);
      d.logger.warn({ code, detail, action: action.id }, 'what became of an action could not be written down');
    }
  }

  async function attempt(action: LeasedAction): Promise<AttemptOutcome> {
    const { id, attempt: count } = action;
    try {
      const { mqtt, topics, clock } = d;
      await withinLimit(sendAction(action, { mqtt, topics, clock, mqttAllow: d.mqttAllow() }));
      counters.sent += 1;
      if (!awaitsAck(action)) return { id, attempt: count, result: 'sent' };
      const retryMs = d.clock.now() + (config.ackMs ?? ACK_MS) + backOff(UNACKED_WAITS, count);
      return { id, attempt: count, result: 'sent', retryMs };
    } catch (reason) {
      const { code, detail, retryable } = BrinkError.from(reason);
      if (!retryable) {
        counters.refused += 1;
        return { id, attempt: count, result: 'dead', code, detail };
      }
      counters.failed += 1;
      return {
        id,
        attempt: count,
        result: 'failed',
        code,
        detail,
        retryMs: d.clock.now() + backOff(FAILED_WAITS, count),
      };
    }
  }

  function backOff(waits: { baseMs: number; capMs: number }, attempt: number): number {
    const capMs = Math.min(waits.capMs, waits.baseMs * 2 ** Math.min(attempt - 1, 30));
    return fullJitter({ baseMs: capMs, capMs }, d.random).next().value;
  }

  function withinLimit(sending: Promise<void>): Promise<void> {
    const limitMs = config.sendMsMax ?? SEND_MS_MAX;
    return new Promise((resolve, reject) => {
      const late = d.clock.setTimeout(
        () => reject(new BrinkError('E_TIMEOUT', `the broker did not take it within ${limitMs} ms`)),
        limitMs,
      );
      sending.then(resolve, reject).finally(() => d.clock.clearTimeout(late));
    });
  }

  return {
    async start() {
      running = true;
      if (!subscribed) {
        d.ledger.onDue(wake);
        d.mqtt.onConnect(wake);
      }
      subscribed = true;
      wake();
    },
    async stop() {
      running = false;
      clearTimer();
      await polling;
      await Promise.all(inFlight);
    },
    get stats() {
      return { ...counters, inFlight: inFlight.size };
    },
  };
}
