import { BrinkError, type TargetConfig } from '@brink/protocol';
import type { Clock } from '@brink/runtime';
import type { AttemptOutcome, LeasedAction } from '../ledger/records.ts';
import { type Breaker, createBreaker } from './breaker.ts';

// The ways out, and how much may be on each of them. What goes to one receiver never takes the room of another: every
// outlet has room for at least one, and one that does not answer gets one every now and then.

export interface OutletsConfig {
  /** On their way at once, all together. */
  readonly inFlightMax: number;
}

export interface OutletsDeps {
  readonly clock: Clock;
  /** uniform in [0, 1) */
  readonly random: () => number;
  /** Of the active configuration. */
  readonly targets: () => Readonly<Record<string, TargetConfig>>;
}

/** `open`: nothing is sent for `waitMs`, then one to see. `gone`: it answered 410; only what a person sends again is tried. */
export interface TargetState {
  readonly state: 'closed' | 'open' | 'gone';
  readonly inFlight: number;
  /** In a row. */
  readonly failures: number;
  readonly waitMs?: number;
  readonly goneAtMs?: number;
}

/** Of all that is on its way: as much may go over HTTP, so that commands always have room. */
const HTTP_SHARE = 0.6;
/** To one target: a receiver of webhooks is often a small thing. */
const TARGET_IN_FLIGHT_MAX = 4;
const RECORD_IN_FLIGHT_MAX = 8;

/** As the ledger names them (`outletOf`). */
const TO = 'to:';

export function createOutlets({ inFlightMax }: OutletsConfig, d: OutletsDeps) {
  const breakerOf = keepBreakers(d);
  const inFlight = new Map<string, number>();
  const count = (outlet: string) => inFlight.get(outlet) ?? 0;
  const used = () => [...inFlight.values()].reduce((sum, one) => sum + one, 0);
  const names = () => Object.keys(d.targets());

  /** What a target may take more of, before the others are looked at. */
  function ownRoom(outlet: string): number {
    const breaker = breakerOf(outlet);
    if (breaker === undefined || breaker.waitMs() > 0) return 0;
    return Math.max(0, (breaker.open ? 1 : TARGET_IN_FLIGHT_MAX) - count(outlet));
  }

  return {
    /** @returns how many more may begin: all together, and by outlet */
    rooms(mqttConnected: boolean): { limit: number; rooms: Record<string, number> } {
      const targets = names().map((name) => TO + name);
      const limit = Math.max(0, inFlightMax - used());
      // Each that could begin and has nothing on its way keeps room for one.
      const idle = targets.filter((outlet) => count(outlet) === 0 && ownRoom(outlet) > 0).length;
      const http = targets.reduce((sum, outlet) => sum + count(outlet), 0);
      const shared = Math.max(0, Math.floor(inFlightMax * HTTP_SHARE) - http - idle);
      const first = (outlet: string) => (count(outlet) === 0 ? 1 : 0);
      const rooms: Record<string, number> = {};
      for (const outlet of targets) rooms[outlet] = Math.min(ownRoom(outlet), shared + first(outlet));
      rooms['record'] = Math.max(first('record'), Math.min(RECORD_IN_FLIGHT_MAX - count('record'), limit - idle));
      rooms['mqtt'] = mqttConnected ? Math.max(first('mqtt'), limit - idle) : 0;
      return { limit, rooms };
    },

    /** @throws BrinkError E_TARGET_GONE, unless a person asked for it since */
    check({ outlet, target, asked_ms: askedMs }: LeasedAction): void {
      const goneAtMs = breakerOf(outlet)?.goneAtMs;
      if (goneAtMs === undefined || askedMs > goneAtMs) return;
      const detail = `"${target}" answered 410 at ${new Date(goneAtMs).toISOString()} and gets nothing more; expected another URL in the configuration, or that it is sent again by hand`;
      throw new BrinkError('E_TARGET_GONE', detail);
    },

    began({ outlet }: LeasedAction): void {
      inFlight.set(outlet, count(outlet) + 1);
    },

    ended({ outlet }: LeasedAction, outcome: AttemptOutcome, retryAfterMs?: number): void {
      const left = count(outlet) - 1;
      if (left > 0) inFlight.set(outlet, left);
      else inFlight.delete(outlet);
      const breaker = breakerOf(outlet);
      if (breaker !== undefined) learn(breaker, outcome, retryAfterMs);
    },

    /** Until a target that is left alone is tried again, ms. */
    nextMs(): number | undefined {
      const waits = names()
        .map((name) => breakerOf(TO + name)?.waitMs() ?? 0)
        .filter((ms) => ms > 0);
      return waits.length === 0 ? undefined : Math.min(...waits);
    },

    get inFlight() {
      return used();
    },

    states(): Record<string, TargetState> {
      return Object.fromEntries(names().map((name) => [name, stateOf(breakerOf(TO + name), count(TO + name))]));
    },
  };
}

/** One breaker for each target; a target whose configuration changed is another receiver. */
function keepBreakers(d: OutletsDeps): (outlet: string) => Breaker | undefined {
  const breakers = new Map<string, { readonly shape: string; readonly breaker: Breaker }>();
  return (outlet) => {
    if (!outlet.startsWith(TO)) return undefined;
    const target = d.targets()[outlet.slice(TO.length)];
    if (target === undefined) {
      breakers.delete(outlet);
      return undefined;
    }
    const shape = JSON.stringify(target);
    const known = breakers.get(outlet);
    if (known?.shape === shape) return known.breaker;
    const breaker = createBreaker(d);
    breakers.set(outlet, { shape, breaker });
    return breaker;
  };
}

function learn(breaker: Breaker, outcome: AttemptOutcome, retryAfterMs: number | undefined): void {
  if (outcome.result === 'failed') breaker.failed(retryAfterMs);
  else if (outcome.result !== 'dead') breaker.took();
  else if (outcome.code === 'E_TARGET_GONE') breaker.gone();
  else if (outcome.code === 'E_ACTION_REFUSED') breaker.answered();
}

function stateOf(breaker: Breaker | undefined, inFlight: number): TargetState {
  if (breaker === undefined) return { state: 'closed', inFlight, failures: 0 };
  const { failures, goneAtMs, open } = breaker;
  const waitMs = breaker.waitMs();
  return {
    ...{ state: goneAtMs !== undefined ? 'gone' : open ? 'open' : 'closed', inFlight, failures },
    ...(waitMs > 0 ? { waitMs: Math.ceil(waitMs) } : {}),
    ...(goneAtMs === undefined ? {} : { goneAtMs }),
  };
}
