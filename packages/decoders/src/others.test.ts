import { BrinkError, RECONSTRUCTION_ERROR } from '@brink/protocol';
import { describe, expect, it } from 'vitest';
import { createDecoder } from './decoder.ts';
import { EXAMPLES, optionsOf, runOf } from './examples.testing.ts';

function decoded(name: keyof typeof EXAMPLES, over: object, shape: number[], values: number[], output = 'y') {
  const decode = createDecoder(optionsOf(EXAMPLES[name], over));
  return decode(runOf([{ [output]: { shape, values } }]), 0, 'en');
}
function refusal(act: () => unknown): string {
  try {
    act();
    return 'nothing';
  } catch (error) {
    return BrinkError.from(error).message;
  }
}

describe('a keyword', () => {
  it('is none where the best label is no keyword; its classes are told all the same', () => {
    const { result } = decoded('keyword', {}, [3], [0, 1, 5]);
    expect(result).toMatchObject({ task: 'keyword', label: 'none', score: 0 });
    expect(result.classes?.[0]).toMatchObject({ label: 'frog' });
    expect(decoded('keyword', {}, [3], [0, 5, 1]).result.label).toBe('cat');
    expect(decoded('keyword', { ignore: [] }, [3], [0, 1, 5]).result.label).toBe('frog');
  });

  it('is refused where it ignores what is no label', () => {
    const message = refusal(() => createDecoder(optionsOf(EXAMPLES.keyword, { ignore: ['silence'] })));
    expect(message).toMatch(/^E_PASSPORT: output.ignore has "silence"/);
  });
});

describe('several labels', () => {
  it('are those that reach score_min, each for itself', () => {
    const { result } = decoded('multi-label', {}, [3], [2, -2, 1]);
    expect(result.classes?.map(({ label, score }) => `${label} ${score.toFixed(3)}`)).toEqual([
      'bird 0.881',
      'frog 0.731',
    ]);
    expect(result).toMatchObject({ label: 'bird', score: 0.880797 });
    expect(decoded('multi-label', {}, [3], [-2, -2, -1]).result).toMatchObject({
      label: 'none',
      score: 0,
      classes: [],
    });
  });
});

describe('areas', () => {
  // 2 × 4 cells of three classes: 0 0 1 1 / 0 0 1 2
  const kinds = [0, 0, 1, 1, 0, 0, 1, 2];
  const first = [0, 1, 2].flatMap((kind) => kinds.map((of) => (of === kind ? 1 : 0)));
  const last = kinds.flatMap((of) => [0, 1, 2].map((kind) => (of === kind ? 1 : 0)));
  const expected = {
    task: 'segmentation',
    label: 'cat',
    score: 0.375,
    classes: [
      { label: 'bird', score: 0.5 },
      { label: 'cat', score: 0.375 },
      { label: 'frog', score: 0.125 },
    ],
    tensors: { mask: { dtype: 'uint8', shape: [2, 4], data: kinds } },
  };

  it('are shares, the largest that is not background, and a mask; in every layout', () => {
    expect(decoded('segmentation', {}, [3, 2, 4], first).result).toEqual(expected);
    expect(decoded('segmentation', { layout: 'channels-last' }, [2, 4, 3], last).result).toEqual(expected);
    expect(decoded('segmentation', { layout: 'indices' }, [1, 2, 4], kinds).result).toEqual(expected);
    expect(decoded('segmentation', { background: null }, [3, 2, 4], first).result.label).toBe('bird');
    expect(decoded('segmentation', { background: 1 }, [3, 2, 4], first).result.label).toBe('bird');
  });

  it('are none where all is background', () => {
    const { result } = decoded('segmentation', { layout: 'indices' }, [2, 2], [0, 0, 0, 0]);
    expect(result).toMatchObject({ label: 'none', score: 0, classes: [{ label: 'bird', score: 1 }] });
  });

  it('have a mask of at most the stated side, in proportion, by majority; or none', () => {
    const mask = (over: object) => decoded('segmentation', over, [3, 2, 4], first).result.tensors;
    expect(mask({ mask_side_max: 2 })).toEqual({ mask: { dtype: 'uint8', shape: [1, 2], data: [0, 1] } });
    expect(mask({ mask_side_max: 0 })).toBeUndefined();
    const large = decoded(
      'segmentation',
      { layout: 'indices', mask_side_max: 64 },
      [300, 500],
      new Array(150_000).fill(2),
    );
    expect(large.result.tensors?.['mask']?.shape).toEqual([38, 64]);
    expect(new Set(large.result.tensors?.['mask']?.data)).toEqual(new Set([2]));
  });

  it('of one channel are class 1 from the threshold on', () => {
    const labels = { labels: { names: ['road', 'hole'], texts: {} } };
    const options = (over: object) => ({ ...optionsOf(EXAMPLES.segmentation, over), ...labels });
    const run = runOf([{ y: { shape: [1, 1, 4], values: [-1, 0.2, 0.6, 3] } }]);
    const share = (over: object) => createDecoder(options(over))(run, 0, 'en').result.score;
    expect(share({})).toBe(0.5);
    expect(share({ activation: 'sigmoid' })).toBe(0.75);
    expect(share({ activation: 'sigmoid', threshold: 0.6 })).toBe(0.5);
  });

  it('are refused without a shape that fits the layout, and with classes that there are not', () => {
    const layout = refusal(() => decoded('segmentation', { layout: 'channels-last' }, [3, 2, 4], first));
    expect(layout).toMatch(/^E_PASSPORT: output "y" has 4 classes; there are 3 labels/);
    expect(refusal(() => decoded('segmentation', {}, [24], first))).toMatch(/^E_PASSPORT: .*expected channels-first/);
    const kind = refusal(() => decoded('segmentation', { layout: 'indices' }, [1, 2], [0, 3]));
    expect(kind).toMatch(/^E_MODEL_OUTPUT: .*names class 3; expected 0 to 2/);
  });
});

