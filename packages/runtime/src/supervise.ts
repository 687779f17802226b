import { type ChildProcess, spawn } from 'node:child_process';
import type { Socket } from 'node:net';
import { BrinkError } from '@brink/protocol';
import type { Clock, Timer } from './clock.ts';
import { onlyCompileCache } from './compiled.ts';
import { type ChildMetrics, type ExitReason, reasonOf } from './exits.ts';
import { forwardLines } from './lines.ts';
import type { LinkHandlers, LinkOptions, LinkPeer } from './link/messages.ts';
import type { LinkMetrics } from './link/metrics.ts';
import { LINK_FD } from './link/parent.ts';
import { createLink } from './link/peer.ts';
import { readingIntoOneBuffer } from './link/reading.ts';
import type { Logger } from './logger.ts';
import { limitMemory, type MemoryWatch } from './memory.ts';
import type { Part } from './part.ts';
import { createRestarts, type RestartPolicy } from './restarts.ts';

/** How long the last lines of a child that has ended are waited for: they may say why. */
const LAST_LINES_MS = 200;

export interface ChildOptions {
  /** for logs and metrics */
  name: string;
  /** path of the module that the child runs, .ts or .js */
  module: string;
  args?: string[];
  /** The child's whole environment but PATH and NODE_COMPILE_CACHE: it inherits nothing else. */
  env?: Record<string, string>;
  cwd?: string;
  execArgv?: string[];
  /** between asking it to stop and SIGKILL */
  stopMs: number;
  restart: RestartPolicy | 'never';
  /** given: a framed link over fd 3 (`serveParent` is its other end) */
  link?: LinkOptions;
  /**
   * What it may take beyond what it holds after the hello: allocations fail, and a child that has more all the same is ended with
   * the reason 'memory'. Linux only (`limitMemory`); elsewhere a line in the log says so. Default no limit.
   */
  memoryBytesMax?: number;
}

export interface ChildExit {
  code: number | null;
  signal: NodeJS.Signals | null;
  reason: ExitReason;
  /** `stop` was called */
  expected: boolean;
  restarts: number;
}

export interface ChildDependencies {
  logger: Logger;
  clock: Clock;
  random: () => number;
  handlers?: LinkHandlers;
  metrics?: ChildMetrics;
  linkMetrics?: LinkMetrics;
  /** After the hello, before the child counts as up. If it rejects, the child is ended and counts as not up. */
  onUp?: (peer: LinkPeer) => void | Promise<void>;
  /** Requests that were in flight have failed with E_LINK_CLOSED before. */
  onExit?: (exit: ChildExit) => void;
  onGiveUp?: () => void;
}

export interface Child extends Part {
  readonly pid: number | undefined;
  /** The link, from the hello on. */
  readonly peer: LinkPeer | undefined;
  readonly restarts: number;
  /** What it holds of its own, in bytes; undefined where it has no limit, or none can be set. */
  readonly memoryBytes: number | undefined;
  /**
   * SIGKILL now. 'deadline' is counted as killed-deadline; the restart policy decides what comes next. 'recycled': it did nothing
   * wrong, so another one is started at once, and the budget of restarts stays as it is.
   */
  kill(reason: string): void;
}

/**
 * One supervised child process: restarts with full jitter within a budget, SIGKILL at a deadline, and never a child left behind.
 * `start` resolves when the child is up for the first time (after hello and `onUp`; without a link when it was spawned) and rejects
 * with E_CRASHED when it was given up before, E_CANCELLED when the signal aborted.
 */
export function createChild(o: ChildOptions, d: ChildDependencies): Child {
  return new SupervisedChild(o, d);
}

/** Children that run now. A parent that ends in an orderly way takes them along; one that does not closes their fd 3. */
const running = new Set<ChildProcess>();
let watching = false;

function watchExit(): void {
  if (watching) return;
  watching = true;
  process.on('exit', () => {
    for (const child of running) child.kill('SIGKILL');
  });
}

/** One run of the child. */
interface Run {
  process: ChildProcess;
  startedAt: number;
  tail: () => string;
  /** what `kill` was told */
  killed: string | undefined;
  spawnError: Error | undefined;
  memory: MemoryWatch | undefined;
  ended: PromiseWithResolvers<void>;
}

