import type { Chain } from '../window/chain.ts';
import type { FormedUnit } from '../window/formed.ts';
import type { Frame } from './frame.ts';
import type { PipelinePlan, StreamPlan } from './plan.ts';

/** What waits for one pipeline: a frame as a whole, or what it gave of a window. */
export interface Piece {
  readonly frame: Frame;
  readonly lane: Lane;
  /** Which of the units that its frame completes. */
  readonly part: number;
  /** Of audio and signals. */
  readonly formed: FormedUnit | undefined;
}

/** Where the units of one device's stream wait for one pipeline. */
export interface Lane {
  readonly pipeline: PipelinePlan;
  /** Whether they have to go through the decoder of pictures. */
  readonly pictures: boolean;
  /** One unit is under way at a time: its frame waits for a detector, and the newest one behind it must not wait too. */
  readonly serial: boolean;
  /**
   * In their order. Of a `latest` stream those of the newest frame; of a durable one as many as the spool keeps in memory.
   */
  waiting: Piece[];
  /** Units that were taken from it and have not ended. */
  underWay: number;
  /** How many may be. */
  most: number;
  /** As many are under way as may be. */
  held: boolean;
  /** When it came into its queue; smaller is earlier. */
  order: number;
  /** `every_ms`: no unit before this, on the monotonic clock. */
  nextAt: number;
  /** Where its windows and its recurrent state stand, by boot of the device. */
  readonly chains: Map<string, Chain>;
  /** Another configuration put it in this one's place: what of this one is under way counts there. */
  heir: Lane | undefined;
  /** No configuration asks for it any more: it only ends what is under way. */
  isOver: boolean;
}

export function createLane(
  pipeline: PipelinePlan,
  { format, mask }: Pick<StreamPlan, 'format' | 'mask'>,
  chains = new Map<string, Chain>(),
): Lane {
  return {
    pipeline,
    pictures: format === 'image',
    serial: mask?.faces !== undefined,
    waiting: [],
    underWay: 0,
    most: Number.POSITIVE_INFINITY,
    held: false,
    order: 0,
    nextAt: Number.NEGATIVE_INFINITY,
    chains,
    heir: undefined,
    isOver: false,
  };
}

const PRIORITIES = 10;

/** Lanes with something to take. A set keeps the order in which they came, and lets any of them go at no cost. */
interface ModelQueue {
  /** One set per priority, 0 to 9, for each of both: no picture holds up a tensor. */
  readonly pictures: Set<Lane>[];
  readonly tensors: Set<Lane>[];
}

/** Per model, the lanes that have something for it: by priority, then first come first served. */
export class LaneQueues {
  readonly #queues = new Map<string, ModelQueue>();
  /** Every lane in which something waits, also those that are held. */
  readonly #full = new Set<Lane>();
  #order = 0;
  #size = 0;

  /** Behind what waits in its lane; a lane that was empty goes to the end of its queue. */
  push(piece: Piece): void {
    const { lane, frame } = piece;
    lane.waiting.push(piece);
    frame.waiting += 1;
    this.#size += 1;
    if (lane.waiting.length > 1) return;
    this.#full.add(lane);
    if (!lane.held) this.#queue(lane);
  }

  /** Takes the first; its lane goes to the end of its queue. @param most units of it that may be under way */
  shift(lane: Lane, most: number): Piece {
    const piece = lane.waiting.shift() as Piece;
    piece.frame.waiting -= 1;
    this.#size -= 1;
    if (!lane.held) this.#setOf(lane).delete(lane);
    lane.underWay += 1;
    if (most !== Number.POSITIVE_INFINITY) lane.most = most;
    lane.held ||= lane.underWay >= lane.most;
    if (lane.waiting.length === 0) this.#full.delete(lane);
    else if (!lane.held) this.#queue(lane);
    return piece;
  }

  /** One that was taken has ended. @returns the lane where something waited for that */
  ended(of: Lane): Lane | undefined {
    let lane = of;
    while (lane.heir !== undefined) lane = lane.heir;
    lane.underWay -= 1;
    // What was too old while others were under way ends beside them, and makes no room.
    if (!lane.held || lane.underWay >= lane.most) return undefined;
    lane.held = false;
    if (lane.waiting.length === 0) return undefined;
    this.#queue(lane);
    return lane;
  }

  /** Puts a frame in the place of the only one that waits; the lane keeps its turn. */
  replace(piece: Piece): Piece {
    const { lane, frame } = piece;
    const old = lane.waiting[0] as Piece;
    lane.waiting[0] = piece;
    frame.waiting += 1;
    old.frame.waiting -= 1;
    return old;
  }

  /** Takes everything out. A lane that gets something at once keeps its turn no more than any other. */
  clear(lane: Lane): Piece[] {
    const pieces = lane.waiting;
    if (pieces.length === 0) return pieces;
    lane.waiting = [];
    for (const { frame } of pieces) frame.waiting -= 1;
    this.#size -= pieces.length;
    this.#full.delete(lane);
    if (!lane.held) this.#setOf(lane).delete(lane);
    return pieces;
  }

  /** Takes what waits and puts other units in their place; the lane keeps its turn. @param pieces at least one */
  replaceAll(lane: Lane, pieces: readonly Piece[]): Piece[] {
    const old = lane.waiting;
    if (old.length === 0) {
      for (const piece of pieces) this.push(piece);
      return [];
    }
    lane.waiting = [...pieces];
    for (const { frame } of old) frame.waiting -= 1;
    for (const { frame } of pieces) frame.waiting += 1;
    this.#size += pieces.length - old.length;
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

  /** Those for which something could be taken, the most valuable first: by priority, then by whose turn it is. */
  models(): string[] {
    const heads = [...this.#queues.keys()].flatMap((name) => {
      const lane = this.first(name, true);
      return lane === undefined ? [] : [{ name, lane }];
    });
    heads.sort((a, b) => b.lane.pipeline.priority - a.lane.pipeline.priority || a.lane.order - b.lane.order);
    return heads.map(({ name }) => name);
  }

  /** Every lane in which something waits. */
  full(): Iterable<Lane> {
    return this.#full;
  }

  /** Units, and frames that will be, in all lanes. */
  get size(): number {
    return this.#size;
  }

  #queue(lane: Lane): void {
    lane.order = ++this.#order;
    this.#setOf(lane).add(lane);
  }

  #setOf({ pipeline, pictures }: Lane): Set<Lane> {
    let queue = this.#queues.get(pipeline.model);
    if (queue === undefined) {
      queue = { pictures: sets(), tensors: sets() };
      this.#queues.set(pipeline.model, queue);
    }
    return (pictures ? queue.pictures : queue.tensors)[pipeline.priority] as Set<Lane>;
  }
}

const sets = (): Set<Lane>[] => Array.from({ length: PRIORITIES }, () => new Set());
const head = (set: Set<Lane> | undefined): Lane | undefined => set?.values().next().value;
