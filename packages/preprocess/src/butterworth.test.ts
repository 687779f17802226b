import { describe, expect, it } from 'vitest';
import { createBandPass, designBandPass, filterBothWays } from './butterworth.ts';
import { expectNear, offsetChirp, reference, seeded } from './reference.testing.ts';

const sectionsOf = (of: { order: number; low_hz: number; high_hz: number; rate_hz: number }) =>
  designBandPass(of.order, of.low_hz, of.high_hz, of.rate_hz);

describe('a band-pass', () => {
  it.each(reference.band_passes)('is sosfilt and sosfiltfilt of SciPy: order $order, $low_hz–$high_hz Hz', (of) => {
    const samples = offsetChirp(of.samples, of.rate_hz);
    expectNear(createBandPass(sectionsOf(of)).run(samples), of.causal, 1e-8);
    expectNear(filterBothWays(samples, sectionsOf(of)), of.zero, 1e-8);
  });

  it('carries its state: the pieces give what the whole gives, bit by bit', () => {
    const [of] = reference.band_passes;
    const samples = offsetChirp(500, 125);
    const whole = createBandPass(sectionsOf(of!)).run(samples);
    const random = seeded(3);
    const { run: piece } = createBandPass(sectionsOf(of!));
    const found: number[] = [];
    for (let at = 0; at < 500; ) {
      const end = at + Math.floor(random() * 40);
      found.push(...piece(samples.subarray(at, end)));
      at = end;
    }
    expect(found).toEqual([...whole]);
  });

  it('makes nothing of a constant, from the first sample on, and of nothing', () => {
    const sections = designBandPass(3, 5, 15, 125);
    const constant = new Float64Array(100).fill(1000);
    expectNear(createBandPass(sections).run(constant), new Float64Array(100), 1e-9);
    expectNear(filterBothWays(constant, sections), new Float64Array(100), 1e-9);
    for (const length of [0, 1, 2]) expect(filterBothWays(new Float64Array(length), sections).length).toBe(length);
  });
});
