import { BrinkError } from '@brink/protocol';
import type { Clock, Timer } from '@brink/runtime';
import type { ModelMetrics } from '../metrics.ts';
import type { Job } from './job.ts';
import { createJobQueue, type JobQueue } from './queue.ts';
import { type LaneStats, spend } from './stats.ts';

/** The bounded waiting room of one model version. What cannot wait or need not be computed is answered here. */
export interface Admission extends Pick<JobQueue, 'length' | 'rows' | 'lowestRank'> {
  /** What runs next; what is late before it is answered. */
  readonly first: Job | undefined;
  /** @returns whether it waits now */
  add(job: Job): boolean;
  /** Puts back what was taken and not computed, before what came later; the limit was kept when it came. */
  addAgain(jobs: readonly Job[]): void;
  /** What goes into the next run. */
  take(rowsMax: number): Job[];
  refuse(job: Job, error: BrinkError, attempt: boolean): void;
  /** Answers everything that waits, and from now on everything that comes. */
  close(error: BrinkError): void;
}

interface AdmissionOptions {
  /** For messages. */
  readonly name: string;
  readonly queueMax: () => number;
  /** When so many rows will have been computed. */
  readonly retryAfterMs: (rows: number) => number;
}

interface AdmissionDependencies {
  readonly clock: Clock;
  readonly metrics: ModelMetrics;
  readonly stats: LaneStats;
}

/** So often it is looked for what expired or was given up, while no runner takes anything. */
const LOOK_MS = 100;

export function createAdmission(o: AdmissionOptions, d: AdmissionDependencies): Admission {
  const { clock, metrics } = d;
  const queue = createJobQueue();
  const refuse = createRefuse(d);
  let closed: BrinkError | undefined;
  let looking: Timer | undefined;
  let shown = 0;

  const isLate = (job: Job) => job.deadlineAt <= clock.monotonic() || job.cancelled();

  function answerLate(jobs: readonly Job[]): void {
    for (const job of jobs) refuse(job, lateError(job, clock.monotonic(), o.name), false);
  }

  /** Nobody waits longer for an answer because a runner hangs or is being started again. */
  function look(): void {
    looking = undefined;
    answerLate(queue.takeWhere(isLate));
    counted();
  }

  /** By differences: a version that is loaded again has two queues for a moment, and one gauge. */
  function show(): void {
    if (queue.length !== shown) metrics.waiting.inc(queue.length - shown);
    shown = queue.length;
  }

  function counted(): void {
    show();
    if (queue.length > 0) looking ??= clock.setTimeout(look, LOOK_MS);
  }

  /** @returns whether there is room for it; if not, it was answered */
  function makeRoom(job: Job): boolean {
    const most = o.queueMax();
    if (queue.length >= most) answerLate(queue.takeExpired(clock.monotonic()));
    // More than one where the limit was lowered.
    while (queue.length >= most) {
      const shed = queue.victim(job);
      queue.remove(shed);
      refuse(shed, busyError(o.name, most, o.retryAfterMs(queue.rows)), false);
      if (shed === job) return false;
    }
    return true;
  }

  return {
    get length() {
      return queue.length;
    },
    get rows() {
      return queue.rows;
    },
    get lowestRank() {
      return queue.lowestRank;
    },
    get first() {
      for (let { first } = queue; first !== undefined; { first } = queue) {
        if (!isLate(first)) return first;
        queue.remove(first);
        show();
        answerLate([first]);
      }
      return undefined;
    },
    add(job) {
      if (closed !== undefined) refuse(job, closed, false);
      else if (makeRoom(job)) {
        queue.add(job);
        counted();
        return true;
      }
      return false;
    },
    addAgain(jobs) {
      for (const job of jobs.toReversed()) {
        if (closed === undefined) queue.addFirst(job);
        else refuse(job, closed, false);
      }
      counted();
    },
    take(rowsMax) {
      const { batch, late } = queue.take(rowsMax, isLate);
      show();
      answerLate(late);
      return batch;
    },
    refuse,
    close(error) {
      closed = error;
      if (looking !== undefined) clock.clearTimeout(looking);
      for (const job of queue.takeWhere(() => true)) refuse(job, error, false);
      show();
    },
  };
}

function createRefuse({ clock, metrics, stats }: AdmissionDependencies): Admission['refuse'] {
  return (job, error, attempt) => {
    metrics.answered(error.code);
    spend(stats.fail, clock.monotonic() - job.arrivedAt);
    job.failed(error, attempt);
  };
}

function lateError(job: Job, now: number, name: string): BrinkError {
  if (job.deadlineAt > now) return new BrinkError('E_CANCELLED', 'the caller gave up');
  const waited = Math.round(now - job.arrivedAt);
  return new BrinkError('E_EXPIRED', `its deadline passed after ${waited} ms in the queue of ${name}`);
}

function busyError(name: string, most: number, retryAfterMs: number): BrinkError {
  const detail = `${most} requests wait for ${name}; no more may (queue_max). It should go in ${retryAfterMs} ms`;
  return new BrinkError('E_BUSY', detail, { retryAfterMs });
}
