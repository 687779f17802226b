import type { Expect, Result } from '@brink/protocol';
import { describe, expect, it } from 'vitest';
import { differences, iou } from './expectation.ts';

const TOLERANCE = { score: 0.05, iou: 0.8, value: 1e-3 };
const check = (result: Partial<Result>, expected: Expect, tolerance: Partial<typeof TOLERANCE> = {}) =>
  differences({ task: 'detection', ...result }, expected, { ...TOLERANCE, ...tolerance });

type Box = [number, number, number, number];
const dog = (box: Box, score = 0.8) => ({ label: 'dog', score, box });
const LEFT: Box = [0.1, 0.1, 0.4, 0.5];
const SHIFTED: Box = [0.11, 0.1, 0.41, 0.5];
const RIGHT: Box = [0.6, 0.1, 0.9, 0.5];

describe('what a golden file expects', () => {
  it('compares label and score within the tolerance, and only what is stated', () => {
    expect(check({ label: 'cat', score: 0.9 }, {})).toEqual([]);
    expect(check({ label: 'cat', score: 0.9 }, { label: 'cat', score: 0.86 })).toEqual([]);
    expect(check({ label: 'cat', score: 0.9 }, { score: 0.8 })).toEqual(['gives "cat" 0.9; expected 0.8 ± 0.05']);
    expect(check({ label: 'cat', score: 0.9 }, { label: 'dog' })).toEqual(['gives "cat" 0.9; expected "dog"']);
    expect(check({}, { label: 'dog', score: 1 })).toEqual(['gives nothing; expected "dog" 1 ± 0.05']);
  });

  it('finds each object by label and place, whatever their order', () => {
    const objects = [dog(RIGHT), dog(SHIFTED)];
    expect(check({ objects }, { objects: [dog(LEFT), dog(RIGHT)] })).toEqual([]);
    expect(check({ objects }, { objects: [{ label: 'dog' }, dog(RIGHT)] })).toEqual([]);
  });

  it('says which object is missing and which is too many', () => {
    expect(check({ objects: [dog(LEFT)] }, { objects: [dog(LEFT), dog(RIGHT)] })).toEqual([
      'does not give "dog" 0.8 ± 0.05 at [0.6, 0.1, 0.9, 0.5] (IoU ≥ 0.8)',
    ]);
    expect(check({ objects: [dog(LEFT), dog(RIGHT)] }, { objects: [dog(LEFT)] })).toEqual([
      'gives "dog" 0.8 at [0.6, 0.1, 0.9, 0.5], which is not expected',
    ]);
    expect(check({ objects: [dog(LEFT), dog(SHIFTED)] }, { objects: [dog(LEFT)] })).toHaveLength(1);
    expect(check({ objects: [] }, { objects: [] })).toEqual([]);
    expect(check({ objects: [dog(LEFT)] }, {})).toEqual([]);
  });

  it('takes no object of another label, another score, or another place', () => {
    const one = (box: Box, score?: number) => check({ objects: [dog(box, score)] }, { objects: [dog(LEFT)] });
    expect(one(SHIFTED)).toEqual([]);
    expect(one(RIGHT)).toHaveLength(2);
    expect(one(LEFT, 0.5)).toHaveLength(2);
    expect(check({ objects: [dog(LEFT)] }, { objects: [{ ...dog(LEFT), label: 'cat' }] })).toHaveLength(2);
    expect(check({ objects: [dog(SHIFTED)] }, { objects: [dog(LEFT)] }, { iou: 0.99 })).toHaveLength(2);
  });

  it('compares values by name', () => {
    const values = { speed: 3.0005, turn: 1 };
    expect(check({ values }, { values: { speed: 3 } })).toEqual([]);
    expect(check({ values }, { values: { turn: 1.1 } })).toEqual(['gives turn = 1; expected 1.1 ± 0.001']);
    expect(check({ values }, { values: { other: 1 } })).toEqual(['gives other = nothing; expected 1 ± 0.001']);
  });

  it('knows how much two boxes are one', () => {
    expect(iou([0, 0, 1, 1], [0, 0, 1, 1])).toBe(1);
    expect(iou([0, 0, 0.5, 1], [0, 0, 1, 1])).toBe(0.5);
    expect(iou([0, 0, 0.5, 1], [0.5, 0, 1, 1])).toBe(0);
    expect(iou([0.2, 0.2, 0.2, 0.2], [0.2, 0.2, 0.2, 0.2])).toBe(0);
  });
});
