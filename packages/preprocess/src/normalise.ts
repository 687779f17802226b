/** Divides by the largest absolute sample, in place. Silence stays silence. */
export function normalisePeak(samples: Float32Array): void {
  let peak = 0;
  for (const sample of samples) peak = Math.max(peak, Math.abs(sample));
  if (peak === 0) return;
  for (let i = 0; i < samples.length; i++) samples[i] = (samples[i] as number) / peak;
}

/** (x − mean) / standard deviation of all of it (÷ n, as numpy does), in place. What does not vary becomes zeros. */
export function normaliseZScore(samples: Float32Array): void {
  if (samples.every((sample) => sample === samples[0])) {
    samples.fill(0);
    return;
  }
  let sum = 0;
  for (const sample of samples) sum += sample;
  const mean = sum / samples.length;
  let squares = 0;
  for (const sample of samples) squares += (sample - mean) ** 2;
  const deviation = Math.sqrt(squares / samples.length);
  for (let i = 0; i < samples.length; i++) samples[i] = ((samples[i] as number) - mean) / deviation;
}

/** (x − smallest) / (largest − smallest), in place: 0..1. What does not vary becomes zeros. */
export function normaliseMinMax(samples: Float32Array): void {
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  for (const sample of samples) {
    low = Math.min(low, sample);
    high = Math.max(high, sample);
  }
  const range = high - low;
  for (let i = 0; i < samples.length; i++) samples[i] = range > 0 ? ((samples[i] as number) - low) / range : 0;
}
