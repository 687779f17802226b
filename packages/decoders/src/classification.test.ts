import { type BrinkError, OutputSchema, ResultSchema } from '@brink/protocol';
import { describe, expect, it } from 'vitest';
import { createDecoder } from './decoder.ts';
import { parseLabels } from './labels.ts';
import type { BatchOutputs } from './tensors.ts';

const labels = { names: ['bird', 'cat', 'frog'], texts: { zh: ['鸟', '猫', '青蛙'] } };
const spec = (over: object = {}) =>
  OutputSchema.parse({ decoder: 'classification', tensors: { logits: 'y' }, ...over });
const decoder = (over: object = {}, withLabels: typeof labels | 'none' = labels) =>
  createDecoder({ task: 'classification', output: spec(over), labels: withLabels === 'none' ? undefined : withLabels });
const run = (rows: number[][], dtype = 'float32'): BatchOutputs => {
  const data = new Uint8Array(Float32Array.from(rows.flat()).buffer);
  return { batch: rows.length, tensors: new Map([['y', { dtype, data }]]) };
};
const codeOf = (act: () => unknown) => {
  try {
    return act();
  } catch (error) {
    return `${(error as BrinkError).code} ${(error as BrinkError).detail}`;
  }
};

describe('classification', () => {
  it('gives softmax, label, label in the language, classes in order, raw scores', () => {
    const { result, top } = decoder()(run([[1, 3, 2]]), 0, 'zh');
    expect(ResultSchema.parse(result)).toEqual({
      task: 'classification',
      label: 'cat',
      label_text: '猫',
      score: 0.665241,
      classes: [
        { label: 'cat', label_text: '猫', score: 0.665241 },
        { label: 'frog', label_text: '青蛙', score: 0.244728 },
        { label: 'bird', label_text: '鸟', score: 0.090031 },
      ],
    });
    expect(top).toEqual([
      { label: 'cat', raw: 3 },
      { label: 'frog', raw: 2 },
      { label: 'bird', raw: 1 },
    ]);
  });

  it('leaves label_text out where the model has no such language, and numbers classes without labels', () => {
    expect(decoder()(run([[1, 3, 2]]), 0, 'de').result).not.toHaveProperty('label_text');
    expect(decoder({}, 'none')(run([[1, 3, 2]]), 0, 'zh').result.label).toBe('1');
  });

  it('takes top k, score_min, sigmoid and none', () => {
    expect(decoder({ top: 1 })(run([[1, 3, 2]]), 0, 'en').result.classes).toHaveLength(1);
    const none = decoder({ score_min: 0.9 })(run([[1, 1, 1]]), 0, 'en').result;
    expect(none).toEqual({ task: 'classification', label: 'none', score: 0, classes: [] });
    expect(decoder({ activation: 'sigmoid' })(run([[0, 2, -2]]), 0, 'en').result.score).toBeCloseTo(0.880797, 6);
    expect(decoder({ activation: 'none' })(run([[0.25, 0.5, 0.25]]), 0, 'en').result.score).toBe(0.5);
    expect(decoder({ activation: 'none' })(run([[0, 1.00001, 0]]), 0, 'en').result.score).toBe(1);
  });

  it.each([
    ['NaN', [0, Number.NaN, 0], /^E_MODEL_OUTPUT .*NaN for class 1/],
    ['Infinity', [Number.POSITIVE_INFINITY, 0, 0], /^E_MODEL_OUTPUT .*Infinity for class 0/],
    ['fewer values than labels', [0, 1], /^E_PASSPORT .*2 values.*3 labels/],
  ])('refuses %s', (_name, row, pattern) => {
    expect(codeOf(() => decoder()(run([row]), 0, 'en'))).toMatch(pattern);
  });

  it('refuses scores that are none, a missing output and an output that does not divide', () => {
    expect(codeOf(() => decoder({ activation: 'none' })(run([[0, 7, 0]]), 0, 'en'))).toMatch(/^E_MODEL_OUTPUT/);
    expect(codeOf(() => decoder({ tensors: { logits: 'z' } })(run([[0, 7, 0]]), 0, 'en'))).toMatch(/^E_MODEL_OUTPUT/);
    expect(codeOf(() => decoder()({ ...run([[0, 7, 0]]), batch: 2 }, 0, 'en'))).toMatch(/^E_MODEL_OUTPUT/);
    expect(() => decoder({ tensors: {} })).toThrow(/takes exactly one tensor/);
    expect(() => decoder({ tensors: { a: 'y', b: 'z' } })).toThrow(/takes exactly one tensor/);
  });

  it('does not see its batch-mates: a NaN beside a unit leaves it as it is', () => {
    const alone = decoder()(run([[1, 3, 2]]), 0, 'en');
    const batch = run([
      [Number.NaN, 0, 0],
      [1, 3, 2],
      [9, 9, 9],
    ]);
    expect(decoder()(batch, 1, 'en')).toEqual(alone);
    expect(codeOf(() => decoder()(batch, 0, 'en'))).toMatch(/^E_MODEL_OUTPUT/);
  });

  it('is stable for huge logits and keeps the order of equal ones', () => {
    const { result } = decoder()(run([[1e30, -1e30, 1e30]]), 0, 'en');
    expect(result.classes?.map(({ label, score }) => [label, score])).toEqual([
      ['bird', 0.5],
      ['frog', 0.5],
      ['cat', 0],
    ]);
  });

  it('reads float16, and float32 that does not begin at a multiple of four', () => {
    const halves = new Uint8Array(Uint16Array.of(0x3c00, 0x4200, 0xc000).buffer); // 1, 3, -2
    const half = { batch: 1, tensors: new Map([['y', { dtype: 'float16', data: halves }]]) };
    expect(decoder()(half, 0, 'en').top.map(({ raw }) => raw)).toEqual([3, 1, -2]);
    const shifted = new Uint8Array(13);
    shifted.set(new Uint8Array(Float32Array.of(1, 3, 2).buffer), 1);
    const odd = { batch: 1, tensors: new Map([['y', { dtype: 'float32', data: shifted.subarray(1) }]]) };
    expect(decoder()(odd, 0, 'en')).toEqual(decoder()(run([[1, 3, 2]]), 0, 'en'));
  });
});

describe('parseLabels', () => {
  it('takes one label per line, with any line end and byte order mark', () => {
    expect(parseLabels('\uFEFFcat\r\ndog \n\n')).toEqual(['cat', 'dog']);
  });
});
