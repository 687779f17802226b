import { BrinkError, type ModelPolicy } from '@brink/protocol';
import type { ChildMetrics, Clock, LinkMetrics, Logger } from '@brink/runtime';
import { createRunnerProcess, type RunnerProcess } from '../runner/process.ts';
import type { BatchRunner, RunEnd } from '../scheduler/lane.ts';

/** The runners of one model version: side by side, each with a graph of its own. */
export interface Copies {
  /** Resolves when the first one takes batches, or was lost. Goes on to start the others. */
  start(signal: AbortSignal): Promise<void>;
  /** What is wanted may have changed: starts what is missing, then ends what is too many, one after the other. */
  follow(): void;
  stop(): Promise<void>;
  /** Those that take batches. */
  readonly open: number;
}

/** How a runner is to be started. Where this changes, other ones take their place. */
export type RunnerPolicy = Pick<ModelPolicy, 'providers' | 'strict' | 'memory_mb_max'>;

export interface CopiesDependencies {
  readonly logger: Logger;
  readonly clock: Clock;
  readonly random: () => number;
  readonly childMetrics: ChildMetrics;
  readonly linkMetrics: LinkMetrics;
  readonly wanted: () => { count: number; policy: RunnerPolicy };
  /** Gives a runner that has just started its graph and warms it up. @throws BrinkError */
  readonly bringUp: (process: RunnerProcess) => Promise<BatchRunner>;
  readonly opened: (runner: BatchRunner, process: RunnerProcess) => void;
  readonly closed: (runner: BatchRunner) => void;
  /** None is left, or they crash again and again. */
  readonly failed: (reason: unknown) => void;
  /** One could not be started; the others go on. */
  readonly trouble: (reason: BrinkError) => void;
  /** What is there is what is wanted. */
  readonly settled: () => void;
}

interface Copy {
  readonly name: string;
  readonly kind: string;
  readonly process: RunnerProcess;
  runner: Tracked | undefined;
  /** It took batches once: what ends it now is a crash of the model. */
  proven: boolean;
  leaving: boolean;
}

/** In a minute, of all copies together: no other one would do better. */
const CRASHES_MAX = 5;
const CRASHES_MS = 60_000;
const crashedTooOften = () => new BrinkError('E_MODEL_CRASH', 'its runner crashed five times in a minute');

