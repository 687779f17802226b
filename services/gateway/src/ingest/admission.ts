import {
  type Counts,
  countFormed,
  countFrame,
  countReplacement,
  countSettled,
  type FrameCounts,
} from '../outcomes/counts.ts';
import { detach, dueAt, type Frame, type Spooled } from './frame.ts';
import { type Lane, LaneQueues } from './lanes.ts';
import type { PipelinePlan } from './plan.ts';

export type UnitDropReason = 'replaced' | 'every_ms' | 'control_down' | 'refused' | 'configuration' | 'stopped';

/** A frame that left its place for one of its pipelines. It counts as a formed unit from here on. */
export interface Taken {
  readonly frame: Frame;
  readonly pipeline: PipelinePlan;
}

/**
 * The `latest` policy. A device's stream has one waiting place per pipeline; the newest frame takes it and keeps its
 * turn in the queue of the model, so that every device gets its turn however much another one sends.
 *
 * Counting: a frame that is replaced before any unit was formed of it is `dropped` in its stream. After that, its units
 * are formed one by one, and a unit whose frame is replaced is formed and dropped.
 */
export function createAdmission(d: { counts: Counts; onUnitDropped(reason: UnitDropReason): void }) {
  const queues = new LaneQueues();

  function takeFrom(lane: Lane, now: number): Taken {
    const frame = queues.empty(lane);
    if (frame.spooled !== undefined) return takeSpooled(lane, frame, frame.spooled);
    frame.formed = true;
    if (lane.pipeline.everyMs !== undefined) lane.nextAt = now + lane.pipeline.everyMs;
    countFormed(d.counts.units(lane.pipeline.name));
    return { frame, pipeline: lane.pipeline };
  }

  /** Its unit was counted when the frame was committed; the next one waits at the end of the queue. */
  function takeSpooled(lane: Lane, frame: Frame, spooled: Spooled): Taken {
    spooled.out.add(lane.pipeline.name);
    const next = lane.backlog.shift();
    if (next !== undefined) queues.fill(lane, next);
    return { frame, pipeline: lane.pipeline };
  }

  function dropUnit(pipeline: PipelinePlan, frame: Frame, reason: UnitDropReason): void {
    frame.formed = true;
    const row = d.counts.units(pipeline.name);
    countFormed(row);
    countSettled(row, 'dropped');
    d.onUnitDropped(reason);
    frame.onSettled?.(pipeline, 'dropped');
  }

  /** @returns the frame that waited there and now waits nowhere, without a unit of it: it is dropped as a whole */
  function enter(lane: Lane, frame: Frame, now: number): Frame | undefined {
    if (lane.frame === undefined) {
      if (now < lane.nextAt) dropUnit(lane.pipeline, frame, 'every_ms');
      else queues.fill(lane, frame);
      return undefined;
    }
    const old = queues.replace(lane, frame);
    if (!old.formed) return old.waiting === 0 ? old : undefined;
    dropUnit(lane.pipeline, old, 'replaced');
    return undefined;
  }

  return {
    /** Takes a frame in; always succeeds. Counts it and whatever it replaces. @param now on the monotonic clock */
    offer(frame: Frame, lanes: readonly Lane[], row: FrameCounts, now: number): void {
      let replaced: Frame | undefined;
      for (const lane of lanes) replaced = enter(lane, frame, now) ?? replaced;
      if (replaced === undefined) {
        countFrame(row, 'accepted', frame.receivedMs);
        return;
      }
      countReplacement(row, frame.receivedMs);
      for (const pipeline of replaced.plan.pipelines) replaced.onSettled?.(pipeline, 'dropped');
    },

    /** A frame of the spool, behind those that wait for the same pipelines. Its units are counted already. */
    enqueue(frame: Frame, lanes: readonly Lane[]): void {
      for (const lane of lanes) {
        if (lane.frame === undefined) queues.fill(lane, frame);
        else lane.backlog.push(frame);
      }
    },

    /** The next frame for a model, or undefined. @param pictures whether pictures can be taken */
    take(model: string, now: number, pictures: boolean): Taken | undefined {
      const lane = queues.first(model, pictures);
      return lane === undefined ? undefined : takeFrom(lane, now);
    },

    /** What is too old. For each the caller makes an `expired` outcome. */
    takeExpired(now: number): Taken[] {
      const taken: Taken[] = [];
      for (const lane of [...queues.full()]) {
        while (lane.frame !== undefined && now >= dueAt(lane.frame, lane.pipeline)) taken.push(takeFrom(lane, now));
      }
      return taken;
    },

    /** Drops what waits in lanes that are no more (a changed configuration, the end of the process). The spool keeps its own. */
    abandon(lanes: readonly Lane[], reason: UnitDropReason): void {
      for (const lane of lanes) {
        if (lane.frame === undefined) continue;
        const frame = queues.empty(lane);
        lane.backlog = [];
        if (frame.spooled === undefined) dropUnit(lane.pipeline, frame, reason);
      }
    },

    /** A frame that goes on waiting must not keep the network's memory. Call it when dispatch had its turn. */
    settleDown(frame: Frame): void {
      if (frame.waiting > 0) detach(frame);
    },

    models: () => queues.models(),
    get waiting() {
      return queues.size;
    },
  };
}

export type Admission = ReturnType<typeof createAdmission>;
