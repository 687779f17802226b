import type { BrinkError, ModelPolicy } from '@brink/protocol';
import type { Clock, Timer } from '@brink/runtime';
import type { ModelMetrics } from '../metrics.ts';
import { type Admission, createAdmission } from './admission.ts';
import type { FinishedRun, Head, Job } from './job.ts';
import { isSingle } from './queue.ts';

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
  readonly inFlight: number;
  /** ms on the monotonic clock: when the oldest run in flight began. */
  readonly runningSince: number;
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
  const admission = createAdmission({ name: o.name, queueMax: () => policy.queue_max }, d);
  let policy = d.policy;
  let runner: BatchRunner | undefined;
  let batchMax = 1;
  let inFlight = 0;
  let runningSince = 0;
  let waitTimer: Timer | undefined;

  function isWaitingForMore(): boolean {
    const { first } = admission;
    if (policy.batch_wait_ms === 0 || first === undefined || isSingle(first)) return false;
    const left = first.arrivedAt + policy.batch_wait_ms - clock.monotonic();
    if (left <= 0 || admission.length >= batchMax) return false;
    waitTimer ??= clock.setTimeout(() => {
      waitTimer = undefined;
      d.changed();
    }, left);
    return true;
  }

  async function compute(on: BatchRunner, batch: Job[]): Promise<void> {
    const startedAt = clock.monotonic();
    if (inFlight === 0) runningSince = startedAt;
    inFlight += 1;
    const end = await on.run(requestOf(batch, o.heads), policy.run_ms_max);
    inFlight -= 1;
    runningSince = clock.monotonic();
    if (end.kind === 'failed') settleFailed(admission, batch, end);
    // The runner gets its next batch before this one is decoded.
    d.finished();
    if (end.kind === 'ran') settleRan(metrics, batch, { ...end.run, startedAt });
  }

  return {
    get inFlight() {
      return inFlight;
    },
    get runningSince() {
      return runningSince;
    },
    get first() {
      return admission.first;
    },
    add(job) {
      if (admission.add(job)) d.changed();
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
      if (waitTimer !== undefined) clock.clearTimeout(waitTimer);
      admission.close(error);
    },
    setPolicy(next) {
      policy = next;
      d.changed();
    },
    get wantsRun() {
      if (runner === undefined || inFlight > 0) return false;
      admission.dropLate();
      return admission.length > 0 && !isWaitingForMore();
    },
    get wantsAhead() {
      return runner !== undefined && inFlight > 0 && inFlight < AHEAD_MAX && admission.length >= batchMax;
    },
    dispatch() {
      admission.dropLate();
      const batch = runner === undefined ? [] : admission.takeBatch(batchMax);
      if (runner !== undefined && batch.length > 0) void compute(runner, batch);
    },
  };
}

function requestOf(batch: readonly Job[], heads: readonly Head[]): RunRequest {
  const [first] = batch;
  if (first?.native !== undefined) return { batch: 0, heads: first.native, payloads: first.payloads };
  return { batch: batch.length, heads, payloads: batch.flatMap((job) => job.payloads) };
}

function settleRan(metrics: ModelMetrics, batch: readonly Job[], run: FinishedRun): void {
  metrics.batch.observe(batch.length);
  metrics.run.observe(run.runMs / 1000);
  metrics.queue.observe(batch.reduce((most, job) => Math.max(most, run.startedAt - job.arrivedAt), 0) / 1000);
  metrics.units.inc(batch.length);
  for (const [index, job] of batch.entries()) job.done(run, index);
}

function settleFailed(admission: Admission, batch: readonly Job[], end: Extract<RunEnd, { kind: 'failed' }>): void {
  const { error, fate } = end;
  // One unit that the graph refuses must not take its batch-mates along: each shows by itself what it is.
  const apart = fate === 'final' && batch.length > 1;
  for (const job of batch) {
    if (apart) job.alone = true;
    if (apart || fate === 'again') admission.addAgain(job);
    else admission.refuse(job, error, fate === 'attempt');
  }
}