class SupervisedChild implements Child {
  readonly #o: ChildOptions;
  readonly #d: ChildDependencies;
  readonly #logger: Logger;
  readonly #restarts: ReturnType<typeof createRestarts>;
  #run: Run | undefined;
  #peer: LinkPeer | undefined;
  #retry: Timer | undefined;
  #restartCount = 0;
  #stopping = false;
  #first = Promise.withResolvers<void>();

  constructor(o: ChildOptions, d: ChildDependencies) {
    this.#o = o;
    this.#d = d;
    this.#logger = d.logger.child({ child: o.name });
    this.#restarts = createRestarts(o.restart, d);
  }

  get pid(): number | undefined {
    return this.#run?.process.pid;
  }

  get peer(): LinkPeer | undefined {
    return this.#peer;
  }

  get restarts(): number {
    return this.#restartCount;
  }

  get memoryBytes(): number | undefined {
    return this.#run?.memory?.bytes;
  }

  kill(reason: string): void {
    if (this.#run !== undefined) this.#kill(this.#run, reason);
  }

  async start(signal: AbortSignal): Promise<void> {
    this.#stopping = false;
    const first = Promise.withResolvers<void>();
    this.#first = first;
    const onAbort = () => first.reject(new BrinkError('E_CANCELLED', `${this.#o.name}: stopped while starting`));
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
    else this.#launch();
    await first.promise.finally(() => signal.removeEventListener('abort', onAbort));
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    if (this.#retry !== undefined) this.#d.clock.clearTimeout(this.#retry);
    this.#retry = undefined;
    this.#first.promise.catch(() => {});
    this.#first.reject(new BrinkError('E_CANCELLED', `${this.#o.name} was stopped`));
    const run = this.#run;
    if (run === undefined) return;
    this.#peer?.close();
    run.process.kill('SIGTERM');
    const limit = this.#d.clock.setTimeout(() => {
      this.#logger.warn({ stop_ms: this.#o.stopMs }, 'child did not stop in time');
      this.#kill(run, 'stop');
    }, this.#o.stopMs);
    await run.ended.promise;
    this.#d.clock.clearTimeout(limit);
  }

  #kill(run: Run, reason: string): void {
    run.killed ??= reason;
    run.process.kill('SIGKILL');
  }

  #launch(): void {
    const { clock } = this.#d;
    const child = this.#spawn();
    const run: Run = {
      process: child,
      startedAt: clock.monotonic(),
      tail: forwardLines(child, this.#logger, clock),
      killed: undefined,
      spawnError: undefined,
      memory: undefined,
      ended: Promise.withResolvers<void>(),
    };
    this.#run = run;
    running.add(child);
    watchExit();
    child.on('error', (error) => {
      run.spawnError = error;
      // 'exit' does not follow when the process could not be spawned.
      if (child.pid === undefined) this.#ended(run, null, null);
    });
    child.once('exit', (code, signal) => this.#exited(run, code, signal));
    this.#logger.debug({ pid: child.pid }, 'child started');
    const fd = readingIntoOneBuffer(child.stdio[LINK_FD] as Socket);
    fd.on('error', () => {});
    if (child.pid !== undefined) void this.#up(run, fd);
  }

  #spawn(): ChildProcess {
    const { execArgv = [], module, args = [], env, cwd } = this.#o;
    // biome-ignore lint/style/noProcessEnv: what a child inherits: where what it spawns is found
    const { PATH } = process.env;
    return spawn(process.execPath, [...execArgv, module, ...args], {
      stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
      env: { ...(PATH === undefined ? {} : { PATH }), ...onlyCompileCache(), ...env },
      ...(cwd === undefined ? {} : { cwd }),
    });
  }

