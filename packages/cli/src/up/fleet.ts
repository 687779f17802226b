import { join } from 'node:path';
import { BrinkError } from '@brink/protocol';
import type { Clock } from '@brink/runtime';
import { createSupervised, type Ended, type SupervisedChild } from './child.ts';
import { readyOrNot, untilAnswersReady } from './health.ts';
import { createRepeats, notable, openLog } from './logs.ts';
import type { Place } from './place.ts';
import type { ProcessName, ProcessPlan } from './plan.ts';
import type { Screen } from './screen.ts';

export interface FleetEnd {
  /** sysexits.h, or 0 */
  readonly code: number;
  /** Lines for stderr. */
  readonly lines: readonly string[];
}

export interface Fleet {
  /** Starts everything; resolves when every service is ready, or when they run and one of them has not become so in time. */
  start(signal: AbortSignal): Promise<void>;
  /** Resolves when the fleet cannot go on: a service refuses to start, or was given up. */
  readonly failed: Promise<FleetEnd>;
  /** In reverse order; whoever takes too long is killed. */
  stop(): Promise<void>;
}

interface Member {
  readonly plan: ProcessPlan;
  readonly child: SupervisedChild;
  /** monotonic ms of the last time that it became ready */
  readyAt: number | undefined;
}

/** Ctrl-C to everything gone: 3 s, less what Node needs to end. */
const STOP_MS_MAX = 2400;
/** While the services find each other, they warn of each other; the logs have it. */
const SETTLING_MS = 2000;
/** A service that ends with one of these before it was ready will do so again. */
const REFUSALS = new Set([69, 75, 78]);

interface FleetOptions {
  readonly place: Place;
  /** What every child inherits besides its own. */
  readonly env: Readonly<Record<string, string>>;
  /** Control's entrance, and the token that it asks for. */
  readonly http: string;
  readonly token?: string | undefined;
}

export function createFleet(
  plans: readonly ProcessPlan[],
  o: FleetOptions,
  d: { clock: Clock; random: () => number; screen: Screen },
): Fleet {
  const { clock, screen } = d;
  const failed = Promise.withResolvers<FleetEnd>();
  /** It was told which services are not ready. */
  let degraded = false;
  const closing = new AbortController();
  const repeats = createRepeats(() => clock.monotonic());
  const logs = new Map(plans.map(({ name }) => [name, openLog(join(o.place.logs, `${name}.log`))]));
  const members = plans.map((plan): Member => {
    const events = {
      started: (pid: number, restarts: number) => onStarted(plan, pid, restarts),
      line: (text: string) => onLine(plan.name, text),
      ended: (end: Ended) => onEnded(plan, end),
    };
    return { plan, child: createSupervised(plan, o.env, { clock, random: d.random, events }), readyAt: undefined };
  });
  const member = (name: ProcessName) => members.find((one) => one.plan.name === name) as Member;

  function onLine(name: ProcessName, text: string): void {
    logs.get(name)?.write(text);
    // What a service says last before it refuses is told by `onEnded`.
    if (closing.signal.aborted || /^brink [a-z]+: /.test(text)) return;
    const { readyAt } = member(name);
    if (readyAt === undefined || clock.monotonic() - readyAt < SETTLING_MS) return;
    const note = notable(text);
    if (note !== undefined && !repeats(note.kind)) screen.note(name, note.text, note.severe);
  }

  function onStarted(plan: ProcessPlan, pid: number, restarts: number): void {
    screen.started(plan.name, pid, restarts);
    if (restarts > 0) void untilReady(plan, restarts).catch(() => {});
  }

  function onEnded(plan: ProcessPlan, end: Ended): void {
    if (closing.signal.aborted) return;
    const refused = end.code === 78 || (REFUSALS.has(end.code ?? 0) && member(plan.name).readyAt === undefined);
    if (!refused && end.againMs !== undefined) {
      screen.ended(plan.name, [howOf(end), ...firstError(end)].join(': '), end.againMs);
    } else if (plan.needed) {
      failed.resolve({ code: refused ? (end.code ?? 70) : 70, lines: wordsOf(plan, end) });
    } else {
      screen.note(plan.name, `${wordsOf(plan, end).join('; ')}; going on without it`, true);
    }
  }

  async function untilReady(plan: ProcessPlan, restarts: number): Promise<void> {
    const startedAt = clock.monotonic();
    const waiting = (problems: readonly string[]) => {
      if (!degraded) screen.waiting(problems.map((problem) => `${plan.name}: ${problem}`));
    };
    if (plan.ops !== undefined) await untilAnswersReady(plan.ops, { clock, signal: closing.signal, waiting });
    member(plan.name).readyAt = clock.monotonic();
    screen.ready(plan.name, plan.ops === undefined ? undefined : clock.monotonic() - startedAt, restarts);
  }

  async function startTogether(group: readonly Member[]): Promise<void> {
    for (const { child } of group) child.start();
    await Promise.all(group.map(({ plan }) => untilReady(plan, 0)));
  }

  return {
    failed: failed.promise,
    async start(signal) {
      const startedAt = clock.monotonic();
      const took = () => clock.monotonic() - startedAt;
      const stop = () => closing.abort();
      signal.addEventListener('abort', stop, { once: true });
      // The services dial the broker, the simulator needs all of them; among themselves they need no order.
      await startTogether(members.filter(({ plan }) => plan.name === 'broker'));
      const group = members.filter(({ plan }) => plan.name !== 'broker' && plan.name !== 'simulator');
      const ready = startTogether(group);
      const missing = await readyOrNot(ready, { group, ...o }, { clock, signal: closing.signal });
      if (signal.aborted) throw new BrinkError('E_CANCELLED', 'stopped while starting');
      // From here on what they log is shown, ready or not.
      for (const one of group) one.readyAt ??= clock.monotonic();
      degraded = missing.length > 0;
      await startTogether(members.filter(({ plan }) => plan.name === 'simulator'));
      if (!degraded) return screen.allReady(took(), pidsOf(members), false);
      screen.degraded(took(), missing);
      void ready.then(
        () => {
          degraded = false;
          if (!closing.signal.aborted) screen.allReady(took(), pidsOf(members), true);
        },
        () => {},
      );
    },
    async stop() {
      closing.abort();
      const limit = clock.setTimeout(() => {
        for (const { child } of members) child.kill();
      }, STOP_MS_MAX);
      for (const { child } of [...members].reverse()) await child.stop();
      clock.clearTimeout(limit);
      for (const log of logs.values()) log.close();
    },
  };
}

const pidsOf = (members: readonly Member[]) =>
  Object.fromEntries(members.map(({ plan, child }) => [plan.name, child.pid ?? 0]));

const howOf = (end: Ended) => end.signal ?? `exit ${end.code}`;

/** `Error: Cannot find module …` out of a stack. */
const firstError = (end: Ended) => end.stderr.filter((line) => /^\w*Error\b/.test(line)).slice(0, 1);

/** What the service itself said before it ended, or, where it said nothing that was meant for people, the end of its output. */
function wordsOf(plan: ProcessPlan, end: Ended): string[] {
  const why = end.stderr.filter((line) => line.startsWith('brink ')).slice(-5);
  return why.length > 0 ? why : [`brink ${plan.name}: ended (${howOf(end)})`, ...end.stderr.slice(-5)];
}
