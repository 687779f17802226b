import {
  type Counts,
  countFormed,
  countFrame,
  countReplacement,
  countSettled,
  type FrameCounts,
} from '../outcomes/counts.ts';
import { detach, dueAt, type Frame } from './frame.ts';
import type { PipelinePlan } from './plan.ts';

/** Where the newest frame of one device's stream waits for one pipeline: a single place. */
export interface Lane {
  readonly pipeline: PipelinePlan;
  frame: Frame | undefined;
  /** When it came into its queue; smaller is earlier. */
  order: number;
  /** `every_ms`: no unit before this, on the monotonic clock. */
  nextAt: number;
}

export type UnitDropReason = 'replaced' | 'every_ms' | 'control_down' | 'refused' | 'configuration' | 'stopped';

interface ModelQueue {
  /** Lanes with a frame, first come first served: one set per priority and format, so that no picture holds up a tensor. */
  readonly lanes: Map<number, Set<Lane>>;
}

const PRIORITIES = 10;
const queueKey = (lane: Lane, frame: Frame) => lane.pipeline.priority * 2 + (frame.plan.format === 'tensor' ? 1 : 0);

/**
 * The `latest` policy. A device's stream has one waiting place per pipeline; the newest frame takes it and keeps its
 * turn in the queue of the model, so that every device gets its turn however much another one sends.
 *
 * Counting: a frame that is replaced before any unit was formed of it is `dropped` in its stream. After that, its units
 * are formed one by one, and a unit whose frame is replaced is formed and dropped.
 */
export function createAdmission(d: { counts: Counts; onUnitDropped(reason: UnitDropReason): void }) {
  const queues = new Map<string, ModelQueue>();
  let order = 0;

  function queueOf(model: string): ModelQueue {
    let queue = queues.get(model);
    if (queue === undefined) {
      queue = { lanes: new Map() };
      queues.set(model, queue);
    }
    return queue;
  }

  function enqueue(lane: Lane, frame: Frame): void {
    const { lanes } = queueOf(lane.pipeline.model);
    const key = queueKey(lane, frame);
    let set = lanes.get(key);
    if (set === undefined) {
      set = new Set();
      lanes.set(key, set);
    }
    lane.order = ++order;
    set.add(lane);
  }

  /** Empties the lane and takes it out of its queue. */
  function vacate(lane: Lane): Frame {
    const frame = lane.frame as Frame;
    queueOf(lane.pipeline.model).lanes.get(queueKey(lane, frame))?.delete(lane);
    lane.frame = undefined;
    frame.waiting -= 1;
    return frame;
  }

  function form(lane: Lane, frame: Frame, atMs: number): void {
    frame.formed = true;
    if (lane.pipeline.everyMs !== undefined) lane.nextAt = atMs + lane.pipeline.everyMs;
    countFormed(d.counts.units(lane.pipeline.name));
  }

  function dropUnit(pipeline: PipelinePlan, frame: Frame, reason: UnitDropReason): void {
    frame.formed = true;
    const row = d.counts.units(pipeline.name);
    countFormed(row);
    countSettled(row, 'dropped');
    d.onUnitDropped(reason);
    frame.onSettled?.(pipeline, 'dropped');
  }

  /** Puts `frame` into the lane in place of the frame that waits there. Returns that one, if it now waits nowhere. */
  function replace(lane: Lane, frame: Frame): Frame | undefined {
    const old = lane.frame as Frame;
    if (queueKey(lane, old) !== queueKey(lane, frame)) {
      vacate(lane);
      lane.frame = frame;
      enqueue(lane, frame);
    } else {
      lane.frame = frame;
      old.waiting -= 1;
    }
    if (old.formed) dropUnit(lane.pipeline, old, 'replaced');
    else if (old.waiting === 0) return old;
    return undefined;
  }

  return {
    /** Takes a frame in; always succeeds. Counts it and whatever it replaces. @param now on the monotonic clock */
    offer(frame: Frame, lanes: readonly Lane[], row: FrameCounts, now: number): void {
      let replaced: Frame | undefined;
      for (const lane of lanes) {
        if (now < lane.nextAt) {
          // Whatever waits in this lane is due already; the newer frame takes its place, like anywhere else.
          if (lane.frame === undefined) {
            dropUnit(lane.pipeline, frame, 'every_ms');
            continue;
          }
        }
        frame.waiting += 1;
        if (lane.frame !== undefined) replaced = replace(lane, frame) ?? replaced;
        else {
          lane.frame = frame;
          enqueue(lane, frame);
        }
      }
      if (replaced === undefined) countFrame(row, 'accepted', frame.receivedMs);
      else {
        countReplacement(row, frame.receivedMs);
        for (const pipeline of replaced.plan.pipelines) replaced.onSettled?.(pipeline, 'dropped');
      }
    },

    /** Next lane's frame for a model: highest priority first, then first come. It counts as formed from here on. */
    take(model: string, now: number, pictures: boolean): { frame: Frame; pipeline: PipelinePlan } | undefined {
      const lanes = queues.get(model)?.lanes;
      if (lanes === undefined) return undefined;
      for (let priority = PRIORITIES - 1; priority >= 0; priority--) {
        const picture = pictures ? first(lanes.get(priority * 2)) : undefined;
        const tensor = first(lanes.get(priority * 2 + 1));
        const lane = picture !== undefined && (tensor === undefined || picture.order < tensor.order) ? picture : tensor;
        if (lane === undefined) continue;
        const frame = vacate(lane);
        form(lane, frame, now);
        return { frame, pipeline: lane.pipeline };
      }
      return undefined;
    },

    /** Takes out what is too old, as formed units, oldest turn first. For each the caller makes an `expired` outcome. */
    takeExpired(now: number): { frame: Frame; pipeline: PipelinePlan }[] {
      const expired: { frame: Frame; pipeline: PipelinePlan }[] = [];
      for (const { lanes } of queues.values()) {
        for (const set of lanes.values()) {
          for (const lane of set) {
            if (lane.frame === undefined || now < dueAt(lane.frame, lane.pipeline)) continue;
            const frame = vacate(lane);
            form(lane, frame, now);
            expired.push({ frame, pipeline: lane.pipeline });
          }
        }
      }
      return expired;
    },

    /** Drops what waits in lanes that are no more (a changed configuration, the end of the process). */
    abandon(lanes: readonly Lane[], reason: UnitDropReason): void {
      for (const lane of lanes) {
        if (lane.frame !== undefined) dropUnit(lane.pipeline, vacate(lane), reason);
      }
    },

    /** A frame that goes on waiting must not keep the network's memory. Call it when dispatch had its turn. */
    settleDown(frame: Frame): void {
      if (frame.waiting > 0) detach(frame);
    },

    models: () => queues.keys(),

    waiting(model?: string): number {
      let count = 0;
      for (const [name, { lanes }] of queues) {
        if (model !== undefined && name !== model) continue;
        for (const set of lanes.values()) count += set.size;
      }
      return count;
    },
  };
}

export type Admission = ReturnType<typeof createAdmission>;

const first = (set: Set<Lane> | undefined): Lane | undefined => set?.values().next().value;