  async #up(run: Run, fd: Socket): Promise<void> {
    try {
      if (this.#o.link === undefined) {
        fd.resume();
      } else {
        const peer = await this.#greet(run, fd, this.#o.link);
        await this.#limit(run);
        await this.#d.onUp?.(peer);
      }
      if (this.#run === run) this.#first.resolve();
    } catch (error) {
      if (this.#run !== run || this.#stopping) return;
      // The end of the link comes before the end of the process: that one names the reason.
      if (BrinkError.from(error).code === 'E_LINK_CLOSED') {
        this.#lost(run);
        return;
      }
      this.#logger.warn({ err: error }, 'child did not come up');
      this.#kill(run, 'not-up');
    }
  }

  /** After the hello: what it takes to be there at all is not counted. */
  async #limit(run: Run): Promise<void> {
    const { memoryBytesMax } = this.#o;
    const { pid } = run.process;
    if (memoryBytesMax === undefined || pid === undefined) return;
    const memory = await limitMemory(pid, memoryBytesMax, {
      clock: this.#d.clock,
      exceeded: (bytes) => {
        this.#logger.error({ bytes, bytes_max: memoryBytesMax }, 'child holds more memory than it may');
        this.#kill(run, 'memory');
      },
      unlimited: (reason) => {
        if (this.#restartCount === 0) this.#logger.warn({ reason }, 'memory of the child is not fully limited');
      },
    });
    if (this.#run === run) run.memory = memory;
    else memory.stop();
  }

  async #greet(run: Run, fd: Socket, options: LinkOptions): Promise<LinkPeer> {
    const { handlers = {}, clock, linkMetrics } = this.#d;
    const peer = await createLink(fd, options, {
      handlers,
      clock,
      ...(linkMetrics === undefined ? {} : { metrics: linkMetrics }),
      onReady: (ready) => {
        this.#peer = ready;
      },
      onHandlerError: (error, kind) => this.#logger.error({ err: error, kind }, 'handler failed'),
    });
    void peer.closed.then((error) => {
      if (error.code !== 'E_LINK_CLOSED') this.#logger.error({ code: error.code, detail: error.detail }, 'link broke');
      this.#lost(run);
    });
    return peer;
  }

  /** A child whose link is gone is of no use: it should end by itself, and is helped after stopMs. */
  #lost(run: Run): void {
    if (this.#run !== run || this.#stopping) return;
    const timer = this.#d.clock.setTimeout(() => run.process.kill('SIGKILL'), this.#o.stopMs);
    run.process.once('exit', () => this.#d.clock.clearTimeout(timer));
  }

  /** 'close' would wait for the last line, but also for whoever inherited the pipe. */
  #exited(run: Run, code: number | null, signal: NodeJS.Signals | null): void {
    const timer = this.#d.clock.setTimeout(() => this.#ended(run, code, signal), LAST_LINES_MS);
    run.process.once('close', () => {
      this.#d.clock.clearTimeout(timer);
      this.#ended(run, code, signal);
    });
  }

  #ended(run: Run, code: number | null, signal: NodeJS.Signals | null): void {
    if (!running.delete(run.process)) return;
    this.#peer?.close();
    this.#peer = undefined;
    this.#run = undefined;
    run.memory?.stop();
    const { killed, spawnError, startedAt } = run;
    const tail = run.tail();
    const expected = this.#stopping;
    const reason = reasonOf({ code, signal, killed, stopping: expected, tail, spawnError });
    this.#d.metrics?.exits.inc({ child: this.#o.name, reason });
    const exit: ChildExit = { code, signal, reason, expected, restarts: this.#restartCount };
    const livedMs = this.#d.clock.monotonic() - startedAt;
    if (!expected) {
      this.#logger.warn({ code, signal, reason, lived_ms: Math.round(livedMs), stderr: tail }, 'child ended');
    }
    run.ended.resolve();
    this.#d.onExit?.(exit);
    if (!expected) this.#again(exit, livedMs, spawnError);
  }

  #again(exit: ChildExit, livedMs: number, cause: Error | undefined): void {
    const waitMs = exit.reason === 'recycled' ? 0 : this.#restarts.next(livedMs);
    if (waitMs === undefined) {
      this.#giveUp(exit, cause);
      return;
    }
    this.#retry = this.#d.clock.setTimeout(() => {
      this.#retry = undefined;
      this.#restartCount += 1;
      this.#d.metrics?.restarts.inc({ child: this.#o.name });
      this.#launch();
    }, waitMs);
  }

  #giveUp(exit: ChildExit, cause: Error | undefined): void {
    const { name } = this.#o;
    if (this.#o.restart !== 'never') {
      this.#d.metrics?.exits.inc({ child: name, reason: 'gave-up' });
      this.#logger.error({ restarts: this.#restartCount }, 'child given up');
    }
    const how = exit.signal ?? `exit ${exit.code}`;
    const detail = `${name} ended (${exit.reason}, ${how}) after ${this.#restartCount} restarts`;
    this.#first.promise.catch(() => {});
    this.#first.reject(new BrinkError('E_CRASHED', detail, { cause }));
    this.#d.onGiveUp?.();
  }
}
