import { describe, expect, it } from 'vitest';
import type { ServingModel, StepModel } from '../models/resolve.ts';
import { newMemory, packMemory, takeRows, unpackMemory } from './memory.ts';

/** A step whose windows are so many rows of two numbers. */
const step = (window: number, hop: number): StepModel => {
  const head = { name: 'x', dtype: 'float32', shape: [window, 2], bytes: window * 2 * 4 };
  const model = { name: 'm', version: 1, heads: [head], states: [] } as unknown as ServingModel;
  return { model, window, hop, crop: undefined };
};

/** Rows 0, 1, 2, … as [r, −r], so many at a time; what of them is in each window. */
function windowsOf(
  of: StepModel,
  parts: readonly number[],
  between = (memory: ReturnType<typeof newMemory>) => memory,
) {
  let memory = newMemory([of]);
  let row = 0;
  return parts.map((count) => {
    const given = Float32Array.from(
      { length: count * 2 },
      (_, i) => (i % 2 === 0 ? 1 : -1) * (row + Math.floor(i / 2)),
    );
    row += count;
    memory = between(memory);
    const windows = takeRows(memory[0] as (typeof memory)[0], of, given);
    return windows.map((bytes) => [...new Float32Array(new Uint8Array(bytes).buffer)].filter((_, i) => i % 2 === 0));
  });
}

describe('rows between two models', () => {
  it('make windows that overlap, follow each other, or leave rows out, wherever they were cut', () => {
    expect(windowsOf(step(3, 1), [2, 2, 1])).toEqual([
      [],
      [
        [0, 1, 2],
        [1, 2, 3],
      ],
      [[2, 3, 4]],
    ]);
    expect(windowsOf(step(2, 2), [5, 1])).toEqual([
      [
        [0, 1],
        [2, 3],
      ],
      [[4, 5]],
    ]);
    expect(windowsOf(step(2, 5), [3, 1, 1, 3, 4])).toEqual([[[0, 1]], [], [], [[5, 6]], [[10, 11]]]);
  });

  it('are the same after they were kept and read again', () => {
    const again = (memory: ReturnType<typeof newMemory>) => unpackMemory([step(2, 5)], packMemory(memory));
    const parts = [3, 1, 1, 3, 4, 9];
    expect(windowsOf(step(2, 5), parts, again)).toEqual(windowsOf(step(2, 5), parts));
  });

  it('that are not whole are refused', () => {
    const of = step(2, 2);
    const [memory] = newMemory([of]);
    expect(() => takeRows(memory!, of, new Float32Array(3))).toThrow(/E_SHAPE.*3 numbers; expected rows of 2/);
  });
});
