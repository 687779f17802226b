import { describe, expect, it } from 'vitest';
import { createStacks } from './stack.ts';

const heads = [
  { name: 'a', dtype: 'uint8', shape: [2] },
  { name: 'b', dtype: 'uint8', shape: [1] },
];
const bytes = (...values: number[]) => Uint8Array.from(values);
const contents = ({ memory, inputs }: ReturnType<ReturnType<typeof createStacks>['join']>) =>
  inputs.map(({ offset, bytes }) => [...new Uint8Array(memory, offset, bytes)]);

describe('a stack', () => {
  it('joins what jobs bring, input by input, whatever their numbers of rows', () => {
    const stacked = createStacks().join(3, heads, [bytes(1, 2), bytes(9), bytes(3, 4, 5, 6), bytes(8, 7)]);
    expect(contents(stacked)).toEqual([
      [1, 2, 3, 4, 5, 6],
      [9, 8, 7],
    ]);
    expect(stacked.inputs.map(({ head }) => head.shape)).toEqual([
      [3, 2],
      [3, 1],
    ]);
    for (const { offset } of stacked.inputs) expect(offset % 64).toBe(0);
  });

  it('leaves whole tensors their shape, empty ones too', () => {
    const stacked = createStacks().join(0, [{ name: 'a', dtype: 'float32', shape: [0, 3] }], [bytes()]);
    expect(contents(stacked)).toEqual([[]]);
    expect(stacked.inputs[0]?.head.shape).toEqual([0, 3]);
  });

  it('uses memory again, and not that of a larger kind than there was', () => {
    const stacks = createStacks();
    const first = stacks.join(1, heads, [bytes(1, 2), bytes(3)]);
    stacks.giveBack(first.memory);
    const second = stacks.join(1, heads, [bytes(4, 5), bytes(6)]);
    expect(second.memory).toBe(first.memory);
    expect(contents(second)).toEqual([[4, 5], [6]]);
    expect(stacks.join(1, heads, [bytes(7, 8), bytes(9)]).memory).not.toBe(first.memory);
  });

  it('keeps neither a large one-off nor memory that was lost on the way', () => {
    const stacks = createStacks();
    const large = new ArrayBuffer(64 * 1024 * 1024);
    stacks.giveBack(large);
    stacks.giveBack(new ArrayBuffer(0));
    expect(stacks.join(1, heads, [bytes(1, 2), bytes(3)]).memory).not.toBe(large);
  });

  it.each([
    ['none', 1, heads, []],
    ['one of two', 1, heads, [bytes(1)]],
    ['three of two', 1, heads, [bytes(1), bytes(1), bytes(1)]],
    ['one for a graph without inputs', 0, [], [bytes(1)]],
  ])('refuses another number of tensors than the inputs need: %s', (_, batch, of, payloads) => {
    expect(() => createStacks().join(batch, of, payloads)).toThrow(/^E_SHAPE/);
  });
});
