import { type Configuration, createTopics } from '@brink/protocol';
import { silentLogger, systemClock } from '@brink/runtime';
import { FIRST_MS, openLedger, published, site } from '../ledger/ledger.testing.ts';
import { createDispatcher, type DispatcherConfig, type DispatcherDeps } from './dispatcher.ts';
import { withoutHttp } from './without-http.testing.ts';

// What tests of the dispatcher share.

interface Published {
  readonly topic: string;
  readonly payload: string;
  readonly retain: boolean;
}

/** The broker's side of a connection: what arrives there, and how it answers. */
function createBroker() {
  const arrived: Published[] = [];
  const connects: (() => void)[] = [];
  let answer: (message: Published) => Promise<void> = async () => {};
  return {
    arrived,
    connected: true,
    async publish(topic: string, payload: string | Uint8Array, options?: { retain?: boolean }) {
      const message = { topic, payload: String(payload), retain: options?.retain ?? false };
      arrived.push(message);
      await answer(message);
    },
    onConnect: (fn: () => void) => void connects.push(fn),
    answer(next: typeof answer) {
      answer = next;
    },
    connect(up: boolean) {
      this.connected = up;
      if (up) for (const fn of connects) fn();
    },
  };
}

/** Timers fire at once but in order of the clock, and the clock is moved by hand: no test waits. */
function createHandClock(atMs: number) {
  let shiftMs = 0;
  let setMs = 0;
  const timers = new Map<object, { fn: () => void; dueMs: number }>();
  return {
    now: () => atMs + setMs + shiftMs,
    monotonic: () => shiftMs,
    setTimeout(fn: () => void, ms: number) {
      const timer = {};
      // Due already: the clock was moved while the wait was reckoned.
      if (ms <= 0) {
        setImmediate(fn);
        return timer;
      }
      // Node's timers know whole milliseconds alone, and fire up to one too early.
      timers.set(timer, { fn, dueMs: shiftMs + Math.max(1, Math.trunc(ms)) });
      return timer;
    },
    clearTimeout: (timer: object) => void timers.delete(timer),
    /** Somebody sets it: no time passes. */
    set(ms: number) {
      setMs += ms;
    },
    shift(ms: number) {
      shiftMs += ms;
      for (const [timer, { fn, dueMs }] of [...timers].sort(([, a], [, b]) => a.dueMs - b.dueMs)) {
        if (dueMs > shiftMs || !timers.delete(timer)) continue;
        fn();
      }
    },
  };
}

/** A dispatcher on a real ledger, with a broker and a clock that the test moves. */
export async function openFleet(
  rules: Parameters<typeof site>[0] = { flap: {} },
  config: DispatcherConfig = {},
  o: {
    readonly mqttAllow?: string[];
    readonly http?: Partial<Pick<DispatcherDeps, 'http' | 'secrets'>>;
    readonly targets?: Configuration['targets'];
    readonly random?: () => number;
    /** How long the ledger takes to say what is due. */
    readonly leaseTakesMs?: () => number;
  } = {},
) {
  const { mqttAllow = ['zigbee2mqtt/'], random = () => 0.5, leaseTakesMs = () => 0 } = o;
  let targets = o.targets ?? {};
  const clock = createHandClock(FIRST_MS + 1000);
  // The ledger's own timers run on real time, its dates and durations on the clock that is moved by hand.
  const opened = await openLedger({ clock: { ...systemClock, now: clock.now, monotonic: clock.monotonic } });
  const { ledger } = opened;
  const lease: typeof ledger.lease = async (options) => {
    const leased = await ledger.lease(options);
    clock.shift(leaseTakesMs());
    return leased;
  };
  await ledger.configure(published({ ...site(rules), targets }));
  const broker = createBroker();
  const dispatcher = createDispatcher(config, {
    ...{ ledger: { lease, settle: ledger.settle, onDue: ledger.onDue }, mqtt: broker },
    ...{ topics: createTopics(), mqttAllow: () => mqttAllow },
    ...{ ...withoutHttp, ...o.http, targets: () => targets },
    ...{ clock, random, logger: silentLogger },
  });
  await dispatcher.start(new AbortController().signal);
  return {
    ...{ ledger, broker, clock, dispatcher },
    /** As an edit of the configuration does. */
    retarget(next: Configuration['targets']): void {
      targets = next;
    },
    state: async (id: string) => (await ledger.read.action(id))?.state,
    async [Symbol.asyncDispose]() {
      await dispatcher.stop();
      await opened[Symbol.asyncDispose]();
    },
  };
}

export const actionId = (seq: number, index = 0) => `cam-1.front.k3v9.${seq}.0.pets~flap~${index}`;
