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
    const median = sorted[half] as number;
    if (i < last) replace(sorted, at(i - half), at(i + half + 1));
    return median;
  });
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
