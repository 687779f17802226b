import { type ChildProcess, spawn } from 'node:child_process';
import type { Socket } from 'node:net';
import { BrinkError } from '@brink/protocol';
import type { Clock, Timer } from './clock.ts';
import { type ChildMetrics, createChildRecord, type ExitReason, reasonOf } from './exits.ts';
import { forwardLines } from './lines.ts';
import type { LinkHandlers, LinkOptions, LinkPeer } from './link/messages.ts';
import type { LinkMetrics } from './link/metrics.ts';
import { LINK_FD } from './link/parent.ts';
import { createLink } from './link/peer.ts';
import { readingIntoOneBuffer } from './link/reading.ts';
import type { Logger } from './logger.ts';
import type { Part } from './part.ts';
import { fullJitter } from './retry.ts';

export interface RestartPolicy {
  /** so many restarts within `withinMs`; one more and the child is given up */
  max: number;
  withinMs: number;
  baseMs: number;
  capMs: number;
}

export interface ChildOptions {
  /** for logs and metrics */
  name: string;
  /** path of the module that the child runs, .ts or .js */
  module: string;
  args?: string[];
  /** The child's whole environment but PATH: it inherits nothing else. */
  env?: Record<string, string>;
  cwd?: string;
  execArgv?: string[];
  /** between asking it to stop and SIGKILL */
  stopMs: number;
  restart: RestartPolicy | 'never';
  /** given: a framed link over fd 3 (`serveParent` is its other end) */
  link?: LinkOptions;
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
  /** After the hello, before the child counts as up. If it rejects, the child is ended and counts as crashed. */
  onUp?: (peer: LinkPeer) => void | Promise<void>;
  onExit?: (exit: ChildExit) => void;
  onGiveUp?: () => void;
}

