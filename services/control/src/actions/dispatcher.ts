import { type ActionKind, BrinkError, type TargetConfig, underName } from '@brink/protocol';
import type { Logger, Mqtt, Part } from '@brink/runtime';
import type { Ledger } from '../ledger/ledger.ts';
import type { AttemptOutcome, LeasedAction } from '../ledger/records.ts';
import { type AttemptConfig, type AttemptDeps, attemptAction, HTTP_MS_MAX } from './attempts.ts';
import { createOutlets, type TargetState } from './outlets.ts';
import { createWaking } from './waking.ts';

export interface DispatcherConfig extends AttemptConfig {
  /** Actions on their way at once; the rest waits in the ledger. */
  readonly inFlightMax?: number;
  /** How long an attempt may take before another one may begin, ms. Longer than `sendMsMax`. */
  readonly leaseMs?: number;
}

export interface DispatcherDeps extends Omit<AttemptDeps, 'target' | 'signal'> {
  /** Of the active configuration. */
  readonly targets: () => Readonly<Record<string, TargetConfig>>;
  /** After each attempt. */
  readonly attempted?: (kind: ActionKind, result: AttemptOutcome['result']) => void;
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
  /** By target of the active configuration. */
  targets(): Record<string, TargetState>;
}

const IN_FLIGHT_MAX = 100;
const LEASE_MS = HTTP_MS_MAX + 5000;
const POLL_MS_MAX = 60_000;
/**
 * After the broker was away: it has kept the acks that came meanwhile, and hands them over now. Commands that may have left are
 * not sent again before.
 */
const HOLD_MS = 1500;
/** What is on its way over HTTP when control stops has so long to be answered: one more duplicate that need not be. */
const STOP_MS = 3000;

/**
 * Takes due actions from the ledger's outbox, sends them, and writes down what became of each attempt. At least once,
 * always under the same key: an attempt whose fate is unknown is made again.
 */
export function createDispatcher(config: DispatcherConfig, d: DispatcherDeps): Dispatcher {
  const inFlightMax = config.inFlightMax ?? IN_FLIGHT_MAX;
  const inFlight = new Set<Promise<void>>();
  const counters = { sent: 0, failed: 0, refused: 0 };
  const outlets = createOutlets({ inFlightMax }, d);
  let stopping = new AbortController();
  /** By the monotonic clock: one that is set back must not hold them for a day. */
  let holdUntil = Number.NEGATIVE_INFINITY;
  // Every reason to look: a commit, a time, a slot that became free, the broker's return.
  const waking = createWaking({ clock: d.clock, logger: d.logger, look });
  let subscribed = false;

  /** @returns when to look again; undefined: something will wake it */
  async function look(): Promise<number | undefined> {
    // Before the rooms: a target whose time is up while the ledger is asked gets nothing in this look, and waits for none after it.
    const lookedMs = d.clock.monotonic();
    const tryInMs = outlets.nextMs();
    const { limit, rooms } = outlets.rooms(d.mqtt.connected);
    // A full house needs no look: the next slot that becomes free wakes it.
    if (limit === 0) return undefined;
    const leaseMs = config.leaseMs ?? LEASE_MS;
    const holdMs = holdUntil - d.clock.monotonic();
    const holdUntilMs = holdMs > 0 ? d.clock.now() + holdMs : undefined;
    const { actions, nextDueMs } = await d.ledger.lease({ limit, rooms, leaseMs, holdUntilMs });
    for (const action of actions) launch(action);
    const lookMs = d.clock.monotonic() - lookedMs;
    const triedMs = tryInMs === undefined ? undefined : tryInMs - lookMs;
    return earliest(triedMs, nextDueMs === undefined ? undefined : nextDueMs - d.clock.now());
  }

  function launch(action: LeasedAction): void {
    outlets.began(action);
    const attempt = dispatch(action).finally(() => {
      inFlight.delete(attempt);
      waking.wake();
    });
    inFlight.add(attempt);
  }

  async function dispatch(action: LeasedAction): Promise<void> {
    const target = (name: string) => underName(d.targets(), name);
    const attempting = attemptAction(action, config, { ...d, target, signal: stopping.signal }, outlets.check);
    const { outcome, retryAfterMs } = await attempting;
    outlets.ended(action, outcome, retryAfterMs);
    counters[COUNTER[outcome.result]] += 1;
    d.attempted?.(action.kind, outcome.result);
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
      stopping = new AbortController();
      if (!subscribed) {
        d.ledger.onDue(waking.wake);
        d.mqtt.onConnect(() => {
          holdUntil = d.clock.monotonic() + HOLD_MS;
          waking.wake();
        });
      }
      subscribed = true;
      waking.start();
    },
    async stop() {
      await waking.stop();
      const late = d.clock.setTimeout(() => stopping.abort(), STOP_MS);
      await Promise.all(inFlight);
      d.clock.clearTimeout(late);
    },
    targets: outlets.states,
    get stats() {
      return { ...counters, inFlight: inFlight.size };
    },
  };
}

function earliest(...waits: (number | undefined)[]): number | undefined {
  const known = waits.filter((ms) => ms !== undefined);
  return known.length === 0 ? undefined : Math.max(0, Math.min(...known, POLL_MS_MAX));
}

const COUNTER = { acked: 'sent', sent: 'sent', failed: 'failed', dead: 'refused' } as const;
