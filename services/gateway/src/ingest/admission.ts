import type { FrameId } from '@brink/protocol';
import {
  type Counts,
  countFormed,
  countFrame,
  countReplacement,
  countSettled,
  type FrameCounts,
  type UnitDropReason,
} from '../outcomes/counts.ts';
import { detach, dueAt, type Frame, spent, unitKey } from './frame.ts';
import { type Lane, LaneQueues, type Piece } from './lanes.ts';

/**
 * Where units wait. Of a `latest` stream each device has one waiting place per pipeline: the newest frame takes it and keeps
 * its turn in the queue of the model, so that every device gets its turn however much another one sends. Where frames are cut
 * into windows, the place holds those that the newest frame completed.
 *
 * Counting: a frame that is replaced before any unit was formed of it is `dropped` in its stream. After that, its units
 * are formed one by one, and a unit whose frame is replaced is formed and dropped. Windows are formed when they are cut.
 */
export function createAdmission(d: { counts: Counts; onUnitDropped(reason: UnitDropReason, of: FrameId): void }) {
  const queues = new LaneQueues();

  /** It counts as a formed unit from here on, if it did not before. */
  function takeFrom(lane: Lane, now: number, most: number): Piece {
    const piece = queues.shift(lane, lane.serial ? 1 : most);
    const { frame, part, formed } = piece;
    const { name, everyMs } = lane.pipeline;
    if (frame.spooled !== undefined) frame.spooled.out.add(unitKey(name, part));
    else if (formed === undefined) {
      frame.formed = true;
      if (everyMs !== undefined) lane.nextAt = now + everyMs;
      countFormed(d.counts.units(name));
    }
    return piece;
  }

  /** @param isCounted it counts as formed already */
  function dropUnit({ frame, lane, part }: Piece, reason: UnitDropReason, isCounted: boolean): void {
    frame.formed = true;
    const row = d.counts.units(lane.pipeline.name);
    if (!isCounted) countFormed(row);
    countSettled(row, 'dropped');
    d.onUnitDropped(reason, frame.id);
    frame.onSettled?.(lane.pipeline, part, 'dropped');
  }

  /** @returns the frame that waited there and now waits nowhere, without a unit of it: it is dropped as a whole */
  function enter(lane: Lane, frame: Frame, now: number): Frame | undefined {
    const piece: Piece = { frame, lane, part: 0, formed: undefined };
    if (lane.waiting.length === 0) {
      if (now < lane.nextAt) dropUnit(piece, 'every_ms', false);
      else queues.push(piece);
      return undefined;
    }
    const old = queues.replace(piece);
    if (!old.frame.formed) return old.frame.waiting === 0 ? old.frame : undefined;
    dropUnit(old, 'replaced', false);
    return undefined;
  }

  /** Of one lane: what a frame completed, in place of what older frames did. */
  function enterFormed(lane: Lane, pieces: readonly Piece[], now: number): void {
    for (const _ of pieces) countFormed(d.counts.units(lane.pipeline.name));
    const due = dueOf(lane, pieces, now);
    for (const piece of pieces.slice(0, pieces.length - due.length)) dropUnit(piece, 'every_ms', true);
    const old = due.length === 0 ? [] : queues.replaceAll(lane, due);
    for (const piece of old) dropUnit(piece, 'replaced', true);
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
      countReplacement(row, frame.receivedMs, 'replaced');
      spent(replaced);
      for (const pipeline of replaced.plan.pipelines) replaced.onSettled?.(pipeline, 0, 'dropped');
    },

    offerFormed: enterFormed,

    /** A frame of the spool, behind those that wait for the same pipelines. Its units are counted already. */
    enqueue(frame: Frame, lanes: readonly Lane[]): void {
      for (const lane of lanes) queues.push({ frame, lane, part: 0, formed: undefined });
    },

    /** The same for what a frame of the spool completed. */
    enqueueFormed(pieces: readonly Piece[]): void {
      for (const piece of pieces) queues.push(piece);
    },

    /** The next for a model, or undefined. @param pictures whether they can be taken @param most units of a lane under way */
    take(model: string, now: number, pictures: boolean, most = Number.POSITIVE_INFINITY): Piece | undefined {
      const lane = queues.first(model, pictures);
      return lane === undefined ? undefined : takeFrom(lane, now, most);
    },

    /** A unit that was taken has ended. @returns the lane whose next one waited for that */
    ended: (lane: Lane): Lane | undefined => queues.ended(lane),

    /** What is too old. For each the caller makes an `expired` outcome. */
    takeExpired(now: number): Piece[] {
      const taken: Piece[] = [];
      for (const lane of [...queues.full()]) {
        for (let head = lane.waiting[0]; head !== undefined; head = lane.waiting[0]) {
          if (now < dueAt(head.frame, lane.pipeline)) break;
          taken.push(takeFrom(lane, now, Number.POSITIVE_INFINITY));
        }
      }
      return taken;
    },

    /** Drops what waits in lanes that are no more (a changed configuration, the end of the process). The spool keeps its own. */
    abandon(lanes: readonly Lane[], reason: UnitDropReason): void {
      for (const lane of lanes) {
        for (const piece of queues.clear(lane)) {
          if (piece.frame.spooled === undefined) dropUnit(piece, reason, piece.formed !== undefined);
        }
      }
    },

    /** A frame that goes on waiting must not keep the network's memory. Call it when dispatch had its turn. */
    settleDown(frame: Frame): void {
      if (frame.waiting > 0) detach(frame);
    },

    models: () => queues.models(),
    waitingLanes: (): Iterable<Lane> => queues.full(),
    get waiting() {
      return queues.size;
    },
  };
}

export type Admission = ReturnType<typeof createAdmission>;

/** What `every_ms` lets through of what one frame completed: the newest, which says most. */
function dueOf(lane: Lane, pieces: readonly Piece[], now: number): readonly Piece[] {
  const { everyMs } = lane.pipeline;
  if (everyMs === undefined || pieces.length === 0) return pieces;
  if (now < lane.nextAt) return [];
  lane.nextAt = now + everyMs;
  return pieces.slice(-1);
}
