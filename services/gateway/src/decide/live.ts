import { BrinkError } from '@brink/protocol';
import type { Clock } from '@brink/runtime';
import type { Admission } from '../ingest/admission.ts';
import { dueAt, spent } from '../ingest/frame.ts';
import type { Lane, Piece } from '../ingest/lanes.ts';
import type { Models, ServingModel } from '../models/models.ts';
import { beginUnit, endUnit, takeBackUnit } from '../window/state.ts';
import { createUnit, type Ending, type Unit } from './unit.ts';

/** Units that were formed and have not ended, and the one way out for each of them. */
export function createLive(d: {
  clock: Clock;
  models: Models;
  admission: Pick<Admission, 'ended'>;
  /** Called once per unit. */
  onEnd(unit: Unit, ending: Ending): void;
  /** Called instead, where its window was cut for another version. */
  onMiscut(unit: Unit): void;
  /** The next unit of this lane can be taken. */
  onReleased(lane: Lane): void;
}) {
  const live = new Set<Unit>();

  const versionOf = ({ prepared, pipeline }: Unit) => prepared?.model.version ?? d.models.versionOf(pipeline.model);

  /** A unit that was given up at the stop may still be answered; that comes too late. */
  function end(unit: Unit, ending: Ending): void {
    if (!live.delete(unit)) return;
    if (unit.holds) endUnit(unit, ending);
    d.onEnd(unit, ending);
    if (ending.outcome === 'decided' && unit.sent === 1 && unit.formed === undefined)
      spent(unit.frame, unit.prepared?.picture);
    leave(unit.lane);
  }

  function leave(lane: Lane): void {
    const released = d.admission.ended(lane);
    if (released !== undefined) d.onReleased(released);
  }

  function dead(unit: Unit, error: BrinkError): void {
    end(unit, { outcome: 'dead', error, version: versionOf(unit) });
  }

  function expire(unit: Unit, why?: string): void {
    const { models } = d;
    const name = unit.pipeline.model;
    const limit = Math.round(dueAt(unit.frame, unit.pipeline) - unit.frame.receivedAt);
    const reason = why ?? (models.current(name) === undefined ? models.whyNot(name) : 'the model was busy');
    const error = new BrinkError('E_EXPIRED', `not computed within ${limit} ms: ${reason}`);
    end(unit, { outcome: 'expired', error, version: versionOf(unit) });
  }

  return {
    form(piece: Piece, now: number, model?: ServingModel): Unit {
      const holds = model !== undefined && holdsLane(model);
      const unit = createUnit(piece, now, holds);
      live.add(unit);
      if (holds) beginUnit(unit);
      return unit;
    },
    has: (unit: Unit): boolean => live.has(unit),
    /** Of a stream that keeps the newest only, an answer about a frame that is too old is none. */
    decided(unit: Unit, answer: (Ending & { outcome: 'decided' })['answer']): void {
      const { plan, receivedAt } = unit.frame;
      const late = !plan.durable && d.clock.monotonic() >= receivedAt + plan.frameAgeMsMax;
      if (late) expire(unit, 'the answer came later');
      else end(unit, { outcome: 'decided', answer });
    },
    dead,
    exhausted(unit: Unit, why: string): void {
      dead(unit, new BrinkError('E_ATTEMPTS', `${unit.attempts} attempts, ${why}`));
    },
    expire,
    /** Its window is of no use with what the model takes now. */
    miscut(unit: Unit): void {
      if (!live.delete(unit)) return;
      if (unit.holds) takeBackUnit(unit);
      d.onMiscut(unit);
      // Later: all that waits behind it may be of no use either.
      setImmediate(() => leave(unit.lane));
    },
    /** Gives up what has not ended. @returns those units */
    stop(): Unit[] {
      const left = [...live];
      live.clear();
      return left;
    },
    get size(): number {
      return live.size;
    },
  };
}

/** Whether a unit needs what the one before it left: then one of a lane is under way at a time. */
const holdsLane = ({ states, steps = [] }: ServingModel) =>
  states.length > 0 || steps.some(({ model, crop }, i) => model.states.length > 0 || (i > 0 && crop === undefined));

/**
 * How many units of one device's stream may be under way at once: a batch, so that whoever floods delays the others by one batch at
 * most; where a batch is one unit, two, so that the runner has its next one.
 */
export const mostOfLane = (model: ServingModel): number =>
  holdsLane(model) ? 1 : Math.max(2, model.batchBest) * model.copies;

export type Live = ReturnType<typeof createLive>;
