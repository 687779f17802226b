import type { SignalInput } from '@brink/protocol';
import { PAUSE_S } from './beats.ts';
import { findPeaks } from './peaks.ts';
import { windowsIn } from './windows.ts';

/** Where the units of a recording lie in its samples: `from` to before `to`, at most a window. */
export interface Cuts {
  readonly count: number;
  readonly at: (unit: number) => { readonly from: number; readonly to: number };
  /** Per unit what is measured while it is cut. */
  readonly values?: readonly Readonly<Record<string, number>>[];
}

/** @param channels cleaned, in the order of `signal.channels` */
export function cutsOf(channels: readonly Float32Array[], signal: SignalInput): Cuts {
  if (signal.trigger !== undefined) return cutsAtPeaks(channels, signal, signal.trigger);
  const { window, hop = window } = signal;
  const { count } = windowsIn(channels[0]?.length ?? 0, signal);
  return { count, at: (unit) => ({ from: unit * hop, to: unit * hop + window }) };
}

/** Peaks further apart are not one after the other: the heart stood still, or was not to be seen. */
export function pauseOf(rateHz: number): number {
  return PAUSE_S * rateHz;
}

/**
 * A unit for each peak: from `before` in front of it, as long as the window, or until the next peak. One whose beginning
 * or end is not in the recording is none; nor, where the rate or the end is asked for, the last, and one whose next is
 * more than 4 s behind.
 */
function cutsAtPeaks(
  channels: readonly Float32Array[],
  signal: SignalInput,
  { peaks: spec }: NonNullable<SignalInput['trigger']>,
): Cuts {
  const { window, rate_hz, before = 0, until, rate_as } = signal;
  const samples =
    channels[spec.channel === undefined ? 0 : signal.channels.indexOf(spec.channel)] ?? new Float32Array();
  const peaks = findPeaks(samples, rate_hz, spec);
  const units = peaks.flatMap((peak, i) => {
    const next = peaks[i + 1];
    const from = peak - before;
    const followed = next !== undefined && next - peak <= pauseOf(rate_hz);
    if (!followed && (until !== undefined || rate_as !== undefined)) return [];
    const to = until === undefined ? from + window : Math.min(next as number, from + window);
    if (from < 0 || to > samples.length) return [];
    return [{ from, to, bpm: (60 * rate_hz) / ((next ?? Number.NaN) - peak) }];
  });
  const count = units.length;
  const at = (unit: number) => units[unit] as { from: number; to: number };
  return rate_as === undefined ? { count, at } : { count, at, values: units.map(({ bpm }) => ({ [rate_as]: bpm })) };
}
