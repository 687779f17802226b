import { BrinkError, type SignalInput } from '@brink/protocol';
import { createBandPass, designBandPass, readFilterState, writeFilterState } from './butterworth.ts';
import type { MarkReader, MarkWriter } from './mark.ts';
import { createResampler } from './resampler.ts';
import { createMedian } from './smooth.ts';

/** What is done to one channel before anything is cut out of it. */
export interface ConditioningSpec {
  readonly name: string;
  readonly fromHz: number;
  readonly toHz: number;
  readonly median?: SignalInput['median'];
  readonly band_pass?: SignalInput['band_pass'];
}

/** resample → median → band-pass (causal), as the samples come: what `resample` and `signalUnits` do to a whole file. */
export interface Conditioning {
  /** Index at the new rate of the first sample that it will return. */
  readonly begin: number;
  /**
   * @returns the samples that nothing that comes later can change
   * @throws BrinkError E_DECODE where they leave float32
   */
  readonly run: (samples: Float32Array) => Float32Array;
  readonly write: (mark: MarkWriter) => void;
}

/** @param from the position of the first sample that will come, or the mark of another one */
export function createConditioning(spec: ConditioningSpec, from: number | MarkReader): Conditioning {
  const { fromHz, toHz, median: length, band_pass, name } = spec;
  const resampler = fromHz === toHz ? undefined : createResampler(fromHz, toHz, from);
  const causal = band_pass?.phase === 'causal' ? band_pass : undefined;
  const median =
    length === undefined ? undefined : createMedian(length, typeof from === 'number' ? edgeAt(from) : medianFrom(from));
  const filter =
    causal &&
    createBandPass(
      designBandPass(causal.order, causal.low_hz, causal.high_hz, toHz),
      typeof from === 'number' ? undefined : readFilterState(from),
    );
  const begin = typeof from === 'number' ? (resampler?.begin ?? from) + skippedAt(from, length) : from.number();
  let next = begin;

  const run = (samples: Float32Array) => {
    let out = resampler === undefined ? samples : resampler.run(samples);
    if (median !== undefined || filter !== undefined) {
      let values = Float64Array.from(out);
      if (median !== undefined) values = median.run(values);
      if (filter !== undefined) values = filter.run(values);
      out = toFloat32(values, name);
    }
    next += out.length;
    return out;
  };
  const write = (mark: MarkWriter) => {
    resampler?.write(mark);
    if (median !== undefined) {
      mark.number(next);
      mark.doubles(median.last());
    }
    if (filter !== undefined) writeFilterState(mark, filter.state());
    mark.number(next);
  };
  return { begin, run, write };
}

/** The first median that needs no edge; at position 0 the edge is that of a file. */
function skippedAt(position: number, length: number | undefined): number {
  return position === 0 || length === undefined ? 0 : (length - 1) / 2;
}

/** Before the first sample there is nothing to go on from but where it will stand. */
function medianFrom(mark: MarkReader): Parameters<typeof createMedian>[1] {
  const begin = mark.number();
  const last = mark.doubles();
  return last.length > 0 ? last : edgeAt(begin);
}

const edgeAt = (position: number) => (position === 0 ? 'edge' : 'middle');

export function toFloat32(values: Float64Array, channel: string | undefined): Float32Array<ArrayBuffer> {
  const out = Float32Array.from(values);
  if (out.every(Number.isFinite)) return out;
  throw new BrinkError(
    'E_DECODE',
    `"${channel}" is no finite float32 any more when filtered; expected smaller numbers`,
  );
}
