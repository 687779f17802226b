import { firstState } from '@brink/preprocess';
import { BrinkError } from '@brink/protocol';
import type { StepModel } from '../models/resolve.ts';

/** What one step of a chain remembers from unit to unit. */
export interface StepMemory {
  /** Of its model, where that is recurrent. */
  states: readonly Uint8Array[];
  /** Rows of the step before it that a later window needs, one after the other. */
  rows: Float32Array;
  /** Rows to come that no window needs: where `hop` is larger than `window`. */
  skip: number;
}

/** Rows that wait for a whole window, in numbers; a step that gives more at once than it can ever need is refused before. */
const ROWS_NUMBERS_MAX = 4 * 1024 * 1024;

export function newMemory(steps: readonly StepModel[]): StepMemory[] {
  return steps.map(({ model }) => ({ states: model.states.map(firstState), rows: new Float32Array(), skip: 0 }));
}

/**
 * What a step before gave comes behind what is there.
 * @returns the windows that are whole now, in their order
 * @throws BrinkError E_SHAPE where it is no whole number of rows; E_TOO_LARGE
 */
export function takeRows(memory: StepMemory, { model, window, hop }: StepModel, given: Float32Array): Uint8Array[] {
  const [head] = model.heads;
  const width = (head?.bytes ?? 0) / 4 / window;
  if (width === 0 || given.length % width !== 0) {
    const detail = `the step before it gives ${given.length} numbers; expected rows of ${width}`;
    throw new BrinkError('E_SHAPE', `${model.name}@${model.version}: ${detail}`);
  }
  if (memory.rows.length + given.length > ROWS_NUMBERS_MAX) {
    throw new BrinkError(
      'E_TOO_LARGE',
      `${model.name}@${model.version}: more than ${ROWS_NUMBERS_MAX} numbers at once`,
    );
  }
  const skipped = Math.min(memory.skip * width, given.length);
  memory.skip -= skipped / width;
  const all = new Float32Array(memory.rows.length + given.length - skipped);
  all.set(memory.rows);
  all.set(given.subarray(skipped), memory.rows.length);
  const windows: Uint8Array[] = [];
  let at = 0;
  for (; at + window * width <= all.length; at += hop * width) {
    windows.push(new Uint8Array(all.slice(at, at + window * width).buffer));
  }
  memory.skip += Math.max(0, at - all.length) / width;
  memory.rows = all.slice(Math.min(at, all.length));
  return windows;
}

/** As states travel: bytes, a list of them, always of the same length for the same steps. */
export function packMemory(memory: readonly StepMemory[]): Uint8Array[] {
  return memory.flatMap(({ states, rows, skip }) => [
    ...states,
    new Uint8Array(rows.slice().buffer),
    new Uint8Array(Float64Array.of(skip).buffer),
  ]);
}

/** @param kept of `packMemory` for the same steps */
export function unpackMemory(steps: readonly StepModel[], kept: readonly Uint8Array[]): StepMemory[] {
  let at = 0;
  return steps.map(({ model }) => {
    const states = kept.slice(at, at + model.states.length);
    const [rows = new Uint8Array(), skip = new Uint8Array(8)] = kept.slice(at + states.length, at + states.length + 2);
    at += states.length + 2;
    // Copies: what comes from the disk may begin anywhere in its buffer.
    const [skipped = 0] = new Float64Array(skip.slice().buffer);
    return { states, rows: new Float32Array(rows.slice().buffer), skip: skipped };
  });
}
