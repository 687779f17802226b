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
type RunnerPolicy = Pick<ModelPolicy, 'providers' | 'strict' | 'memory_mb_max'>;

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
  /** @param lost it ended by itself */
  readonly closed: (runner: BatchRunner, lost: boolean) => void;
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
  return new RunnerCopies(o, d);
}

class RunnerCopies implements Copies {
  readonly #o: { name: string; cwd: string };
  readonly #d: CopiesDependencies;
  readonly #stopping = new AbortController();
  /** Processes that are being ended and belong to nobody any more. */
  readonly #ending = new Set<Promise<void>>();
  #copies: readonly Copy[] = [];
  #crashes: readonly number[] = [];
  #settling: Promise<void> | undefined;
  #again = false;

  constructor(o: { name: string; cwd: string }, d: CopiesDependencies) {
    this.#o = o;
    this.#d = d;
  }

  get open(): number {
    return this.#copies.filter(({ runner }) => runner !== undefined).length;
  }

  async start(signal: AbortSignal): Promise<void> {
    const both = AbortSignal.any([signal, this.#stopping.signal]);
    if (await this.#startOne(this.#d.wanted().policy, both)) this.follow();
  }

  follow(): void {
    if (this.#stopped || this.#copies.length === 0) return;
    this.#again = true;
    this.#settling ??= this.#settle().catch((reason: unknown) =>
      this.#d.logger.error({ err: reason }, 'copies are not as they are wanted'),
    );
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    const all = this.#copies;
    this.#copies = [];
    await Promise.all([...all.map(({ process }) => process.stop()), ...this.#ending]);
    await this.#settling;
  }

  get #stopped(): boolean {
    return this.#stopping.signal.aborted;
  }

  #create(policy: RunnerPolicy): Copy {
    const taken = new Set(this.#copies.map(({ name }) => name));
    const names = Array.from({ length: taken.size + 1 }, (_, at) => this.#o.name + (at === 0 ? '' : `-${at + 1}`));
    const name = names.find((one) => !taken.has(one)) ?? this.#o.name;
    const { logger, clock, random, childMetrics, linkMetrics } = this.#d;
    const events = {
      onUp: () => this.#up(copy),
      onDown: (recycled: boolean) => this.#down(copy, recycled),
      onGiveUp: () => (copy.proven ? this.#d.failed(crashedTooOften()) : this.#lose(copy, crashedTooOften())),
    };
    const { providers, strict, memory_mb_max } = policy;
    const copy: Copy = {
      name,
      kind: kindOf(policy),
      process: createRunnerProcess(
        { name, cwd: this.#o.cwd, providers, strict, memoryBytesMax: memory_mb_max * 2 ** 20 },
        { logger, clock, random, childMetrics, linkMetrics, events },
      ),
      runner: undefined,
      proven: false,
      leaving: false,
    };
    return copy;
  }

  /** A crash meanwhile is the supervisor's business: it starts the runner again, or gives up. */
  async #up(copy: Copy): Promise<void> {
    try {
      const runner = tracked(await this.#d.bringUp(copy.process));
      if (copy.leaving || this.#stopped) return;
      copy.runner = runner;
      copy.proven = true;
      this.#d.opened(runner, copy.process);
    } catch (reason) {
      if (BrinkError.from(reason).code === 'E_MODEL_CRASH') throw reason;
      this.#lose(copy, reason);
    }
  }

  /** @param recycled it did nothing wrong */
  #down(copy: Copy, recycled: boolean): void {
    this.#close(copy, !recycled && !copy.leaving);
    if (recycled || !copy.proven || copy.leaving || this.#stopped) return;
    const now = this.#d.clock.monotonic();
    this.#crashes = [...this.#crashes.filter((at) => at > now - CRASHES_MS), now];
    if (this.#crashes.length >= CRASHES_MAX) this.#d.failed(crashedTooOften());
  }

  #close(copy: Copy, lost: boolean): Tracked | undefined {
    const { runner } = copy;
    copy.runner = undefined;
    if (runner !== undefined) this.#d.closed(runner, lost);
    return runner;
  }

  /** It will not come, or not come back. */
  #lose(copy: Copy, reason: unknown): void {
    if (copy.leaving || this.#stopped) return;
    this.#leave(copy);
    this.#close(copy, true);
    // The child would be started again otherwise.
    const end = copy.process
      .stop()
      .catch((problem: unknown) => this.#d.logger.error({ err: problem }, 'runner did not stop'))
      .finally(() => this.#ending.delete(end));
    this.#ending.add(end);
    if (this.#copies.length === 0) this.#d.failed(reason);
    else this.#d.trouble(BrinkError.from(reason));
  }

  #leave(copy: Copy): void {
    copy.leaving = true;
    this.#copies = this.#copies.filter((one) => one !== copy);
  }

  /** @returns whether it takes batches */
  async #startOne(policy: RunnerPolicy, signal: AbortSignal): Promise<boolean> {
    const copy = this.#create(policy);
    this.#copies = [...this.#copies, copy];
    await copy.process.start(signal).catch((reason: unknown) => this.#lose(copy, reason));
    return copy.runner !== undefined;
  }

  /** Takes no more batches, answers those that it has, and ends: nothing is lost. */
  async #end(copy: Copy): Promise<void> {
    this.#leave(copy);
    await this.#close(copy, false)?.idle();
    await copy.process.stop();
  }

  async #settle(): Promise<void> {
    while (this.#again) {
      this.#again = false;
      let step = true;
      while (step && !this.#stopped) step = await this.#step();
    }
    this.#settling = undefined;
  }

  /** One towards what is wanted: first one more, then one less. @returns whether there may be another one */
  async #step(): Promise<boolean> {
    const { count, policy } = this.#d.wanted();
    const isOther = ({ kind }: Copy) => kind !== kindOf(policy);
    const same = this.#copies.filter((copy) => !isOther(copy));
    if (same.length < count && !(await this.#startOne(policy, this.#stopping.signal))) return false;
    const surplus = this.#copies.find(isOther) ?? (same.length > count ? same.at(-1) : undefined);
    if (surplus !== undefined) {
      await this.#end(surplus);
      return true;
    }
    if (same.length < count) return true;
    this.#d.settled();
    return false;
  }
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
