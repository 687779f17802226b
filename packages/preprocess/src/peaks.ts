import { type Beats, type Candidate, createBeats, LEARN_S, PAUSE_S, readCandidates, writeCandidates } from './beats.ts';
import { createBandPass, designBandPass, readFilterState, writeFilterState } from './butterworth.ts';
import type { MarkReader, MarkWriter } from './mark.ts';
import { createTrail, type Trail } from './trail.ts';

// R peaks of an electrocardiogram after Pan & Tompkins, "A real-time QRS detection algorithm" (IEEE Trans. Biomed. Eng.
// 32(3), 1985): band-pass → derivative → square → integrate over 150 ms → thresholds that follow the peaks of signal and
// noise. Everything looks a bounded way ahead and back, so that a stream finds the same peaks.

export interface PeakSpec {
  readonly band_hz: readonly [number, number];
  /** From one peak to the next at least so much. */
  readonly refractory_ms: number;
}

const ORDER = 2;
const INTEGRATED_S = 0.15;
/** So many samples are gone through at a time: what is kept beyond what is needed is no more. */
const BLOCK = 4096;

/**
 * Where the heart beats: the highest sample of each beat (upright R waves). A signal without beats is not recognised as
 * one: the thresholds are relative. A beat is found where the signal goes on behind it for the refractory time.
 * @returns positions, ascending
 */
export function findPeaks(samples: Float32Array, rateHz: number, spec: PeakSpec): number[] {
  const finder = createPeakFinder(rateHz, spec, 0);
  return [...finder.push(samples), ...finder.end()];
}

/** `findPeaks`, as the samples come. */
export interface PeakFinder {
  /** @returns the peaks that are sure by now and were not before */
  readonly push: (samples: Float32Array) => number[];
  /** @returns what a recording that ends here has besides: one that is too short to learn from learns from what it has */
  readonly end: () => number[];
  /** No peak that is found later lies before. */
  readonly earliest: number;
  readonly write: (mark: MarkWriter) => void;
}

/** @param from the position of the first sample that will come, or the mark of another one */
export function createPeakFinder(rateHz: number, spec: PeakSpec, from: number | MarkReader): PeakFinder {
  const refractory = Math.max(1, Math.round((spec.refractory_ms / 1000) * rateHz));
  const behind = Math.max(1, Math.round(INTEGRATED_S * rateHz)) + delayOf(rateHz, spec);
  const begin = typeof from === 'number' ? from : from.number();
  const samples = createTrail(from, true);
  const candidates = createCandidates(rateHz, spec, refractory, from);
  let last = typeof from === 'number' ? -Infinity : from.number();
  let waiting = typeof from === 'number' ? [] : readCandidates(from);
  let beats: Beats | undefined =
    typeof from !== 'number' && from.number() === 1 ? createBeats(rateHz, candidates.learn, from) : undefined;

  const peakOf = (beat: Candidate): number[] => {
    const first = Math.max(begin, beat.at - behind, last + refractory);
    if (first > beat.at) return [];
    last = first;
    for (let i = first + 1; i <= beat.at; i++) if (samples.at(i) > samples.at(last)) last = i;
    return [last];
  };
  const decide = (found: readonly Candidate[], sure: boolean): number[] => {
    waiting.push(...found);
    if (!sure) return [];
    beats ??= createBeats(rateHz, candidates.learn, begin);
    const { next } = beats;
    const peaks = waiting.flatMap((candidate) => next(candidate).flatMap(peakOf));
    waiting = [];
    return peaks;
  };
  const earliest = () => {
    const ahead = waiting[0]?.at ?? samples.end - refractory;
    return Math.max(begin, (beats?.oldest(ahead) ?? ahead) - behind, last + refractory);
  };
  const push = (block: Float32Array) => {
    for (const sample of block) samples.push(sample);
    const peaks = decide(candidates.push(block), samples.end - begin >= LEARN_S * rateHz);
    samples.drop(earliest());
    return peaks;
  };
  return {
    push: (all) => {
      const peaks: number[] = [];
      for (let i = 0; i < all.length; i += BLOCK) peaks.push(...push(all.subarray(i, i + BLOCK)));
      return peaks;
    },
    end: () => decide([], true),
    get earliest() {
      return earliest();
    },
    write: (mark) => {
      mark.number(begin);
      samples.write(mark);
      candidates.write(mark);
      mark.number(last);
      writeCandidates(mark, waiting);
      mark.number(beats === undefined ? 0 : 1);
      beats?.write(mark);
    },
  };
}

