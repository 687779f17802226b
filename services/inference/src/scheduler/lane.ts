import type { BrinkError, ModelPolicy } from '@brink/protocol';
import type { Clock, Timer } from '@brink/runtime';
import type { ModelMetrics } from '../metrics.ts';
import { type Admission, createAdmission } from './admission.ts';
import { type FinishedRun, type Head, type Job, joinKey, type Session } from './job.ts';
import { createLaneStats, type LaneStats, spend, statsOfBatch } from './stats.ts';

/** What computes batches for a lane: one runner process. Runs one after the other, in the order in which they were given. */
export interface BatchRunner {
  /** Never rejects. */
  run(request: RunRequest, runMsMax: number): Promise<RunEnd>;
}

export interface RunRequest {
  readonly session: Session;
  /** Rows in all; 0: `heads` are whole tensors. */
  readonly batch: number;
  /** Of one row, without the batch dimension. */
  readonly heads: readonly Head[];
  /** Job by job, one per head; each holds all rows of its job. */
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
}

/** What is shown of a runner. */
export interface RunnerFacts {
  /** for its memory */
  readonly pid?: number | undefined;
  /** What really computes there. */
  readonly provider?: string;
}

/** What waits for one model version, and its runners. */
export interface Lane {
  /** Jobs that wait. */
  readonly waiting: number;
  /** Batches that runners have. */
  readonly inFlight: number;
  readonly stats: LaneStats;
  /** Answers with `failed` at once where it cannot wait. */
  add(job: Job): void;
  /** One more runner takes batches. @param batchMax the largest useful batch, in rows */
  open(runner: BatchRunner, batchMax: number, facts?: RunnerFacts): void;
  /** This runner is gone; what waits, waits on. */
  pause(runner: BatchRunner): void;
  /** No runner will come: what waits and what comes is answered with this. */
  close(error: BrinkError): void;
  setPolicy(policy: LanePolicy): void;
}

/** What the scheduler sees of a lane. */
export interface ScheduledLane extends Lane {
  readonly first: Job | undefined;
  /** Runners at work that began after `sinceMs`. */
  busy(sinceMs: number): number;
  /** Whether it could run now if a slot is there. Sets a timer where it only waits for a fuller batch. */
  readonly wantsRun: boolean;
  /** Whether a second batch should go out while one is running: only a whole one, a partial one could still fill. */
  readonly wantsAhead: boolean;
  /** Sends the next batch to a runner. */
  dispatch(): void;
}

/** In flight per runner: one that runs, one in the socket, so that the runner never waits for us. */
const AHEAD_MAX = 2;

interface Seat {
  readonly runner: BatchRunner;
  readonly batchMax: number;
  inFlight: number;
  /** ms on the monotonic clock: when the oldest run in flight began, or the last one ended. */
  since: number;
}

export function createLane(
  o: LaneOptions,
  d: { clock: Clock; metrics: ModelMetrics; policy: LanePolicy; changed: () => void; finished: () => void },
): ScheduledLane {
  const { clock, metrics } = d;
  const stats = createLaneStats();
  const admission = createAdmission({ name: o.name, queueMax: () => policy.queue_max }, d);
  let policy = d.policy;
  let seats: Seat[] = [];
  let inFlight = 0;
  let waitTimer: Timer | undefined;

  const batchMax = () => seats.reduce((most, seat) => Math.max(most, seat.batchMax), 1);
  const freeSeat = () => seats.find((seat) => seat.inFlight === 0);
  const aheadSeat = () => seats.find((seat) => seat.inFlight < AHEAD_MAX);

  function isWaitingForMore(): boolean {
    const { first } = admission;
    if (policy.batch_wait_ms === 0 || first === undefined || joinKey(first) === undefined) return false;
    const left = first.arrivedAt + policy.batch_wait_ms - clock.monotonic();
    if (left <= 0 || admission.length >= batchMax()) return false;
    waitTimer ??= clock.setTimeout(() => {
      waitTimer = undefined;
      d.changed();
    }, left);
    return true;
  }

  async function compute(seat: Seat, batch: Job[]): Promise<void> {
    const sentAt = clock.monotonic();
    if (seat.inFlight === 0) seat.since = sentAt;
    seat.inFlight += 1;
    inFlight += 1;
    const end = await seat.runner.run(requestOf(batch), policy.run_ms_max);
    const startedAt = Math.max(sentAt, seat.since);
    seat.inFlight -= 1;
    inFlight -= 1;
    seat.since = clock.monotonic();
    if (end.kind === 'failed') settleFailed(admission, batch, end);
    // The runner gets its next batch before this one is decoded.
    d.finished();
    if (end.kind === 'ran') settleRan({ metrics, stats, clock }, batch, { ...end.run, startedAt });
  }

  return {
    stats,
    get waiting() {
      return admission.length;
    },
    get inFlight() {
      return inFlight;
    },
    get first() {
      return admission.first;
    },
    busy: (sinceMs) => seats.filter((seat) => seat.inFlight > 0 && seat.since > sinceMs).length,
    add(job) {
      if (admission.add(job)) d.changed();
    },
    open(runner, most) {
      seats.push({ runner, batchMax: most, inFlight: 0, since: 0 });
      d.changed();
    },
    pause(runner) {
      seats = seats.filter((seat) => seat.runner !== runner);
      d.changed();
    },
    close(error) {
      seats = [];
      if (waitTimer !== undefined) clock.clearTimeout(waitTimer);
      admission.close(error);
    },
    setPolicy(next) {
      policy = next;
      d.changed();
    },
    get wantsRun() {
      if (freeSeat() === undefined) return false;
      admission.dropLate();
      return admission.length > 0 && !isWaitingForMore();
    },
    get wantsAhead() {
      return freeSeat() === undefined && aheadSeat() !== undefined && admission.length >= batchMax();
    },
    dispatch() {
      admission.dropLate();
      const seat = freeSeat() ?? aheadSeat();
      const batch = seat === undefined ? [] : admission.takeBatch(seat.batchMax);
      if (seat !== undefined && batch.length > 0) void compute(seat, batch);
    },
  };
}

const rowsOf = (batch: readonly Job[]) => batch.reduce((rows, job) => rows + job.rows, 0);

function requestOf(batch: readonly Job[]): RunRequest {
  const { session, heads } = batch[0] as Job;
  return { session, batch: rowsOf(batch), heads, payloads: batch.flatMap((job) => job.payloads) };
}

function settleRan(
  d: { metrics: ModelMetrics; stats: LaneStats; clock: Clock },
  batch: readonly Job[],
  run: FinishedRun,
): void {
  const { metrics, stats } = d;
  const rows = Math.max(1, rowsOf(batch));
  metrics.batch.observe(rows);
  metrics.run.observe(run.runMs / 1000);
  metrics.queue.observe(batch.reduce((most, job) => Math.max(most, run.startedAt - job.arrivedAt), 0) / 1000);
  metrics.units.inc(rows);
  stats.inferenceCount += rows;
  stats.executionCount += 1;
  stats.lastInferenceMs = d.clock.now();
  spend(stats.compute_infer, run.runMs, batch.length);
  spend(statsOfBatch(stats, rows).compute_infer, run.runMs);
  let row = 0;
  for (const job of batch) {
    job.done(run, row);
    row += job.rows;
    spend(stats.queue, run.startedAt - job.arrivedAt);
    spend(stats.success, d.clock.monotonic() - job.arrivedAt);
  }
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
