import type { MarkReader, MarkWriter } from './mark.ts';

// The thresholds of Pan & Tompkins (1985), which follow the peaks of signal and noise. Numbers without a word are theirs.

/** So much is learnt from before the first decision. */
export const LEARN_S = 2;
/** A wave so soon after a beat that rises half as fast is the beat's T wave. */
const T_WAVE_S = 0.36;
/** Where no beat came for this share of the mean of the last eight intervals, the highest that was left out is asked again. */
const MISSED = 1.66;
const INTERVALS = 8;
/**
 * Ours: after so long without a beat the thresholds are learnt again; one great disturbance would keep them up forever.
 * Nor is anything older asked again, so that a stream need not remember it.
 */
export const PAUSE_S = 4;

export interface Candidate {
  /** Where the integrated energy is highest: behind the beat. */
  readonly at: number;
  readonly energy: number;
  /** The steepest rise in it, squared. */
  readonly slope: number;
}

/** What signal and noise are like in the energy from one position to another. */
export type Learn = (from: number, to: number) => { readonly signal: number; readonly noise: number };

export interface Beats {
  /** @returns the beats that are sure by this candidate, in order */
  readonly next: (candidate: Candidate) => Candidate[];
  /** @returns the oldest candidate that may still become a beat when those from `now` on come, or `now` */
  readonly oldest: (now: number) => number;
  readonly write: (mark: MarkWriter) => void;
}

interface State {
  signal: number;
  noise: number;
  last: Candidate | undefined;
  since: number;
  intervals: number[];
  leftOut: Candidate[];
}

/** @param from the position where the signal begins (thresholds are learnt from there at once), or a mark */
export function createBeats(rateHz: number, learn: Learn, from: number | MarkReader): Beats {
  const state = typeof from === 'number' ? begun(from, learn(from, from + LEARN_S * rateHz)) : readState(from);
  const threshold = () => state.noise + 0.25 * (state.signal - state.noise);

  function take(beat: Candidate, share: number): Candidate {
    state.signal += share * (beat.energy - state.signal);
    if (state.last !== undefined) {
      state.intervals = [...state.intervals, beat.at - state.last.at].slice(-INTERVALS);
    }
    state.last = beat;
    state.since = beat.at;
    state.leftOut = state.leftOut.filter(({ at }) => at > beat.at);
    return beat;
  }

  /** A beat that was left out, where one must have been. */
  function missed(now: number): Candidate | undefined {
    const { intervals } = state;
    const mean = intervals.length === 0 ? rateHz : intervals.reduce((sum, one) => sum + one, 0) / intervals.length;
    if (now - state.since <= MISSED * mean) return undefined;
    const [best] = state.leftOut.toSorted((a, b) => b.energy - a.energy);
    return best !== undefined && best.energy > threshold() / 2 ? best : undefined;
  }

  const next = (candidate: Candidate) => {
    const found: Candidate[] = [];
    state.leftOut = state.leftOut.filter(({ at }) => at >= candidate.at - PAUSE_S * rateHz);
    for (let beat = missed(candidate.at); beat !== undefined; beat = missed(candidate.at)) found.push(take(beat, 0.25));
    if (candidate.at - state.since > PAUSE_S * rateHz) {
      Object.assign(state, begun(candidate.at, learn(candidate.at - LEARN_S * rateHz, candidate.at)));
    }
    const { last } = state;
    const soon = last !== undefined && candidate.at - last.at < T_WAVE_S * rateHz;
    const tWave = soon && candidate.slope < last.slope / 4;
    if (!tWave && candidate.energy > threshold()) return [...found, take(candidate, 0.125)];
    state.noise += 0.125 * (candidate.energy - state.noise);
    if (!tWave) state.leftOut.push(candidate);
    return found;
  };

  return {
    next,
    oldest: (now) => Math.min(now, state.leftOut.find(({ at }) => at >= now - PAUSE_S * rateHz)?.at ?? now),
    write: (mark) => writeState(mark, state),
  };
}

function begun(since: number, { signal, noise }: ReturnType<Learn>): State {
  return { signal, noise, last: undefined, since, intervals: [], leftOut: [] };
}

function writeState(mark: MarkWriter, { signal, noise, last, since, intervals, leftOut }: State): void {
  mark.doubles([signal, noise, since]);
  mark.doubles(intervals);
  writeCandidates(mark, last === undefined ? [] : [last]);
  writeCandidates(mark, leftOut);
}

function readState(mark: MarkReader): State {
  const [signal, noise, since] = mark.doubles() as unknown as [number, number, number];
  const intervals = [...mark.doubles()];
  const [last] = readCandidates(mark);
  return { signal, noise, since, intervals, last, leftOut: readCandidates(mark) };
}

export function writeCandidates(mark: MarkWriter, candidates: readonly Candidate[]): void {
  mark.doubles(candidates.flatMap(({ at, energy, slope }) => [at, energy, slope]));
}

export function readCandidates(mark: MarkReader): Candidate[] {
  const values = mark.doubles();
  return Array.from({ length: values.length / 3 }, (_, i) => {
    const [at, energy, slope] = values.subarray(3 * i, 3 * i + 3) as unknown as [number, number, number];
    return { at, energy, slope };
  });
}
