import type { Timer } from '@brink/runtime';
import type { ServingModel } from '../models/models.ts';
import type { Unit } from './unit.ts';

/** What one model has of ours. */
export interface ModelWork {
  readonly name: string;
  /** Prepared units in their order; those with attempts go alone. */
  ready: Unit[];
  /** Units that are being prepared: in the decode pool or on their way there. */
  preparing: number;
  /** Units in a Decide that is not answered yet. */
  deciding: number;
  /** Set while inference cannot take units now. */
  pause: Timer | undefined;
}

/**
 * Batches in flight per model: one runs, one lies in the runner's socket, one is on its way there and one on its way back. With two
 * a late gateway leaves the runner idle; `npm run bench -- loop` shows what it costs.
 */
const BATCHES_IN_FLIGHT = 4;
/** Each copy of the model takes batches of its own. */
export const hasRoom = (work: ModelWork, model: ServingModel) =>
  work.ready.length + work.deciding < BATCHES_IN_FLIGHT * model.batchBest * model.copies;

/** Whether it can be in one Decide with the unit that goes first. */
export function goesWith(unit: Unit, head: Unit | undefined): boolean {
  if (head === undefined) return true;
  return head.attempts === 0 && unit.attempts === 0 && head.pipeline.priority === unit.pipeline.priority;
}

/** Per model. */
export function createWorks() {
  const works = new Map<string, ModelWork>();
  return {
    of(name: string): ModelWork {
      let work = works.get(name);
      if (work === undefined) {
        work = { name, ready: [], preparing: 0, deciding: 0, pause: undefined };
        works.set(name, work);
      }
      return work;
    },
    all: (): Iterable<ModelWork> => works.values(),
    sum(read: (work: ModelWork) => number): number {
      let sum = 0;
      for (const work of works.values()) sum += read(work);
      return sum;
    },
  };
}
