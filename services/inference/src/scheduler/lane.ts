import type { BrinkError, ModelPolicy } from '@brink/protocol';
import type { Clock } from '@brink/runtime';
import type { ModelMetrics, RunnerFacts } from '../metrics.ts';
import { createAdmission } from './admission.ts';
import type { BatchRunner } from './batch.ts';
import { createFlights } from './flights.ts';
import { type Job, joinKey, rankOf } from './job.ts';
import { createPace } from './pace.ts';
import { createSeats } from './seats.ts';
import { createLaneStats, type LaneStats } from './stats.ts';
import { createArrivals, createHold } from './waits.ts';

export type { BatchRunner, RunEnd, RunRequest } from './batch.ts';

export type LanePolicy = Pick<ModelPolicy, 'batch_wait_ms' | 'queue_max' | 'run_ms_max'>;

export interface LaneOptions {
  /** For messages: "cifar-net 3". */
  readonly name: string;
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
  /** Answers it without a run, and counts it as every answer. */
  refuse(job: Job, error: BrinkError): void;
  /** One more runner takes batches. @param batchMax the largest useful batch, in rows */
  open(runner: BatchRunner, batchMax: number, facts?: RunnerFacts): void;
  /** This runner is gone; what waits, waits on. @param lost it ended by itself; default true */
  pause(runner: BatchRunner, lost?: boolean): void;
  /** No runner will come: what waits and what comes is answered with this. */
  close(error: BrinkError): void;
  setPolicy(policy: LanePolicy): void;
}

/** What the scheduler sees of a lane. */
export interface ScheduledLane extends Lane {
  /** What would run next. What is late is answered on the way. */
  readonly first: Job | undefined;
  readonly runners: number;
  /** Whether something of this rank or a higher one came of late, and may come again at any moment. */
  hadAtLeast(rank: number): boolean;
  /** Runners at work that began after `sinceMs`. */
  busy(sinceMs: number): number;
  /** The highest rank that they work on; -Infinity where none works. */
  busyRank(sinceMs: number): number;
  /** Whether it could run now if a slot is there. Sets a timer where it only waits for a fuller batch. */
  readonly wantsRun: boolean;
  /** Whether a second batch may go out while one is running: a whole one, since a partial one could still fill. */
  readonly wantsAhead: boolean;
  /** Sends the next batch to a runner. @param ahead to one that is at work, else to one that is not */
  dispatch(ahead: boolean): void;
}

export interface LaneDependencies {
  readonly clock: Clock;
  readonly metrics: ModelMetrics;
  readonly policy: LanePolicy;
  /** Something may want to run now. */
  readonly changed: () => void;
  /** A runner is free. */
  readonly finished: () => void;
}

/** What is said while nothing was measured, and the limits of what is said. */
const RETRY_MS = { unknown: 1000, min: 10, max: 60_000 };

export function createLane(o: LaneOptions, d: LaneDependencies): ScheduledLane {
  const { clock, metrics } = d;
  const stats = createLaneStats();
  const seats = createSeats(metrics);
  const pace = createPace();
  const hold = createHold(clock, d.changed);
  const arrivals = createArrivals(clock);
  const retryAfterMs = (rows: number) => retryMs(seats.length === 0 ? undefined : pace.msFor(rows));
  const admission = createAdmission({ name: o.name, queueMax: () => policy.queue_max, retryAfterMs }, { ...d, stats });
  const flights = createFlights({ clock, metrics, stats, admission, pace, finished: d.finished });
  let policy = d.policy;
  let isClosed = false;

  /** Its batch cannot grow any more. */
  const isWhole = (first: Job) => joinKey(first) === undefined || admission.rows >= seats.batchMax;

  /** A batch may wait to fill, but no longer than its first unit can wait to be computed in time. */
  function isHeld(first: Job): boolean {
    if (policy.batch_wait_ms === 0 || isWhole(first)) return false;
    const inTime = first.deadlineAt - (pace.msFor(seats.batchMax) ?? 0);
    return hold.isOn(Math.min(first.arrivedAt + policy.batch_wait_ms, inTime));
  }

  const users: Omit<Lane, 'waiting' | 'inFlight'> = {
    stats,
    add(job) {
      arrivals.add(job);
      if (admission.add(job)) d.changed();
    },
    refuse: (job, error) => admission.refuse(job, error, false),
    open(runner, batchMax, facts = {}) {
      if (!isClosed) seats.open(runner, batchMax, facts);
      d.changed();
    },
    pause(runner, lost = true) {
      seats.leave(runner, lost);
      d.changed();
    },
    close(error) {
      isClosed = true;
      seats.close();
      hold.stop();
      admission.close(error);
    },
    setPolicy(next) {
      policy = next;
      d.changed();
    },
  };

  return {
    ...users,
    get waiting() {
      return admission.length;
    },
    get inFlight() {
      return flights.count;
    },
    get first() {
      return admission.first;
    },
    get runners() {
      return seats.length;
    },
    hadAtLeast: arrivals.hadAtLeast,
    busy: seats.busy,
    busyRank: seats.busyRank,
    get wantsRun() {
      if (seats.free === undefined) return false;
      const { first } = admission;
      return first !== undefined && !isHeld(first);
    },
    get wantsAhead() {
      if (seats.ahead === undefined) return false;
      const { first } = admission;
      if (first === undefined || first.shadow || !isWhole(first)) return false;
      // It would fill with what is of less weight, and the next one of more would wait for two batches.
      return !arrivals.hadAtLeast((admission.lowestRank ?? rankOf(first)) + 1);
    },
    dispatch(ahead) {
      const seat = ahead ? seats.ahead : seats.free;
      const batch = seat === undefined ? [] : admission.take(seat.batchMax);
      if (seat !== undefined && batch.length > 0) void flights.start(seat, batch, policy.run_ms_max);
    },
  };
}

function retryMs(measured: number | undefined): number {
  return Math.min(RETRY_MS.max, Math.max(RETRY_MS.min, Math.ceil(measured ?? RETRY_MS.unknown)));
}
