/**
 * Each sample becomes the median of the `length` samples around it; beyond the ends the first and the last sample go on
 * (scipy.ndimage.median_filter, mode="nearest"). Spikes of less than half that length are gone, steps stay steep.
 * @param length odd
 */
export function medianFilter(samples: Float64Array, length: number): Float64Array<ArrayBuffer> {
  const half = (length - 1) / 2;
  const last = samples.length - 1;
  const at = (i: number) => samples[Math.max(0, Math.min(last, i))] as number;
  const sorted = Float64Array.from({ length: last < 0 ? 0 : length }, (_, i) => at(i - half)).sort();
  return samples.map((_, i) => {
    // Of a zero and a negative zero either may stand in the middle.
    const median = (sorted[half] as number) + 0;
    if (i < last) replace(sorted, at(i - half), at(i + half + 1));
    return median;
  });
}

export interface MedianStream {
  /** @returns the medians around the samples that have `length / 2` others behind them by now */
  readonly run: (samples: Float64Array) => Float64Array<ArrayBuffer>;
  /** The last samples, at most `length`: all that the next medians need. */
  readonly last: () => Float64Array;
}

/**
 * `medianFilter`, as the samples come.
 * @param from `edge`: in front of the first sample it goes on; `middle`: the first median is that of the first sample
 * with enough others before it; or what `last` gave
 */
export function createMedian(length: number, from: 'edge' | 'middle' | Float64Array): MedianStream {
  const half = (length - 1) / 2;
  let kept = typeof from === 'string' ? undefined : from;
  return {
    last: () => kept ?? new Float64Array(),
    run: (samples) => {
      if (samples.length === 0) return new Float64Array();
      kept ??= new Float64Array(from === 'edge' ? half : 0).fill(samples[0] as number);
      const all = new Float64Array(kept.length + samples.length);
      all.set(kept);
      all.set(samples, kept.length);
      // Of a window that was whole before, the median is known.
      const first = kept.length === length ? 1 : 0;
      const sorted = all.slice(0, length).sort();
      const out = new Float64Array(Math.max(0, all.length - length + 1 - first));
      for (let start = 0; start + length <= all.length; start++) {
        if (start > 0) replace(sorted, all[start - 1] as number, all[start + length - 1] as number);
        if (start >= first) out[start - first] = (sorted[half] as number) + 0;
      }
      kept = all.slice(-length);
      return out;
    },
  };
}

/** One value for another in a sorted array: what lies between them moves by one place. */
function replace(sorted: Float64Array, out: number, into: number): void {
  let i = sorted.indexOf(out);
  for (; i + 1 < sorted.length && (sorted[i + 1] as number) < into; i++) sorted[i] = sorted[i + 1] as number;
  for (; i > 0 && (sorted[i - 1] as number) > into; i--) sorted[i] = sorted[i - 1] as number;
  sorted[i] = into;
}

/** Takes the mean away, or the straight line that fits best (least squares), in place (scipy.signal.detrend). */
export function detrend(samples: Float64Array, kind: 'constant' | 'linear'): void {
  const middle = (samples.length - 1) / 2;
  let [sum, moment, spread] = [0, 0, 0];
  for (const [i, sample] of samples.entries()) {
    sum += sample;
    moment += (i - middle) * sample;
    spread += (i - middle) ** 2;
  }
  const mean = sum / samples.length;
  const slope = kind === 'constant' || spread === 0 ? 0 : moment / spread;
  for (let i = 0; i < samples.length; i++) samples[i] = (samples[i] as number) - mean - slope * (i - middle);
}
