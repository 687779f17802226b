import { BrinkError } from '@brink/protocol';
import type { Clock } from '@brink/runtime';
import type { ModelMetrics } from '../metrics.ts';
import type { Admission } from './admission.ts';
import { type RunEnd, requestOf, rowsOf, settleFailed, settleRan } from './batch.ts';
import { type Job, rankOf } from './job.ts';
import type { Pace } from './pace.ts';
import type { Seat } from './seats.ts';
import type { LaneStats } from './stats.ts';

/** Batches that runners have, from when they are sent until their jobs are answered. */
export interface Flights {
  readonly count: number;
  /** Never rejects. */
  start(seat: Seat, batch: readonly Job[], runMsMax: number): Promise<void>;
}

export function createFlights(d: {
  clock: Clock;
  metrics: ModelMetrics;
  stats: LaneStats;
  admission: Admission;
  pace: Pace;
  finished: () => void;
}): Flights {
  const { clock } = d;
  let count = 0;
  return {
    get count() {
      return count;
    },
    async start(seat, batch, runMsMax) {
      const sentAt = clock.monotonic();
      // The order of a batch is that of the queue.
      const rank = batch[0] === undefined ? 0 : rankOf(batch[0]);
      if (seat.inFlight === 0) seat.since = sentAt;
      seat.rank = seat.inFlight === 0 ? rank : Math.max(seat.rank, rank);
      seat.inFlight += 1;
      count += 1;
      const end = await seat.runner.run(requestOf(batch), runMsMax).catch(unexpected);
      const endedAt = clock.monotonic();
      // One that was sent ahead began when the one before it ended.
      const startedAt = Math.max(sentAt, seat.since);
      seat.inFlight -= 1;
      count -= 1;
      seat.since = endedAt;
      if (end.kind === 'failed') settleFailed(d.admission, batch, end);
      else d.pace.ended(endedAt, rowsOf(batch), batch[0]?.arrivedAt ?? startedAt);
      // The runner gets its next batch before this one is decoded.
      d.finished();
      if (end.kind === 'ran') settleRan(d, batch, { ...end.run, startedAt }, endedAt);
    },
  };
}

/** A runner never rejects. Should it, the units are answered all the same. */
function unexpected(reason: unknown): RunEnd {
  return { kind: 'failed', error: BrinkError.from(reason), fate: 'final' };
}
