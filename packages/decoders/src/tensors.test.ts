import { BrinkError } from '@brink/protocol';
import { describe, expect, it } from 'vitest';
import { type BatchOutputs, finiteSliceOf, sliceOf, unitShape } from './tensors.ts';

const run = (dtype: string, values: ArrayBufferView, batch = 1, shape?: readonly number[]): BatchOutputs => {
  const data = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  return { batch, tensors: new Map([['y', { dtype, data, ...(shape === undefined ? {} : { shape }) }]]) };
};
function refusal(act: () => unknown): string {
  try {
    act();
    return 'nothing';
  } catch (error) {
    return BrinkError.from(error).message;
  }
}

describe('a slice', () => {
  it.each([
    ['float32', Float32Array.of(1, 2, -3, 0.5)],
    ['float64', Float64Array.of(1, 2, -3, 0.5)],
    ['float16', Uint16Array.of(0x3c00, 0x4000, 0xc200, 0x3800)],
    ['bfloat16', Uint16Array.of(0x3f80, 0x4000, 0xc040, 0x3f00)],
  ])('of %s is its half of two units', (dtype, values) => {
    expect([...Array.from(sliceOf(run(dtype, values, 2), 'y', 0))]).toEqual([1, 2]);
    expect([...Array.from(sliceOf(run(dtype, values, 2), 'y', 1))]).toEqual([-3, 0.5]);
  });

  it.each([
    ['int8', Int8Array.of(-1, 2)],
    ['uint8', Uint8Array.of(255, 2)],
    ['bool', Uint8Array.of(1, 0)],
    ['int16', Int16Array.of(-300, 2)],
    ['uint16', Uint16Array.of(65_535, 2)],
    ['int32', Int32Array.of(-70_000, 2)],
    ['uint32', Uint32Array.of(4_000_000_000, 2)],
  ])('of %s', (dtype, values) => {
    expect(Array.from(sliceOf(run(dtype, values), 'y', 0))).toEqual([...values]);
  });

  it('of int64 and uint64 is exact or refused, never rounded', () => {
    const exact = BigInt64Array.of(-(2n ** 53n) + 1n, 7n);
    expect(Array.from(sliceOf(run('int64', exact), 'y', 0))).toEqual([-(2 ** 53) + 1, 7]);
    expect(Array.from(sliceOf(run('uint64', BigUint64Array.of(3n)), 'y', 0))).toEqual([3]);
    for (const [dtype, values] of [
      ['int64', BigInt64Array.of(0n, 2n ** 53n)],
      ['uint64', BigUint64Array.of(2n ** 64n - 1n)],
    ] as const) {
      expect(refusal(() => sliceOf(run(dtype, values), 'y', 0))).toMatch(/^E_MODEL_OUTPUT: .*below 2\^53/);
    }
  });

  it('may begin anywhere in its buffer', () => {
    const bytes = new Uint8Array(17);
    bytes.set(new Uint8Array(BigInt64Array.of(5n, 6n).buffer), 1);
    expect(Array.from(sliceOf(run('int64', bytes.subarray(1), 2), 'y', 1))).toEqual([6]);
  });

  it('of text is refused', () => {
    expect(refusal(() => sliceOf(run('string', new Uint8Array(4)), 'y', 0))).toMatch(
      /^E_MODEL_OUTPUT: .*is string; exp/,
    );
  });
});

describe('a finite slice', () => {
  it.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])('names the place of %d', (bad) => {
    expect(refusal(() => finiteSliceOf(run('float32', Float32Array.of(1, bad, 2)), 'y', 0))).toBe(
      `E_MODEL_OUTPUT: output "y" is ${bad} for value 1`,
    );
    expect(refusal(() => finiteSliceOf(run('float64', Float64Array.of(1, bad, 2)), 'y', 0))).toMatch(/E_MODEL_OUTPUT/);
  });

  it('takes the largest numbers there are, whose sum is none', () => {
    const huge = Float64Array.of(Number.MAX_VALUE, Number.MAX_VALUE, -Number.MAX_VALUE);
    expect(Array.from(finiteSliceOf(run('float64', huge), 'y', 0))).toEqual([...huge]);
  });
});

describe('the shape of one unit', () => {
  const of = (shape: readonly number[] | undefined, batch: number, elements: number) =>
    unitShape(run('float32', new Float32Array(elements * batch), batch, shape), 'y', elements);
  it.each([
    [[4, 2, 3], 4, 6, [2, 3]],
    [[1, 2, 3], 1, 6, [2, 3]],
    [[2, 3], 1, 6, [2, 3]],
    [[4], 4, 1, []],
    [[7, 7], 1, 6, undefined],
    [undefined, 1, 6, undefined],
  ])('%j in a batch of %i, %i numbers each: %j', (shape, batch, elements, expected) => {
    expect(of(shape, batch, elements)).toEqual(expected);
  });
});
