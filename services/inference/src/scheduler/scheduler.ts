import type { Clock, Timer } from '@brink/runtime';
import type { Metrics, ModelMetrics } from '../metrics.ts';
import { before, type Job } from './job.ts';
import { createLane, type Lane, type LaneOptions, type LanePolicy, type ScheduledLane } from './lane.ts';

export interface Scheduler {
  /** A queue for one model version. Its units run when a slot is free, in the order of all lanes together. */
  addLane(o: LaneOptions, d: { metrics: ModelMetrics; policy: LanePolicy }): Lane;
  removeLane(lane: Lane): void;
}

/** A run that takes longer gives its slot back: nobody waits for a model that hangs until run_ms_max ends it. */
const SLOT_MS_MAX = 500;

/**
 * One admission for the machine: at most `runSlots` runners work at once over all models, picked by priority, then deadline,
 * then arrival. Work-conserving: when a run ends, what waits goes out at once, up to the largest useful batch.
 */
export function createScheduler(o: { runSlots: number }, d: { clock: Clock; metrics: Metrics }): Scheduler {
  const lanes = new Set<ScheduledLane>();
  const { clock } = d;
  let planned = false;
  let overrun: Timer | undefined;
  d.metrics.slots.set(o.runSlots);

  /** After the current turn: what arrived in one read of the socket goes into one batch. */
  function plan(): void {
    if (planned) return;
    planned = true;
    queueMicrotask(() => {
      planned = false;
      pump();
    });
  }

  function pump(): void {
    for (let lane = next(); lane !== undefined; lane = next()) lane.dispatch();
    d.metrics.busy.set(busy(Number.NEGATIVE_INFINITY));
  }

  /** Runners at work, but those that have been for so long already. */
  function busy(sinceMs: number): number {
    let count = 0;
    for (const lane of lanes) count += lane.busy(sinceMs);
    return count;
  }

  /** A lane that must wait for a slot keeps those behind it from sending batches ahead, or it would wait for those too. */
  function next(): ScheduledLane | undefined {
    const found = inOrder(lanes).find((lane) => lane.wantsAhead || lane.wantsRun);
    if (found === undefined || found.wantsAhead || busy(clock.monotonic() - SLOT_MS_MAX) < o.runSlots) return found;
    if (overrun === undefined) {
      overrun = clock.setTimeout(() => {
        overrun = undefined;
        pump();
      }, SLOT_MS_MAX);
    }
    return undefined;
  }

  return {
    addLane(options, { metrics, policy }) {
      const lane = createLane(options, { clock, metrics, policy, changed: plan, finished: pump });
      lanes.add(lane);
      return lane;
    },
    removeLane(lane) {
      lanes.delete(lane as ScheduledLane);
      plan();
    },
  };
}

/** Lanes in which something waits, in the order of their first jobs. */
function inOrder(lanes: Iterable<ScheduledLane>): ScheduledLane[] {
  const wanting: { lane: ScheduledLane; first: Job }[] = [];
  for (const lane of lanes) if (lane.first !== undefined) wanting.push({ lane, first: lane.first });
  return wanting.sort((a, b) => (before(a.first, b.first) ? -1 : 1)).map(({ lane }) => lane);
}