export interface Child extends Part {
  readonly pid: number | undefined;
  /** The link, from the hello on. */
  readonly peer: LinkPeer | undefined;
  readonly restarts: number;
  /** SIGKILL now. 'deadline' is counted as killed-deadline; the restart policy decides what comes next. */
  kill(reason: string): void;
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

/**
 * One supervised child process: restarts with full jitter within a budget, SIGKILL at a deadline, and never a child left behind.
 * `start` resolves when the child is up for the first time (after hello and `onUp`; without a link when it was spawned) and rejects
 * with E_CRASHED when it was given up before, E_CANCELLED when the signal aborted.
 */
export function createChild(o: ChildOptions, d: ChildDependencies): Child {
  const logger = d.logger.child({ child: o.name });
  const record = createChildRecord(o.name, d.metrics);
  const policy = o.restart === 'never' ? undefined : o.restart;
  const jitter = () => fullJitter({ baseMs: policy?.baseMs ?? 0, capMs: policy?.capMs ?? 0 }, d.random);
  let waits = jitter();
  let process_: ChildProcess | undefined;
  let peer: LinkPeer | undefined;
  let exited: PromiseWithResolvers<void> | undefined;
  let killed: string | undefined;
  let retry: Timer | undefined;
  let crashes: number[] = [];
  let restarts = 0;
  let stopping = false;
  let first = Promise.withResolvers<void>();

  function launch(): void {
    killed = undefined;
    const startedAt = d.clock.monotonic();
    const child = spawn(process.execPath, [...(o.execArgv ?? []), o.module, ...(o.args ?? [])], {
      stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
      env: { ...(process.env['PATH'] === undefined ? {} : { PATH: process.env['PATH'] }), ...o.env },
      ...(o.cwd === undefined ? {} : { cwd: o.cwd }),
    });
    process_ = child;
    const gone = Promise.withResolvers<void>();
    exited = gone;
    running.add(child);
    watchExit();
    const tail = forwardLines(child, logger, d.clock);
    let spawnError: Error | undefined;
    child.on('error', (error) => {
      spawnError = error;
      // 'exit' does not follow when the process could not be spawned.
      if (child.pid === undefined) ended(null, null);
    });
    child.once('exit', ended);
    logger.debug({ pid: child.pid }, 'child started');
    const fd = readingIntoOneBuffer(child.stdio[LINK_FD] as Socket);
    fd.on('error', () => {});
    if (child.pid !== undefined) void up(child, fd);

    function ended(code: number | null, signal: NodeJS.Signals | null): void {
      if (!running.delete(child)) return;
      peer?.close();
      peer = undefined;
      process_ = undefined;
      const reason = reasonOf({ code, signal, killed, stopping, tail: tail(), spawnError });
      record.exit(reason);
      const exit: ChildExit = { code, signal, reason, expected: stopping, restarts };
      if (!stopping)
        logger.warn(
          { code, signal, reason, lived_ms: Math.round(d.clock.monotonic() - startedAt), tail: tail() },
          'child ended',
        );
      gone.resolve();
      d.onExit?.(exit);
      if (!stopping) again(startedAt, exit, spawnError);
    }
  }

  async function up(child: ChildProcess, fd: Socket): Promise<void> {
    try {
      if (o.link === undefined) {
        fd.resume();
      } else {
        const ready = await createLink(fd, o.link, {
          handlers: d.handlers ?? {},
          clock: d.clock,
          ...(d.linkMetrics === undefined ? {} : { metrics: d.linkMetrics }),
          onReady(link) {
            peer = link;
          },
          onHandlerError: (error, kind) => logger.error({ err: error, kind }, 'handler failed'),
        });
        void ready.closed.then((error) => {
          if (error.code === 'E_LINK_PROTOCOL') logger.error({ detail: error.detail }, 'the link to the child broke');
          lost(child);
        });
        await d.onUp?.(ready);
      }
      if (process_ === child) first.resolve();
    } catch (error) {
      if (process_ !== child || stopping) return;
      // The end of the link comes before the end of the process: that one names the reason.
      if (BrinkError.from(error).code === 'E_LINK_CLOSED') {
        lost(child);
        return;
      }
      logger.warn({ err: error }, 'child did not come up');
      killed ??= 'not-up';
      child.kill('SIGKILL');
    }
  }

  /** A child whose link is gone is of no use: it should end by itself, and is helped. */
  function lost(child: ChildProcess): void {
    if (process_ !== child || stopping) return;
    const timer = d.clock.setTimeout(() => {
      if (process_ === child) child.kill('SIGKILL');
    }, o.stopMs);
    child.once('exit', () => d.clock.clearTimeout(timer));
  }

  function again(startedAt: number, exit: ChildExit, cause: Error | undefined): void {
    const now = d.clock.monotonic();
    if (policy === undefined) {
      giveUp(exit, cause);
      return;
    }
    if (now - startedAt > policy.withinMs) waits = jitter();
    crashes = crashes.filter((at) => now - at < policy.withinMs);
    crashes.push(now);
    if (crashes.length > policy.max) {
      giveUp(exit, cause);
      return;
    }
    const waitMs = waits.next().value;
    retry = d.clock.setTimeout(() => {
      retry = undefined;
      restarts += 1;
      record.restart();
      launch();
    }, waitMs);
  }

  function giveUp(exit: ChildExit, cause: Error | undefined): void {
    if (policy !== undefined) {
      record.exit('gave-up');
      logger.error({ restarts, within_ms: policy.withinMs }, 'child given up');
    }
    const how = exit.signal ?? `exit ${exit.code}`;
    first.reject(
      new BrinkError('E_CRASHED', `${o.name} ended (${exit.reason}, ${how}) after ${restarts} restarts`, { cause }),
    );
    d.onGiveUp?.();
  }

  return {
    get pid() {
      return process_?.pid;
    },
    get peer() {
      return peer;
    },
    get restarts() {
      return restarts;
    },
    kill(reason) {
      if (process_ === undefined) return;
      killed ??= reason;
      process_.kill('SIGKILL');
    },
    async start(signal) {
      stopping = false;
      crashes = [];
      first = Promise.withResolvers<void>();
      first.promise.catch(() => {});
      const onAbort = () => first.reject(new BrinkError('E_CANCELLED', `${o.name}: stopped while starting`));
      if (signal.aborted) onAbort();
      else launch();
      signal.addEventListener('abort', onAbort, { once: true });
      await first.promise.finally(() => signal.removeEventListener('abort', onAbort));
    },
    async stop() {
      stopping = true;
      if (retry !== undefined) d.clock.clearTimeout(retry);
      retry = undefined;
      const child = process_;
      if (child === undefined) return;
      peer?.close();
      child.kill('SIGTERM');
      const limit = d.clock.setTimeout(() => {
        killed ??= 'stop';
        logger.warn({ stop_ms: o.stopMs }, 'child did not stop in time');
        child.kill('SIGKILL');
      }, o.stopMs);
      await exited?.promise;
      d.clock.clearTimeout(limit);
      first.reject(new BrinkError('E_CANCELLED', `${o.name} was stopped`));
    },
  };
}