describe('an anomaly', () => {
  it('is a reconstruction whose error is above the threshold; the score is 0.5 there', () => {
    const of = (error: number) => decoded('anomaly-reconstruction', {}, [], [error], RECONSTRUCTION_ERROR).result;
    expect(of(0)).toEqual({ task: 'anomaly', label: 'normal', score: 0, values: { error: 0 } });
    expect(of(0.125)).toMatchObject({ label: 'normal', score: 0.294118 });
    expect(of(0.9)).toMatchObject({ label: 'anomaly', score: 0.75 });
    expect(refusal(() => of(-1))).toMatch(/^E_MODEL_OUTPUT/);
  });

  it('is a score beyond the threshold, above or below', () => {
    const of = (value: number, over: object = {}) => decoded('anomaly-score', over, [1], [value]).result;
    expect(of(0.75)).toEqual({ task: 'anomaly', label: 'anomaly', score: 0.75, values: { value: 0.75 } });
    expect(of(0.25)).toMatchObject({ label: 'normal', score: 0.25 });
    expect(of(0.25, { beyond: 'below' })).toMatchObject({ label: 'anomaly', score: 0.75 });
    expect(of(2, { activation: 'sigmoid', threshold: 0 })).toMatchObject({ label: 'anomaly', score: 0.880797 });
    expect(of(12, { activation: 'ratio', threshold: 4 })).toMatchObject({ label: 'anomaly', score: 0.75 });
    expect(refusal(() => of(12))).toMatch(/^E_MODEL_OUTPUT: .*expected a score of 0..1/);
    expect(refusal(() => of(12, { activation: 'ratio', threshold: 0 }))).toMatch(/^E_PASSPORT/);
    expect(refusal(() => decoded('anomaly-score', {}, [2], [0, 1]))).toMatch(/^E_PASSPORT: .*has 2 values/);
  });
});

describe('numbers', () => {
  it('have names, and their scale and offset', () => {
    const over = { scale: [10, 1], offset: [5] };
    expect(decoded('regression', over, [2], [0.5, -1]).result).toEqual({ task: 'regression', values: { a: 10, b: 4 } });
    const { result } = decoded('regression', { names: undefined, scale: undefined }, [3], [1, 2, 3]);
    expect(result.values).toEqual({ 0: 1, 1: 2, 2: 3 });
    expect(refusal(() => decoded('regression', {}, [3], [1, 2, 3]))).toMatch(
      /^E_PASSPORT: .*expected 2, as output.names/,
    );
    expect(refusal(() => decoded('regression', { offset: [1, 2, 3] }, [2], [1, 2]))).toMatch(/offset has 3 numbers/);
  });
});

describe('an embedding', () => {
  it('has length 1, or the length that it has', () => {
    expect(decoded('embedding', {}, [2], [3, 4]).result.embedding).toEqual([0.6, 0.8]);
    expect(decoded('embedding', { normalise: 'none' }, [2], [3, 4]).result.embedding).toEqual([3, 4]);
    expect(decoded('embedding', {}, [2], [0, 0]).result.embedding).toEqual([0, 0]);
    expect(refusal(() => decoded('embedding', {}, [8193], new Array(8193).fill(1)))).toMatch(/^E_PASSPORT/);
  });
});

describe('raw tensors', () => {
  it('come with type and shape, and are bounded', () => {
    const values = [1, 2, 3, 4, 5, 6];
    expect(decoded('raw', { tensors: { only: 'y' } }, [2, 3], values).result).toEqual({
      task: 'raw',
      tensors: { only: { dtype: 'float32', shape: [2, 3], data: values } },
    });
    const message = refusal(() => decoded('raw', { tensors: { only: 'y' }, elements_max: 5 }, [6], values));
    expect(message).toMatch(/^E_PASSPORT: output "y" has 6 values per unit; output.elements_max is 5/);
  });
});
