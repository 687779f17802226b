import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { SignalInputSchema } from '@brink/protocol';
import { describe, expect, it } from 'vitest';
import neurokit from '../fixtures/peaks.json' with { type: 'json' };
import { normaliseMinMax } from './normalise.ts';
import { findPeaks } from './peaks.ts';
import { seeded } from './reference.testing.ts';
import { signalUnits } from './signal.ts';
import { floatsOf } from './units.testing.ts';

const SPEC = { band_hz: [5, 15], refractory_ms: 250 } as const;
const BEATS = join(import.meta.dirname, '../../../../shared/data/ecg-heartbeat/ptbdb_normal_sample.csv');

/** Waves of one beat: height, and where and how wide it is in seconds (after McSharry et al. 2003). */
const WAVES = [
  [0.12, -0.2, 0.025],
  [-0.12, -0.03, 0.01],
  [1, 0, 0.011],
  [-0.25, 0.03, 0.01],
  [0.3, 0.25, 0.05],
] as const;

/** @param at peaks in seconds */
function heart(at: readonly number[], rateHz: number, seconds: number, extra: (t: number) => number = () => 0) {
  return Float32Array.from({ length: Math.round(seconds * rateHz) }, (_, i) => {
    const t = i / rateHz;
    let sum = extra(t);
    for (const beat of at) {
      if (Math.abs(t - beat) > 0.6) continue;
      for (const [height, from, width] of WAVES) sum += height * Math.exp(-((t - beat - from) ** 2) / (2 * width ** 2));
    }
    return sum;
  });
}

/** Beats from `from` on, `intervals` apart, as often as fits. */
function times(from: number, intervals: readonly number[], until: number): number[] {
  const out = [];
  for (let t = from, i = 0; t < until; t += intervals[i++ % intervals.length] as number) out.push(t);
  return out;
}

/** What was found but is none, and what was not found, but for the last half second. */
function wrong(found: readonly number[], expected: readonly number[], length: number, rateHz: number, near = 2) {
  const has = (all: readonly number[], one: number) => all.some((other) => Math.abs(other - one) <= near);
  return [
    ...found.filter((one) => !has(expected, one)).map((one) => `${one} is none`),
    ...expected.filter((one) => one < length - rateHz / 2 && !has(found, one)).map((one) => `${one} is missing`),
  ];
}

describe('peaks of a heart', () => {
  it.each([
    ['at rest', 125, [0.83, 0.86, 0.8]],
    ['slow', 250, [1.4, 1.5]],
    ['fast', 360, [0.36, 0.35]],
    ['irregular, with early beats', 125, [0.9, 0.5, 1.2, 0.7, 1.0]],
    ['sampled finely', 1000, [0.75]],
  ])('are found within 1 sample at 125 Hz (8 ms): %s, %d Hz', (_, rateHz, intervals) => {
    const at = times(0.5, intervals, 29.4);
    const samples = heart(at, rateHz, 30);
    const expected = at.map((t) => Math.round(t * rateHz));
    expect(wrong(findPeaks(samples, rateHz, SPEC), expected, samples.length, rateHz, rateHz * 0.008)).toEqual([]);
  });

  it('are found through noise, mains hum and a baseline that wanders', () => {
    const random = seeded(11);
    const extra = (t: number) =>
      0.5 * Math.sin(2 * Math.PI * 0.3 * t) + 0.05 * Math.sin(2 * Math.PI * 50 * t) + 0.2 * (random() - 0.5);
    const at = times(0.7, [0.8, 0.95], 59);
    const samples = heart(at, 250, 60, extra);
    const expected = at.map((t) => Math.round(t * 250));
    expect(wrong(findPeaks(samples, 250, SPEC), expected, samples.length, 250, 4)).toEqual([]);
  });

  it('that are small among large ones are looked for again', () => {
    const at = times(0.7, [0.8], 29);
    const samples = heart(at, 250, 30);
    const small = [10, 20].map((k) => Math.round(at[k]! * 250));
    for (const peak of small) for (let i = peak - 60; i < peak + 60; i++) samples[i] = 0.45 * samples[i]!;
    const expected = at.map((t) => Math.round(t * 250));
    expect(wrong(findPeaks(samples, 250, SPEC), expected, samples.length, 250)).toEqual([]);
  });

  it('are found again after a disturbance a hundred times as high, within some seconds', () => {
    const at = times(0.7, [0.8], 39);
    const samples = heart(at, 125, 40, (t) => (t > 9.9 && t < 10.1 ? 100 : 0));
    const found = findPeaks(samples, 125, SPEC).filter((one) => one > 17 * 125);
    const expected = at.filter((t) => t > 17).map((t) => Math.round(t * 125));
    expect(wrong(found, expected, samples.length, 125)).toEqual([]);
  });

  it('are what a stream finds: what comes later changes none of those that are sure', () => {
    const random = seeded(12);
    const at = times(0.7, [0.8, 1.3, 0.5], 39);
    const samples = heart(at, 125, 40, (t) => (t > 20 && t < 20.2 ? 20 : 0.3 * (random() - 0.5)));
    const whole = findPeaks(samples, 125, SPEC);
    for (let seconds = 2; seconds < 40; seconds += 0.37) {
      const found = findPeaks(samples.subarray(0, Math.round(seconds * 125)), 125, SPEC);
      expect(found).toEqual(whole.slice(0, found.length));
      // None is found later than it takes to know that one was missed, and to learn again.
      expect(whole.filter((peak) => peak < (seconds - 5) * 125).length).toBeLessThanOrEqual(found.length);
    }
  });

  it('are none where nothing moves', () => {
    expect(findPeaks(new Float32Array(2000).fill(3), 125, SPEC)).toEqual([]);
    for (const length of [0, 1, 40]) expect(findPeaks(heart([0.1], 125, length / 125), 125, SPEC)).toEqual([]);
  });
});

