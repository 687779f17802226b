import { BrinkError, type ModelPolicy } from '@brink/protocol';
import type { Clock, Timer } from '@brink/runtime';
import type { ModelMetrics } from '../metrics.ts';
import type { FinishedRun, Head, Job } from './job.ts';
import { createJobQueue, isSingle } from './queue.ts';

/** What computes batches for a lane: one runner process. Runs one after the other, in the order in which they were given. */
export interface BatchRunner {
  /** Never rejects. `batch` 0: `heads` are whole tensors for the native graph. */
  run(request: RunRequest, runMsMax: number): Promise<RunEnd>;
}

export interface RunRequest {
  readonly batch: number;
  readonly heads: readonly Head[];
  readonly payloads: readonly Uint8Array[];
}

/**
 * attempt: the runner crashed or was ended while it computed this. again: it crashed before it came to it.
 * final: the runner lives and says that it cannot be computed.
 */
export type RunEnd =
  | { kind: 'ran'; run: Omit<FinishedRun, 'startedAt'> }
  | { kind: 'failed'; error: BrinkError; fate: 'attempt' | 'again' | 'final' };

export type LanePolicy = Pick<ModelPolicy, 'batch_wait_ms' | 'queue_max' | 'run_ms_max'>;

export interface LaneOptions {
  /** For messages: "cifar-net 3". */
  readonly name: string;
  /** Inputs of one unit, without the batch dimension. */
  readonly heads: readonly Head[];
}

/** What waits for one model version, and its runner. */
export interface Lane {
  readonly waiting: number;
  readonly inFlight: number;
  readonly first: Job | undefined;
  /** Answers with `failed` at once where it cannot wait. */
  add(job: Job): void;
  /** @param batchMax the largest useful batch */
  open(runner: BatchRunner, batchMax: number): void;
  /** The runner is gone; what waits, waits on. */
  pause(): void;
  /** No runner will come: what waits and what comes is answered with this. */
  close(error: BrinkError): void;
  setPolicy(policy: LanePolicy): void;
  /** Whether it could run now if a slot is there. Sets a timer where it only waits for a fuller batch. */
  readonly wantsRun: boolean;
  /** Whether a second batch should go out while one is running: only a whole one, a partial one could still fill. */
  readonly wantsAhead: boolean;
  /** Sends the next batch to the runner. */
  dispatch(): void;
}

/** In flight per runner: one that runs, one in the socket, so that the runner never waits for us. */
const AHEAD_MAX = 2;

export function createLane(
  o: LaneOptions,
  d: { clock: Clock; metrics: ModelMetrics; policy: LanePolicy; changed: () => void; finished: () => void },
): Lane {
  const { clock, metrics } = d;
  const queue = createJobQueue();
  let policy = d.policy;
  let runner: BatchRunner | undefined;
  let batchMax = 1;
  let inFlight = 0;
  let closed: BrinkError | undefined;
  let waitTimer: Timer | undefined;

  function refuse(job: Job, error: BrinkError, attempt = false): void {
    metrics.refused(error.code);
    job.failed(error, attempt);
  }

  function dropLate(): void {
    const now = clock.monotonic();
    for (const job of queue.takeWhere((waiting) => waiting.deadlineAt <= now || waiting.cancelled())) {
      const expired = job.deadlineAt <= now;
      const waited = Math.round(now - job.arrivedAt);
      refuse(
        job,
        expired
          ? new BrinkError('E_EXPIRED', `its deadline passed after ${waited} ms in the queue of ${o.name}`)
          : new BrinkError('E_CANCELLED', 'the caller gave up'),
      );
    }
  }

  function makeRoom(job: Job): boolean {
    if (queue.length < policy.queue_max) return true;
    dropLate();
    if (queue.length < policy.queue_max) return true;
    const shed = queue.victim(job) ?? job;
    refuse(shed, new BrinkError('E_BUSY', `${policy.queue_max} units wait for ${o.name}; no more may (queue_max)`));
    return shed !== job;
  }

  function isWaitingForMore(): boolean {
    const first = queue.first;
    if (policy.batch_wait_ms === 0 || first === undefined || isSingle(first) || queue.length >= batchMax) return false;
    const left = first.arrivedAt + policy.batch_wait_ms - clock.monotonic();
    if (left <= 0) return false;
    waitTimer ??= clock.setTimeout(() => {
      waitTimer = undefined;
      d.changed();
    }, left);
    return true;
  }

  async function compute(on: BatchRunner, batch: Job[]): Promise<void> {
    const native = batch[0]?.native;
    const startedAt = clock.monotonic();
    inFlight += 1;
    const end = await on.run(
      {
        batch: native === undefined ? batch.length : 0,
        heads: native ?? o.heads,
        payloads: batch.length === 1 ? (batch[0]?.payloads ?? []) : batch.flatMap((job) => job.payloads),
      },
      policy.run_ms_max,
    );
    inFlight -= 1;
    if (end.kind === 'failed') settleFailed(batch, end.error, end.fate);
    // The runner gets its next batch before this one is decoded.
    d.finished();
    if (end.kind === 'ran') settleRan(batch, { ...end.run, startedAt });
  }

  function settleRan(batch: Job[], run: FinishedRun): void {
    metrics.batch.observe(batch.length);
    metrics.run.observe(run.runMs / 1000);
    metrics.queue.observe(batch.reduce((most, job) => Math.max(most, run.startedAt - job.arrivedAt), 0) / 1000);
    metrics.units.inc(batch.length);
    batch.forEach((job, index) => job.done(run, index));
  }

  function settleFailed(batch: Job[], error: BrinkError, fate: 'attempt' | 'again' | 'final'): void {
    // One unit that the graph refuses must not take its batch-mates along: each shows by itself what it is.
    const apart = fate === 'final' && batch.length > 1;
    for (const job of batch) {
      if (fate === 'attempt' || (fate === 'final' && !apart)) refuse(job, error, fate === 'attempt');
      else if (closed !== undefined) refuse(job, closed);
      else {
        if (apart) job.alone = true;
        queue.add(job);
      }
    }
    metrics.waiting.set(queue.length);
  }

  return {
    get waiting() {
      return queue.length;
    },
    get inFlight() {
      return inFlight;
    },
    get first() {
      return queue.first;
    },
    add(job) {
      if (closed !== undefined) refuse(job, closed);
      else if (makeRoom(job)) {
        queue.add(job);
        metrics.waiting.set(queue.length);
        d.changed();
      }
    },
    open(on, most) {
      runner = on;
      batchMax = most;
      d.changed();
    },
    pause() {
      runner = undefined;
    },
    close(error) {
      runner = undefined;
      closed = error;
      if (waitTimer !== undefined) clock.clearTimeout(waitTimer);
      for (const job of queue.takeWhere(() => true)) refuse(job, error);
      metrics.waiting.set(0);
    },
    setPolicy(next) {
      policy = next;
      d.changed();
    },
    get wantsRun() {
      if (runner === undefined || inFlight > 0) return false;
      dropLate();
      return queue.length > 0 && !isWaitingForMore();
    },
    get wantsAhead() {
      return runner !== undefined && inFlight > 0 && inFlight < AHEAD_MAX && queue.length >= batchMax;
    },
    dispatch() {
      dropLate();
      const batch = queue.takeBatch(batchMax);
      metrics.waiting.set(queue.length);
      if (runner !== undefined && batch.length > 0) void compute(runner, batch);
    },
  };
}
