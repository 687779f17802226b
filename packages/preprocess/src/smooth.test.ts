import { describe, expect, it } from 'vitest';
import { expectNear, offsetChirp, reference, seeded } from './reference.testing.ts';
import { detrend, medianFilter } from './smooth.ts';

describe('a median filter', () => {
  it.each(reference.medians)('is that of SciPy, also where it is longer than the signal: $length', (of) => {
    expectNear(medianFilter(offsetChirp(of.samples, 1000), of.length), of.values, 1e-8);
  });

  it('is the middle of the sorted neighbours, for any numbers, equal ones too', () => {
    const random = seeded(9);
    for (let round = 0; round < 100; round++) {
      const length = 1 + 2 * Math.floor(random() * 8);
      const half = (length - 1) / 2;
      const samples = Float64Array.from({ length: Math.floor(random() * 40) }, () => Math.floor(random() * 7) - 3);
      const at = (i: number) => samples[Math.max(0, Math.min(samples.length - 1, i))]!;
      const expected = samples.map(
        (_, i) => Float64Array.from({ length }, (_, k) => at(i - half + k)).sort()[half] as number,
      );
      expectNear(medianFilter(samples, length), expected, 0);
    }
  });
});

describe('a trend', () => {
  it.each(reference.detrended)('is taken away as SciPy does: $kind', (of) => {
    const samples = offsetChirp(of.samples, 1000);
    detrend(samples, of.kind as 'constant' | 'linear');
    expectNear(samples, of.values, 1e-8);
  });

  it('of one sample is that sample', () => {
    const one = Float64Array.of(7);
    detrend(one, 'linear');
    expect([...one]).toEqual([0]);
  });
});