it.each(neurokit)('peaks are those of NeuroKit2 within a sample: $heart_rate beats a minute, $rate_hz Hz', (of) => {
  const { rate_hz: rate, samples, peaks } = of;
  const inside = (all: readonly number[]) => all.filter((one) => one > rate / 4 && one < samples.length - rate / 2);
  const found = inside(findPeaks(Float32Array.from(samples), rate, SPEC));
  expect(found.length).toBe(inside(peaks).length);
  expect(wrong(found, inside(peaks), samples.length, rate, 1)).toEqual([]);
});

describe.skipIf(!existsSync(BEATS) && 'there is no ../shared with recorded beats')('a hundred recorded beats', () => {
  /** From its R peak to the next, which the recording has as well. */
  const beats = (existsSync(BEATS) ? readFileSync(BEATS, 'utf8').trim().split('\n') : []).map((line) => {
    const beat = line.split(',').map(Number).slice(0, 187);
    const top = beat.indexOf(Math.max(...beat.slice(0, 4)));
    const next = beat.indexOf(Math.max(...beat.slice(60)), 60);
    return beat.slice(top, next);
  });
  const samples = Float32Array.from([...new Array(125).fill(0.1), ...beats.flat()]);
  const starts = beats.map((_, b) => 125 + beats.slice(0, b).flat().length);

  it('in a row are found, each of them', () => {
    expect(wrong(findPeaks(samples, 125, SPEC), starts, samples.length, 125)).toEqual([]);
  });

  it('are cut out again as the model knows them, padded to 187, with the rate of each', () => {
    const signal = SignalInputSchema.parse({
      rate_hz: 125,
      channels: ['ecg'],
      trigger: { peaks: { band_hz: [5, 15], refractory_ms: 250 } },
      before: 0,
      window: 187,
      pad: 'zero',
      until: 'next-peak',
      rate_as: 'bpm',
      normalise: 'min-max',
    });
    const units = signalUnits([samples], signal);
    const found = floatsOf(units);
    expect(units.values!.length).toBe(found.length);
    expect(found.length).toBeGreaterThan(97);
    let same = 0;
    for (const [b, unit] of found.entries()) {
      const expected = Float32Array.from(beats[b]!);
      expect(Math.abs(units.values![b]!['bpm']! - (60 * 125) / expected.length)).toBeLessThan(2);
      normaliseMinMax(expected);
      const worst = Math.max(...Array.from({ length: 187 }, (_, i) => Math.abs(unit[i]! - (expected[i] ?? 0))));
      if (worst < 1e-6) same++;
    }
    // The others begin one sample beside: where two samples of an R wave are nearly the same.
    expect(same).toBeGreaterThan(90);
  });
});