/** @param o name: of the first one; cwd: an empty folder */
export function createCopies(o: { name: string; cwd: string }, d: CopiesDependencies): Copies {
  let copies: readonly Copy[] = [];
  let crashes: number[] = [];
  let settling: Promise<void> | undefined;
  let again = false;
  const stopping = new AbortController();
  const ending = new Set<Promise<void>>();

  function create(policy: RunnerPolicy): Copy {
    const names = copies.map(({ name }) => name);
    const numbers = Array.from({ length: copies.length + 1 }, (_, at) => (at === 0 ? o.name : `${o.name}-${at + 1}`));
    const name = numbers.find((one) => !names.includes(one)) ?? o.name;
    const { logger, clock, random, childMetrics, linkMetrics } = d;
    const events = {
      onUp: () => up(copy),
      onDown: (recycled: boolean) => down(copy, recycled),
      onGiveUp: () => givenUp(copy),
    };
    const start = {
      providers: policy.providers,
      strict: policy.strict,
      memoryBytesMax: policy.memory_mb_max * 2 ** 20,
    };
    const copy: Copy = {
      name,
      kind: kindOf(policy),
      process: createRunnerProcess(
        { name, cwd: o.cwd, ...start },
        { logger, clock, random, childMetrics, linkMetrics, events },
      ),
      runner: undefined,
      proven: false,
      leaving: false,
    };
    return copy;
  }

  /** A crash meanwhile is the supervisor's business: it starts the runner again, or gives up. */
  async function up(copy: Copy): Promise<void> {
    try {
      const runner = tracked(await d.bringUp(copy.process));
      if (copy.leaving || stopping.signal.aborted) return;
      copy.runner = runner;
      copy.proven = true;
      d.opened(runner, copy.process);
    } catch (reason) {
      if (BrinkError.from(reason).code === 'E_MODEL_CRASH') throw reason;
      lose(copy, reason);
    }
  }

  function close(copy: Copy): Tracked | undefined {
    const { runner } = copy;
    copy.runner = undefined;
    if (runner !== undefined) d.closed(runner);
    return runner;
  }

  /** @param recycled it did nothing wrong */
  function down(copy: Copy, recycled: boolean): void {
    close(copy);
    if (recycled || !copy.proven || copy.leaving || stopping.signal.aborted) return;
    const now = d.clock.monotonic();
    crashes = [...crashes.filter((at) => at > now - CRASHES_MS), now];
    if (crashes.length >= CRASHES_MAX) d.failed(crashedTooOften());
  }

  function givenUp(copy: Copy): void {
    if (copy.proven) d.failed(crashedTooOften());
    else lose(copy, crashedTooOften());
  }

  /** It will not come (back). */
  function lose(copy: Copy, reason: unknown): void {
    if (copy.leaving || stopping.signal.aborted) return;
    leave(copy);
    close(copy);
    if (copies.length === 0) d.failed(reason);
    else d.trouble(BrinkError.from(reason));
    // The child would be started again otherwise.
    const end = copy.process
      .stop()
      .catch((problem: unknown) => d.logger.error({ err: problem }, 'runner did not stop'))
      .finally(() => ending.delete(end));
    ending.add(end);
  }

  function leave(copy: Copy): void {
    copy.leaving = true;
    copies = copies.filter((one) => one !== copy);
  }

  /** @returns whether it takes batches */
  async function startOne(policy: RunnerPolicy, signal: AbortSignal): Promise<boolean> {
    const copy = create(policy);
    copies = [...copies, copy];
    await copy.process.start(signal).catch((reason: unknown) => lose(copy, reason));
    return copy.runner !== undefined;
  }

  /** Takes no more batches, answers those that it has, and ends: nothing is lost. */
  async function end(copy: Copy): Promise<void> {
    leave(copy);
    await close(copy)?.idle();
    await copy.process.stop();
  }

  async function settle(): Promise<void> {
    while (!stopping.signal.aborted) {
      const { count, policy } = d.wanted();
      const kind = kindOf(policy);
      const other = copies.find((copy) => copy.kind !== kind);
      const same = copies.filter((copy) => copy.kind === kind);
      if (same.length < count) {
        if (!(await startOne(policy, stopping.signal))) return;
      } else if (other === undefined && same.length === count) {
        d.settled();
        return;
      } else if (other === undefined) {
        await end(same.at(-1) as Copy);
        continue;
      }
      if (other !== undefined) await end(other);
    }
  }

  function follow(): void {
    if (stopping.signal.aborted || copies.length === 0) return;
    again = true;
    settling ??= (async () => {
      while (again) {
        again = false;
        await settle();
      }
      settling = undefined;
    })().catch((reason: unknown) => d.logger.error({ err: reason }, 'copies are not as they are wanted'));
  }

  return {
    async start(signal) {
      const both = AbortSignal.any([signal, stopping.signal]);
      if (await startOne(d.wanted().policy, both)) follow();
    },
    follow,
    async stop() {
      stopping.abort();
      const all = copies;
      copies = [];
      await Promise.all([...all.map(({ process }) => process.stop()), ...ending]);
      await settling;
    },
    get open() {
      return copies.filter(({ runner }) => runner !== undefined).length;
    },
  };
}

const kindOf = ({ providers, strict, memory_mb_max }: RunnerPolicy) => `${providers} ${strict} ${memory_mb_max}`;

interface Tracked extends BatchRunner {
  /** Resolves when everything that it was given is answered. */
  idle(): Promise<void>;
}

function tracked(runner: BatchRunner): Tracked {
  const open = new Set<Promise<RunEnd>>();
  return {
    run(request, runMsMax) {
      const run = runner.run(request, runMsMax).finally(() => open.delete(run));
      open.add(run);
      return run;
    },
    async idle() {
      while (open.size > 0) await Promise.all(open);
    },
  };
}
