import type { Clock } from '@brink/runtime';
import type { Metrics, ModelMetrics } from '../metrics.ts';
import { before } from './job.ts';
import { createLane, type Lane, type LaneOptions, type LanePolicy } from './lane.ts';

export interface Scheduler {
  /** A queue for one model version. Its units run when a slot is free, in the order of all lanes together. */
  addLane(o: LaneOptions, d: { metrics: ModelMetrics; policy: LanePolicy }): Lane;
  removeLane(lane: Lane): void;
}

/**
 * One admission for the machine: at most `runSlots` runners work at once over all models, picked by priority, then deadline,
 * then arrival. Work-conserving: when a run ends, what waits goes out at once, up to the largest useful batch.
 */
export function createScheduler(o: { runSlots: number }, d: { clock: Clock; metrics: Metrics }): Scheduler {
  const lanes = new Set<Lane>();
  let planned = false;
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
    d.metrics.busy.set(busy());
  }

  function busy(): number {
    let count = 0;
    for (const lane of lanes) if (lane.inFlight > 0) count += 1;
    return count;
  }

  /** A lane that must wait for a slot keeps those behind it from sending batches ahead, or it would wait for those too. */
  function next(): Lane | undefined {
    const free = o.runSlots - busy();
    for (const lane of inOrder()) {
      if (lane.inFlight > 0) {
        if (lane.wantsAhead) return lane;
      } else if (lane.wantsRun) {
        return free > 0 ? lane : undefined;
      }
    }
    return undefined;
  }

  function inOrder(): Lane[] {
    const wanting = [...lanes].filter((lane) => lane.first !== undefined);
    return wanting.length < 2
      ? wanting
      : wanting.sort((a, b) => {
          if (a.first === undefined || b.first === undefined) return 0;
          return before(a.first, b.first) ? -1 : 1;
        });
  }

  return {
    addLane(options, { metrics, policy }) {
      const lane = createLane(options, { clock: d.clock, metrics, policy, changed: plan, finished: pump });
      lanes.add(lane);
      return lane;
    },
    removeLane(lane) {
      lanes.delete(lane);
      plan();
    },
  };
}
