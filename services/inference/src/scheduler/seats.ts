import type { ModelMetrics, RunnerFacts } from '../metrics.ts';
import type { BatchRunner } from './batch.ts';

/** One runner of a lane, and what it has to do. */
export interface Seat {
  readonly runner: BatchRunner;
  readonly batchMax: number;
  inFlight: number;
  /** ms on the monotonic clock: when the oldest run in flight began, or the last one ended. */
  since: number;
  /** The highest of what is in flight. */
  rank: number;
}

/** The runners that take batches now: the copies of one model version. */
export interface Seats {
  readonly length: number;
  /** The largest useful batch, in rows. */
  readonly batchMax: number;
  /** A runner that has nothing to do. */
  readonly free: Seat | undefined;
  /** One at work that has room for a second batch. The one that began first, as it will probably end first. */
  readonly ahead: Seat | undefined;
  /** Runners at work that began after `sinceMs`. */
  busy(sinceMs: number): number;
  /** The highest rank that they work on; -Infinity where none works. */
  busyRank(sinceMs: number): number;
  open(runner: BatchRunner, batchMax: number, facts: RunnerFacts): void;
  /** @param lost it ended by itself */
  leave(runner: BatchRunner, lost: boolean): void;
  close(): void;
}

/** In flight per runner: one that runs, one in the socket, so that the runner never waits for us. */
const AHEAD_MAX = 2;

export function createSeats(metrics: ModelMetrics): Seats {
  let seats: (Seat & { leave: (lost: boolean) => void })[] = [];

  function leave(runner: BatchRunner, lost: boolean): void {
    for (const seat of seats) if (seat.runner === runner) seat.leave(lost);
    seats = seats.filter((seat) => seat.runner !== runner);
  }

  const atWork = (sinceMs: number) => seats.filter((seat) => seat.inFlight > 0 && seat.since > sinceMs);

  return {
    get length() {
      return seats.length;
    },
    get batchMax() {
      return seats.reduce((most, seat) => Math.max(most, seat.batchMax), 1);
    },
    get free() {
      return seats.find((seat) => seat.inFlight === 0);
    },
    get ahead() {
      let first: Seat | undefined;
      for (const seat of seats) {
        if (seat.inFlight > 0 && seat.inFlight < AHEAD_MAX && (first === undefined || seat.since < first.since))
          first = seat;
      }
      return first;
    },
    busy: (sinceMs) => atWork(sinceMs).length,
    busyRank: (sinceMs) => Math.max(...atWork(sinceMs).map((seat) => seat.rank)),
    open(runner, batchMax, facts) {
      leave(runner, false);
      seats.push({ runner, batchMax, inFlight: 0, since: 0, rank: 0, leave: metrics.seat(facts) });
    },
    leave,
    close() {
      for (const seat of seats) seat.leave(false);
      seats = [];
    },
  };
}
