import { describe, expect, it } from 'vitest';
import { normaliseMinMax, normalisePeak, normaliseZScore } from './normalise.ts';
import { expectNear, reference } from './reference.testing.ts';

const normalised = (normalise: (samples: Float32Array) => void, values: readonly number[]) => {
  const samples = Float32Array.from(values);
  normalise(samples);
  return samples;
};

describe('normalisation', () => {
  const { given, 'z-score': zScore, 'min-max': minMax } = reference.numbers;

  it('by z-score and by range is that of SciPy and NumPy', () => {
    expectNear(normalised(normaliseZScore, given), zScore, 1e-6);
    expectNear(normalised(normaliseMinMax, given), minMax, 1e-6);
  });

  it('by peak divides by the largest, whatever its sign', () => {
    expect([...normalised(normalisePeak, [0.25, -0.5, 0])]).toEqual([0.5, -1, 0]);
  });

  it('makes zeros, not NaN, of what does not vary', () => {
    expect([...normalised(normalisePeak, [0, 0])]).toEqual([0, 0]);
    // 0.1 has no exact mean of three in floating point.
    expect([...normalised(normaliseZScore, [0.1, 0.1, 0.1])]).toEqual([0, 0, 0]);
    expect([...normalised(normaliseMinMax, [7, 7])]).toEqual([0, 0]);
  });
});
