import { BrinkError } from '@brink/protocol';
import type { Logger, Mqtt, Part, Timer } from '@brink/runtime';
import type { Ledger } from '../ledger/ledger.ts';
import type { LeasedAction } from '../ledger/records.ts';
import { type AttemptConfig, type AttemptDeps, attemptAction } from './attempts.ts';

export interface DispatcherConfig extends AttemptConfig {
  /** Actions on their way at once; the rest waits in the ledger. */
  readonly inFlightMax?: number;
  /** How long an attempt may take before another one may begin, ms. Longer than `sendMsMax`. */
  readonly leaseMs?: number;
}

export interface DispatcherDeps extends AttemptDeps {
  readonly ledger: Pick<Ledger, 'lease' | 'settle' | 'onDue'>;
  readonly mqtt: Pick<Mqtt, 'publish' | 'connected' | 'onConnect'>;
  readonly logger: Logger;
}

interface DispatcherStats {
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
/** While the broker is away, nothing is leased; what expires meanwhile is ended at this pace. */
const AWAY_POLL_MS = 1000;
const POLL_MS_MAX = 60_000;

/**
 * Takes due actions from the ledger's outbox, sends them, and writes down what became of each attempt. At least once,
 * always under the same key: an attempt whose fate is unknown is made again.
 */
export function createDispatcher(config: DispatcherConfig, d: DispatcherDeps): Dispatcher {
  const inFlightMax = config.inFlightMax ?? IN_FLIGHT_MAX;
  const inFlight = new Set<Promise<void>>();
  const counters = { sent: 0, failed: 0, refused: 0 };
  let running = false;
  let subscribed = false;
  let polling: Promise<void> | undefined;
  let again = false;
  let timer: Timer | undefined;

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
      const waitMs = await look().catch((reason: unknown) => {
        const { code, detail } = BrinkError.from(reason);
        if (running) d.logger.warn({ code, detail }, 'the dispatcher cannot read the outbox');
        return AWAY_POLL_MS;
      });
      setTimer(waitMs);
    }
  }

  /** @returns when to look again; undefined: something will wake it */
  async function look(): Promise<number | undefined> {
    const limit = d.mqtt.connected ? inFlightMax - inFlight.size : 0;
    // A full house needs no look: the next slot that becomes free wakes it.
    if (limit === 0 && d.mqtt.connected) return undefined;
    const { actions, nextDueMs } = await d.ledger.lease({ limit, leaseMs: config.leaseMs ?? LEASE_MS });
    for (const action of actions) launch(action);
    if (!d.mqtt.connected) return AWAY_POLL_MS;
    return nextDueMs === undefined ? undefined : Math.min(Math.max(nextDueMs - d.clock.now(), 0), POLL_MS_MAX);
  }

  function setTimer(waitMs: number | undefined): void {
    if (timer !== undefined) d.clock.clearTimeout(timer);
    timer = waitMs === undefined || !running ? undefined : d.clock.setTimeout(wake, waitMs);
  }

  function launch(action: LeasedAction): void {
    const attempt = dispatch(action).finally(() => {
      inFlight.delete(attempt);
      wake();
    });
    inFlight.add(attempt);
  }

  async function dispatch(action: LeasedAction): Promise<void> {
    const outcome = await attemptAction(action, config, d);
    counters[outcome.result === 'dead' ? 'refused' : outcome.result] += 1;
    try {
      await d.ledger.settle([outcome]);
    } catch (error) {
      // The row stays leased; when the lease ends it is sent again, under the same key.
      const { code, detail } = BrinkError.from(error);
      d.logger.warn({ code, detail, action: action.id }, 'what became of an action could not be written down');
    }
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
      setTimer(undefined);
      await polling;
      await Promise.all(inFlight);
    },
    get stats() {
      return { ...counters, inFlight: inFlight.size };
    },
  };
}
