import type { Frame } from './frame.ts';
import type { PipelinePlan } from './plan.ts';

/** Where the newest frame of one device's stream waits for one pipeline: a single place. */
export interface Lane {
  readonly pipeline: PipelinePlan;
  frame: Frame | undefined;
  /** Of a durable stream: frames behind it, in their order. Bounded by what the spool keeps in memory. */
  backlog: Frame[];
  /** When it came into its queue; smaller is earlier. */
  order: number;
  /** `every_ms`: no unit before this, on the monotonic clock. */
  nextAt: number;
}

export function createLane(pipeline: PipelinePlan): Lane {
  return { pipeline, frame: undefined, backlog: [], order: 0, nextAt: Number.NEGATIVE_INFINITY };
}

const PRIORITIES = 10;

/** Lanes with a frame. A set keeps the order in which they came, and lets any of them go at no cost. */
interface ModelQueue {
  /** One set per priority, 0 to 9, for each of both: no picture holds up a tensor. */
  readonly pictures: Set<Lane>[];
  readonly tensors: Set<Lane>[];
}

/** Per model, the lanes that hold a frame for it: by priority, then first come first served. */
export class LaneQueues {
  readonly #queues = new Map<string, ModelQueue>();
  #order = 0;

  /** Fills an empty lane; it goes to the end of its queue. */
  fill(lane: Lane, frame: Frame): void {
    lane.frame = frame;
    frame.waiting += 1;
    lane.order = ++this.#order;
    this.#setOf(lane, frame).add(lane);
  }

  /** @returns the frame that was in it */
  empty(lane: Lane): Frame {
    const frame = lane.frame as Frame;
    this.#setOf(lane, frame).delete(lane);
    lane.frame = undefined;
    frame.waiting -= 1;
    return frame;
  }

  /** Puts a newer frame into a full lane, which keeps its turn. @returns the frame that was in it */
  replace(lane: Lane, frame: Frame): Frame {
    const old = lane.frame as Frame;
    if (old.plan.format !== frame.plan.format) {
      this.empty(lane);
      this.fill(lane, frame);
      return old;
    }
    lane.frame = frame;
    frame.waiting += 1;
    old.waiting -= 1;
    return old;
  }

  /** Whose turn it is. @param pictures whether pictures can be taken */
  first(model: string, pictures: boolean): Lane | undefined {
    const queue = this.#queues.get(model);
    for (let priority = PRIORITIES - 1; queue !== undefined && priority >= 0; priority--) {
      const picture = pictures ? head(queue.pictures[priority]) : undefined;
      const tensor = head(queue.tensors[priority]);
      if (picture !== undefined && (tensor === undefined || picture.order < tensor.order)) return picture;
      if (tensor !== undefined) return tensor;
    }
    return undefined;
  }

  models(): Iterable<string> {
    return this.#queues.keys();
  }

  /** Every lane that holds a frame. */
  *full(): Generator<Lane> {
    for (const { pictures, tensors } of this.#queues.values()) {
      for (const set of [...pictures, ...tensors]) yield* set;
    }
  }

  get size(): number {
    let size = 0;
    for (const { pictures, tensors } of this.#queues.values()) {
      for (const set of [...pictures, ...tensors]) size += set.size;
    }
    return size;
  }

  #setOf(lane: Lane, frame: Frame): Set<Lane> {
    let queue = this.#queues.get(lane.pipeline.model);
    if (queue === undefined) {
      queue = { pictures: sets(), tensors: sets() };
      this.#queues.set(lane.pipeline.model, queue);
    }
    const byPriority = frame.plan.format === 'tensor' ? queue.tensors : queue.pictures;
    return byPriority[lane.pipeline.priority] as Set<Lane>;
  }
}

const sets = (): Set<Lane>[] => Array.from({ length: PRIORITIES }, () => new Set());
const head = (set: Set<Lane> | undefined): Lane | undefined => set?.values().next().value;
