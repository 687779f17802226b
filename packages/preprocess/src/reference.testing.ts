import { type Mfcc, MfccSchema } from '@brink/protocol';
import { expect } from 'vitest';
import json from '../fixtures/reference.json' with { type: 'json' };

interface SpectrumReference {
  rate_hz: number;
  samples: number;
  mfcc: object;
  frames: number;
  values: number[];
}

interface Reference {
  hann: { length: number; values: number[] };
  mel: { rate_hz: number; mels: number; fft: number; low_hz: number; high_hz: number; values: number[] };
  spectra: SpectrumReference[];
  resampled: { rate_hz: number; to_hz: number; samples: number; values: number[] }[];
  band_passes: {
    order: number;
    low_hz: number;
    high_hz: number;
    rate_hz: number;
    samples: number;
    causal: number[];
    zero: number[];
  }[];
  medians: { length: number; samples: number; values: number[] }[];
  detrended: { kind: string; samples: number; values: number[] }[];
  numbers: { given: number[]; 'z-score': number[]; 'min-max': number[] };
}

/** Numbers of TensorFlow and SciPy; fixtures/make.py says how they were made. */
export const reference: Reference = json;

export function mfccOf(spec: object, layout: Mfcc['layout'] = 'time-bins'): Mfcc {
  return MfccSchema.parse({ ...spec, layout });
}

/** The signal of fixtures/make.py: a steady tone, a rising one, and noise (MINSTD), so that no band is empty. */
export function chirp(length: number, rateHz: number): Float32Array {
  let state = 1;
  return Float32Array.from({ length }, (_, i) => {
    const t = i / rateHz;
    state = (state * 48271) % 2147483647;
    const noise = 0.1 * (state / 2147483647 - 0.5);
    return 0.5 * Math.sin(2 * Math.PI * 440 * t) + 0.3 * Math.sin(2 * Math.PI * (300 + 900 * t) * t) + noise;
  });
}

/** The same, not around zero and with a slope, as sensors are. */
export function offsetChirp(length: number, rateHz: number): Float64Array {
  return Float64Array.from(chirp(length, rateHz), (sample, i) => sample + 2.5 + 0.01 * i);
}

/** mulberry32: the same numbers for the same seed, everywhere. */
export function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

export function expectNear(found: ArrayLike<number>, expected: ArrayLike<number>, tolerance: number): void {
  expect(found.length).toBe(expected.length);
  let worst = 0;
  for (let i = 0; i < expected.length; i++) {
    const difference = Math.abs((found[i] as number) - (expected[i] as number));
    worst = Math.max(worst, Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference);
  }
  expect(worst).toBeLessThanOrEqual(tolerance);
}
