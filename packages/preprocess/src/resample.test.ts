import { describe, expect, it } from 'vitest';
import { chirp, expectNear, reference } from './reference.testing.ts';
import { resample } from './resample.ts';

const RATES = [
  [44_100, 16_000],
  [48_000, 16_000],
  [8000, 16_000],
  [16_000, 8000],
  [22_050, 48_000],
  [16_000, 15_999.5],
  [100, 62.5],
] as const;

const tone = (length: number, hz: number, rateHz: number) =>
  Float32Array.from({ length }, (_, i) => Math.sin((2 * Math.PI * hz * i) / rateHz));

/** How strong `hz` is in the middle of the samples, and how much of them is something else. */
function measure(samples: Float32Array, hz: number, rateHz: number) {
  const skip = Math.ceil(samples.length / 4);
  const middle = samples.subarray(skip, samples.length - skip);
  let [re, im, total] = [0, 0, 0];
  // A Hann window, so that a tone that does not fit the cut leaks into nothing.
  let weights = 0;
  for (const [i, sample] of middle.entries()) {
    const weight = 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / middle.length);
    const angle = (2 * Math.PI * hz * (i + skip)) / rateHz;
    re += weight * sample * Math.sin(angle);
    im += weight * sample * Math.cos(angle);
    weights += weight;
  }
  const [sine, cosine] = [(2 * re) / weights, (2 * im) / weights];
  for (const [i, sample] of middle.entries()) {
    const angle = (2 * Math.PI * hz * (i + skip)) / rateHz;
    total += (sample - sine * Math.sin(angle) - cosine * Math.cos(angle)) ** 2;
  }
  return {
    amplitude: Math.hypot(sine, cosine),
    phase: Math.atan2(cosine, sine),
    rest: Math.sqrt(total / middle.length),
  };
}

describe('resampling', () => {
  it.each(reference.resampled)('is what SciPy makes with the same window, $rate_hz → $to_hz Hz', (of) => {
    expectNear(resample(chirp(of.samples, of.rate_hz), of.rate_hz, of.to_hz), of.values, 2e-4);
  });

  it('hands the samples on, bit by bit, where the rates are equal', () => {
    const samples = chirp(10, 16_000);
    expect(resample(samples, 16_000, 16_000)).toBe(samples);
  });

  it.each(RATES)('keeps frequency, amplitude (0.1 %%) and place of a tone, %d → %d Hz', (from, to) => {
    const nyquist = Math.min(from, to) / 2;
    const length = Math.ceil((2000 * from) / Math.min(from, to));
    for (const share of [0.013, 0.2, 0.5, 0.8]) {
      const hz = nyquist * share;
      const { amplitude, phase, rest } = measure(resample(tone(length, hz, from), from, to), hz, to);
      expect(Math.abs(amplitude - 1), `${hz} Hz`).toBeLessThan(1e-3);
      expect(Math.abs(phase), `${hz} Hz`).toBeLessThan(1e-3);
      expect(rest, `${hz} Hz`).toBeLessThan(1e-3);
    }
  });

  it.each([
    [44_100, 16_000],
    [48_000, 8000],
  ])('folds nothing down: what lies above the new half rate is gone by 70 dB, %d → %d Hz', (from, to) => {
    for (const share of [1.02, 1.3, 2]) {
      const out = resample(tone(6000, (to / 2) * share, from), from, to);
      const middle = out.subarray(out.length / 4, (out.length * 3) / 4);
      expect(Math.max(...middle.map(Math.abs)), `${share}`).toBeLessThan(10 ** (-70 / 20));
    }
  });

  it.each(RATES)('keeps a constant and the length in seconds, %d → %d Hz', (from, to) => {
    const length = Math.ceil((1000 * from) / Math.min(from, to));
    const out = resample(new Float32Array(length).fill(0.25), from, to);
    expect(out.length).toBe(Math.ceil((length * to) / from));
    const middle = out.subarray(out.length / 4, (out.length * 3) / 4);
    expectNear(middle, new Float32Array(middle.length).fill(0.25), 1e-6);
  });

  it('refuses rates that have nothing to do with each other, and results that fill the memory', () => {
    expect(() => resample(new Float32Array(10), 384_000, 1)).toThrow(/E_SHAPE.*ratio of at most 256/);
    expect(() => resample(new Float32Array(10), 0, 100)).toThrow(/E_SHAPE/);
    expect(() => resample(new Float32Array(2 ** 20), 100, 25_000)).toThrow(/E_TOO_LARGE/);
  });

  it('refuses samples that would leave float32, so that nothing holds what is no number', () => {
    const huge = Float32Array.from({ length: 400 }, (_, i) => (i % 100 < 50 ? 3.4e38 : -3.4e38));
    expect(() => resample(huge, 100, 250)).toThrow(/E_DECODE: sample \d+ at 250 Hz is no finite float32/);
  });

  it('makes nothing of nothing', () => {
    expect(resample(new Float32Array(0), 8000, 16_000).length).toBe(0);
  });
});