/** @returns how long a mark of a finder can be, in bytes */
export function peakMarkBytesMax(rateHz: number, spec: PeakSpec): number {
  const reach = (spec.refractory_ms / 1000) * rateHz;
  const behind = INTEGRATED_S * rateHz;
  const samples = PAUSE_S * rateHz + reach + behind + delayOf(rateHz, spec);
  const energies = Math.max(2 * reach, reach + LEARN_S * rateHz) + reach + behind;
  // Of the indices of what falls, at most one per sample within reach; candidates are at least a reach apart.
  return 4 * samples + 8 * (energies + 2 * reach) + 24 * (PAUSE_S * (1000 / spec.refractory_ms)) + 1024;
}

/** Group delay of a Butterworth band-pass of this order at its centre: √2 · 2 / (2π · width); the derivative adds two. */
function delayOf(rateHz: number, { band_hz: [low, high] }: PeakSpec): number {
  return Math.ceil((Math.SQRT2 * rateHz) / (Math.PI * (high - low))) + 2;
}

/** The energy of what is as steep and as short as a beat, and where it is highest within `reach` on either side. */
function createCandidates(rateHz: number, { band_hz }: PeakSpec, reach: number, from: number | MarkReader) {
  const window = Math.max(1, Math.round(INTEGRATED_S * rateHz));
  const begin = typeof from === 'number' ? from : from.number();
  const filter = createBandPass(
    designBandPass(ORDER, ...band_hz, rateHz),
    typeof from === 'number' ? undefined : readFilterState(from),
  );
  const [band, squared, energy] = [createTrail(from), createTrail(from), createTrail(from)];
  let sum = typeof from === 'number' ? 0 : from.number();
  const maxima = createMaxima(energy, reach, from);

  /** What neither a candidate that is still to come looks back to, nor who learns from what lies before it. */
  const drop = () => {
    band.drop(band.end - 4);
    squared.drop(squared.end - reach - window);
    energy.drop(energy.end - Math.ceil(Math.max(2 * reach, reach + LEARN_S * rateHz)) - 1);
  };
  const push = (samples: Float32Array): Candidate[] => {
    drop();
    const found: Candidate[] = [];
    for (const value of filter.run(Float64Array.from(samples))) {
      const i = band.end;
      const at = (k: number) => band.at(Math.max(begin, k));
      band.push(value);
      squared.push(((2 * value + at(i - 1) - at(i - 3) - 2 * at(i - 4)) / 8) ** 2);
      sum += squared.at(i) - (i - begin < window ? 0 : squared.at(i - window));
      // What rounding leaves of a loud passage is no energy.
      energy.push(Math.max(0, sum / window));
      const centre = maxima.next();
      if (centre === undefined) continue;
      const slope = largest(squared, Math.max(begin, centre - window + 1), centre + 1);
      found.push({ at: centre, energy: energy.at(centre), slope });
    }
    return found;
  };
  /** A third of the highest, half of the mean. */
  const learn = (first: number, end: number) => {
    const start = Math.max(begin, Math.floor(first));
    const to = Math.min(energy.end, Math.ceil(end));
    let total = 0;
    for (let i = start; i < to; i++) total += energy.at(i);
    return { signal: largest(energy, start, to) / 3, noise: total / Math.max(1, to - start) / 2 };
  };
  const write = (mark: MarkWriter) => {
    drop();
    mark.number(begin);
    writeFilterState(mark, filter.state());
    for (const trail of [band, squared, energy]) trail.write(mark);
    mark.number(sum);
    maxima.write(mark);
  };
  return { push, learn, write };
}

function largest(values: Trail, from: number, to: number): number {
  let most = 0;
  for (let i = from; i < to; i++) most = Math.max(most, values.at(i));
  return most;
}

/** The places where nothing within `reach` on either side is higher; of equal ones the first. */
function createMaxima(values: Trail, reach: number, from: number | MarkReader) {
  // Indices within reach, their values falling: the highest stands first.
  let falling = typeof from === 'number' ? [] : [...from.doubles()];
  let first = 0;
  /** Looks at the value that was pushed last. */
  const next = (): number | undefined => {
    const i = values.end - 1;
    const value = values.at(i);
    while (falling.length > first && values.at(falling.at(-1) as number) < value) falling.pop();
    falling.push(i);
    if ((falling[first] as number) < i - 2 * reach) first++;
    if (first > 1024) {
      falling = falling.slice(first);
      first = 0;
    }
    const centre = i - reach;
    return falling[first] === centre && values.at(centre) > 0 ? centre : undefined;
  };
  return { next, write: (mark: MarkWriter) => mark.doubles(falling.slice(first)) };
}
