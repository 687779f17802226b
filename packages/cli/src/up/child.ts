import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { type Clock, fullJitter } from '@brink/runtime';
import type { ProcessPlan } from './plan.ts';

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** The last lines on stderr: for a service that refuses to start, why. */
  readonly stderr: readonly string[];
  /** When it starts again; undefined: it does not. */
  readonly againMs: number | undefined;
}

export interface ChildEvents {
  started(pid: number, restarts: number): void;
  /** A line on stdout or stderr. */
  line(text: string): void;
  ended(end: Ended): void;
}

export interface SupervisedChild {
  readonly pid: number | undefined;
  start(): void;
  /** SIGTERM, and resolves when it has ended. */
  stop(): Promise<void>;
  /** SIGKILL to it and all that it started. */
  kill(): void;
}

// Not createChild of @brink/runtime: that one speaks the framed link over a pipe and logs what the child says; this one follows
// the service's own log and shows it, and its children must outlive Ctrl-C until it is their turn.
const RESTARTS_MAX = 5;
const WITHIN_MS = 60_000;
const STDERR_LINES = 20;
const LINE_CHARS_MAX = 8000;
/** sysexits.h: EX_CONFIG, EX_UNAVAILABLE (port, broker), EX_TEMPFAIL (locked). Trying again changes nothing. */
const FINAL_CODES = new Set([78, 75]);

/** Children alive now: an orderly end of this process takes them along; after kill -9 their stdin closes and they end themselves. */
const alive = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of alive) killGroup(child);
});

/**
 * The young generation may else grow to some 100 MB in each process. `npm run bench -- memory` shows what each holds.
 */
const YOUNG_MB = 8;
const nodeArgs = ({ youngMb = YOUNG_MB }: ProcessPlan) => [
  '--disable-warning=ExperimentalWarning',
  `--max-semi-space-size=${youngMb}`,
];

/**
 * One service under `brink up`. It gets a process group of its own, so that Ctrl-C reaches `up` alone, which then stops
 * the services in order; it watches its stdin (BRINK_PARENT_PIPE), so that nothing is left when `up` is killed.
 * @param env all that it inherits
 */
export function createSupervised(
  plan: ProcessPlan,
  env: Readonly<Record<string, string>>,
  d: { clock: Clock; random: () => number; events: ChildEvents },
): SupervisedChild {
  let child: ChildProcess | undefined;
  let gone = Promise.withResolvers<void>();
  let stopping = false;
  let restarts = 0;
  let ends: number[] = [];
  const jitter = () => fullJitter({ baseMs: 200, capMs: 5000 }, d.random);
  let waits = jitter();
  let again: object | undefined;

  function launch(): void {
    again = undefined;
    const startedAt = d.clock.monotonic();
    const stderr: string[] = [];
    gone = Promise.withResolvers<void>();
    const current = spawn(process.execPath, [...nodeArgs(plan), plan.module, ...plan.args], {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: { ...env, ...plan.env, BRINK_PARENT_PIPE: '1' },
      detached: true,
    });
    child = current;
    alive.add(current);
    current.stdin.on('error', () => {});
    lines(current.stdout, d.events.line);
    lines(current.stderr, (line) => {
      stderr.push(line);
      if (stderr.length > STDERR_LINES) stderr.shift();
      d.events.line(line);
    });
    current.on('error', (error) => {
      stderr.push(error.message);
      if (current.pid === undefined) ended(null, null);
    });
    // 'close', not 'exit': everything it said has been read.
    current.once('close', ended);
    if (current.pid !== undefined) d.events.started(current.pid, restarts);

    function ended(code: number | null, signal: NodeJS.Signals | null): void {
      if (!alive.delete(current)) return;
      child = undefined;
      killGroup(current);
      const againMs = stopping || FINAL_CODES.has(code ?? -1) ? undefined : nextWait(startedAt);
      if (againMs !== undefined) {
        restarts += 1;
        again = d.clock.setTimeout(launch, againMs);
      }
      gone.resolve();
      d.events.ended({ code, signal, stderr, againMs });
    }
  }

  /** @returns undefined when the budget is spent */
  function nextWait(startedAt: number): number | undefined {
    const now = d.clock.monotonic();
    if (now - startedAt > WITHIN_MS) waits = jitter();
    ends = ends.filter((at) => now - at < WITHIN_MS);
    ends.push(now);
    return ends.length > RESTARTS_MAX ? undefined : waits.next().value;
  }

  return {
    get pid() {
      return child?.pid;
    },
    start: launch,
    async stop() {
      stopping = true;
      if (again !== undefined) d.clock.clearTimeout(again);
      if (child === undefined) return;
      child.kill('SIGTERM');
      await gone.promise;
    },
    kill() {
      stopping = true;
      if (child !== undefined) killGroup(child);
    },
  };
}

function killGroup(child: ChildProcess): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch {
    // ESRCH: the whole group has ended.
  }
}

function lines(stream: Readable, on: (line: string) => void): void {
  const reader = createInterface({ input: stream, crlfDelay: Number.POSITIVE_INFINITY });
  reader.on('line', (line) => on(line.slice(0, LINE_CHARS_MAX)));
  stream.on('error', () => {});
}
