import { createBandPass, designBandPass } from './butterworth.ts';

// R peaks of an electrocardiogram after Pan & Tompkins, "A real-time QRS detection algorithm" (IEEE Trans. Biomed. Eng.
// 32(3), 1985): band-pass → derivative → square → integrate over 150 ms → thresholds that follow the peaks of signal and
// noise. Numbers without a word are theirs. Everything looks a bounded way ahead, so that a stream finds the same peaks.

export interface PeakSpec {
  readonly band_hz: readonly [number, number];
  /** From one peak to the next at least so much. */
  readonly refractory_ms: number;
}

const ORDER = 2;
const INTEGRATED_S = 0.15;
const LEARN_S = 2;
/** A wave so soon after a beat that rises half as fast is the beat's T wave. */
const T_WAVE_S = 0.36;
/** Where no beat came for this share of the mean of the last eight intervals, the highest that was left out is asked again. */
const MISSED = 1.66;
const INTERVALS = 8;
/** Ours: after so long without a beat the thresholds are learnt again; one great disturbance would keep them up forever. */
const RELEARN_S = 4;

interface Candidate {
  /** Where the integrated energy is highest: behind the beat. */
  readonly at: number;
  readonly energy: number;
  /** The steepest rise in it, squared. */
  readonly slope: number;
}

/**
 * Where the heart beats: the highest sample of each beat (upright R waves). A signal without beats is not recognised as
 * one: the thresholds are relative. A beat is found where the signal goes on behind it for the refractory time.
 * @returns positions, ascending
 */
export function findPeaks(samples: Float32Array, rateHz: number, spec: PeakSpec): number[] {
  const { squared, energy, delay } = energyOf(samples, rateHz, spec);
  const window = Math.max(1, Math.round(INTEGRATED_S * rateHz));
  const refractory = Math.max(1, Math.round((spec.refractory_ms / 1000) * rateHz));
  const beats = createThresholds(energy, rateHz);
  const peaks: number[] = [];
  for (const at of maximaOf(energy, refractory)) {
    const slope = squared.subarray(Math.max(0, at - window + 1), at + 1).reduce((most, x) => Math.max(most, x), 0);
    for (const beat of beats({ at, energy: energy[at] as number, slope })) {
      const last = peaks.at(-1);
      const from = Math.max(0, beat.at - window - delay, last === undefined ? 0 : last + refractory);
      if (from <= beat.at) peaks.push(highest(samples, from, beat.at));
    }
  }
  return peaks;
}

/** The energy of what is as steep and as short as a beat, and by how many samples the band-pass delays it. */
function energyOf(samples: Float32Array, rateHz: number, { band_hz: [low, high] }: PeakSpec) {
  const band = createBandPass(designBandPass(ORDER, low, high, rateHz))(Float64Array.from(samples));
  const at = (i: number) => band[Math.max(0, i)] as number;
  const squared = band.map((x, i) => ((2 * x + at(i - 1) - at(i - 3) - 2 * at(i - 4)) / 8) ** 2);
  const window = Math.max(1, Math.round(INTEGRATED_S * rateHz));
  let sum = 0;
  const energy = squared.map((x, i) => {
    sum += x - (i < window ? 0 : (squared[i - window] as number));
    // What rounding leaves of a loud passage is no energy.
    return Math.max(0, sum / window);
  });
  // Group delay of a Butterworth band-pass of this order at its centre: √2 · 2 / (2π · width); the derivative adds two.
  return { squared, energy, delay: Math.ceil((Math.SQRT2 * rateHz) / (Math.PI * (high - low))) + 2 };
}

/** The places where nothing within `reach` on either side is higher; of equal ones the first. */
function* maximaOf(values: Float64Array, reach: number): Generator<number> {
  // Indices within reach, their values falling: the highest stands first.
  let falling: number[] = [];
  let first = 0;
  for (let i = 0; i < values.length; i++) {
    const value = values[i] as number;
    while (falling.length > first && (values[falling.at(-1) as number] as number) < value) falling.pop();
    falling.push(i);
    if ((falling[first] as number) < i - 2 * reach) first++;
    if (first > 1024) {
      falling = falling.slice(first);
      first = 0;
    }
    const centre = i - reach;
    if (falling[first] === centre && (values[centre] as number) > 0) yield centre;
  }
}

/** Candidates one after the other → the beats that are sure by then, in order. */
function createThresholds(energy: Float64Array, rateHz: number): (candidate: Candidate) => Candidate[] {
  let { signal, noise } = learn(energy, 0, LEARN_S * rateHz);
  let last: Candidate | undefined;
  let since = 0;
  let intervals: number[] = [];
  let leftOut: Candidate[] = [];
  const threshold = () => noise + 0.25 * (signal - noise);

  function take(beat: Candidate, share: number): Candidate {
    signal += share * (beat.energy - signal);
    if (last !== undefined) intervals = [...intervals, beat.at - last.at].slice(-INTERVALS);
    last = beat;
    since = beat.at;
    leftOut = leftOut.filter(({ at }) => at > beat.at);
    return beat;
  }

  /** A beat that was left out, where one must have been. */
  function missed(now: number): Candidate | undefined {
    const mean = intervals.length === 0 ? rateHz : intervals.reduce((sum, one) => sum + one, 0) / intervals.length;
    if (now - since <= MISSED * mean) return undefined;
    const [best] = leftOut.toSorted((a, b) => b.energy - a.energy);
    return best !== undefined && best.energy > threshold() / 2 ? best : undefined;
  }

  return (candidate) => {
    const found: Candidate[] = [];
    for (let beat = missed(candidate.at); beat !== undefined; beat = missed(candidate.at)) found.push(take(beat, 0.25));
    if (candidate.at - since > RELEARN_S * rateHz) {
      ({ signal, noise } = learn(energy, candidate.at - LEARN_S * rateHz, candidate.at));
      [last, since, intervals, leftOut] = [undefined, candidate.at, [], []];
    }
    const soon = last !== undefined && candidate.at - last.at < T_WAVE_S * rateHz;
    const tWave = soon && candidate.slope < (last?.slope ?? 0) / 4;
    if (!tWave && candidate.energy > threshold()) return [...found, take(candidate, 0.125)];
    noise += 0.125 * (candidate.energy - noise);
    if (!tWave) leftOut.push(candidate);
    return found;
  };
}

/** What signal and noise are like, from some seconds: a third of the highest, half of the mean. */
function learn(energy: Float64Array, from: number, to: number) {
  const part = energy.subarray(Math.max(0, Math.floor(from)), Math.ceil(to));
  const sum = part.reduce((all, x) => all + x, 0);
  return { signal: part.reduce((most, x) => Math.max(most, x), 0) / 3, noise: sum / Math.max(1, part.length) / 2 };
}

function highest(samples: Float32Array, from: number, to: number): number {
  let best = from;
  for (let i = from + 1; i <= to; i++) if ((samples[i] as number) > (samples[best] as number)) best = i;
  return best;
}
