import { BrinkError, type Mfcc } from '@brink/protocol';
import FFT from 'fft.js';

// Magnitude spectrum → mel bands → logarithm → cepstral coefficients, step by step what tf.signal computes (stft,
// linear_to_mel_weight_matrix, mfccs_from_log_mel_spectrograms), so that models trained on it get what they know.
// fixtures/make.py holds the numbers of TensorFlow against which each step is tested.

/** Samples → `mfcc.layout`, float32: MFCC, or the log-mel spectrum where `mfcc.bins` is absent. */
export type Spectrum = (samples: Float32Array) => Float32Array<ArrayBuffer>;

/**
 * All tables are made here, once; the function that is returned keeps its buffers and serves one call at a time.
 * @throws BrinkError E_PASSPORT where the numbers of `mfcc` cannot be
 */
export function createSpectrum(mfcc: Mfcc, rateHz: number): Spectrum {
  checkMfcc(mfcc, rateHz);
  const { frame, stride, fft, mels, bins, layout } = mfcc;
  const window = hannWindow(frame);
  const bands = melBands(mfcc, rateHz);
  const cosines = bins === undefined ? undefined : dctMatrix(bins, mels);
  const columns = bins ?? mels;
  const binsUsed = bands.reduce((most, { first, weights }) => Math.max(most, first + weights.length), 0);
  const half = fft / 2;
  const transform = new FFT(half);
  // Its even samples are the real parts, the odd ones the imaginary parts of half as many numbers.
  const input = new Float64Array(fft);
  const complex = new Float64Array(fft);
  const cosine = Float64Array.from({ length: binsUsed }, (_, i) => Math.cos((2 * Math.PI * i) / fft));
  const sine = Float64Array.from({ length: binsUsed }, (_, i) => Math.sin((2 * Math.PI * i) / fft));
  const magnitudes = new Float64Array(binsUsed);
  const logarithms = new Float64Array(mels);

  /**
   * Of one bin of the whole transform, from two of that of half the length (Press et al., "Numerical Recipes", §12.3): the
   * transforms of even and odd samples lie in it as its even and odd parts.
   */
  function magnitudeAt(bin: number): number {
    const at = bin === half ? 0 : 2 * bin;
    const opposite = bin === 0 ? 0 : 2 * (half - bin);
    const re = complex[at] as number;
    const im = complex[at + 1] as number;
    const otherRe = complex[opposite] as number;
    const otherIm = -(complex[opposite + 1] as number);
    const oddRe = (im - otherIm) / 2;
    const oddIm = (otherRe - re) / 2;
    const c = cosine[bin] as number;
    const s = sine[bin] as number;
    const wholeRe = (re + otherRe) / 2 + c * oddRe + s * oddIm;
    const wholeIm = (im + otherIm) / 2 + c * oddIm - s * oddRe;
    // Math.hypot, which minds numbers near the end of float64, takes longer than the transform.
    return Math.sqrt(wholeRe * wholeRe + wholeIm * wholeIm);
  }

  function logMel(samples: Float32Array, start: number): void {
    // What lies behind the frame stays zero: the transform is longer than the window.
    for (let i = 0; i < frame; i++) input[i] = (samples[start + i] as number) * (window[i] as number);
    transform.transform(complex, input);
    for (let i = 0; i < binsUsed; i++) magnitudes[i] = magnitudeAt(i);
    for (let mel = 0; mel < mels; mel++) {
      const { first, weights } = bands[mel] as Band;
      let sum = mfcc.log_offset;
      for (let i = 0; i < weights.length; i++) sum += (weights[i] as number) * (magnitudes[first + i] as number);
      // Without an offset silence would be −∞, and every coefficient of it not a number.
      logarithms[mel] = Math.log(Math.max(sum, SMALLEST));
    }
  }

  return (samples) => {
    const frames = Math.max(0, Math.floor((samples.length - frame) / stride) + 1);
    const out = new Float32Array(frames * columns);
    const [byFrame, byColumn] = layout === 'bins-time' ? [1, frames] : [columns, 1];
    for (let i = 0; i < frames; i++) {
      logMel(samples, i * stride);
      for (let c = 0; c < columns; c++) {
        const value = cosines === undefined ? logarithms[c] : dot(cosines[c] as Float64Array, logarithms);
        out[i * byFrame + c * byColumn] = value as number;
      }
    }
    return out;
  };
}

/** The smallest normal float32. */
const SMALLEST = 2 ** -126;

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] as number) * (b[i] as number);
  return sum;
}

/**
 * Periodic: one period of the cosine in exactly `length` samples. tf.signal makes odd lengths symmetric instead, which
 * scipy and librosa do not; then the two differ in the third digit.
 */
export function hannWindow(length: number): Float64Array {
  return Float64Array.from({ length }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / length));
}

interface Band {
  /** The first bin of the spectrum with a weight above 0. */
  readonly first: number;
  readonly weights: Float64Array;
}

/**
 * Triangles whose corners lie evenly on the mel scale of HTK (1127 · ln(1 + f / 700)), their sides straight on that
 * scale. The bin of frequency 0 has no weight.
 */
export function melBands(
  { mels, fft, low_hz, high_hz }: Pick<Mfcc, 'mels' | 'fft' | 'low_hz' | 'high_hz'>,
  rateHz: number,
): Band[] {
  const low = melOf(low_hz);
  const step = (melOf(high_hz) - low) / (mels + 1);
  const scale = Float64Array.from({ length: fft / 2 + 1 }, (_, bin) => melOf((bin * rateHz) / fft));
  return Array.from({ length: mels }, (_, mel) => {
    const centre = low + (mel + 1) * step;
    const weights = scale.map((at) => Math.max(0, 1 - Math.abs(at - centre) / step));
    weights[0] = 0;
    const first = weights.findIndex((weight) => weight > 0);
    const last = weights.findLastIndex((weight) => weight > 0);
    return first < 0 ? { first: 0, weights: new Float64Array(0) } : { first, weights: weights.slice(first, last + 1) };
  });
}

function melOf(hz: number): number {
  return 1127 * Math.log(1 + hz / 700);
}

/** DCT-II scaled by √(2 / n) in every row, the first too: HTK's convention and that of tf.signal. */
function dctMatrix(rows: number, n: number): Float64Array[] {
  const scale = Math.sqrt(2 / n);
  return Array.from({ length: rows }, (_, k) =>
    Float64Array.from({ length: n }, (_, i) => scale * Math.cos((Math.PI / n) * (i + 0.5) * k)),
  );
}

/** @throws BrinkError E_PASSPORT what contradicts what: the schema sees each number alone */
export function checkMfcc({ bins, mels, frame, fft, low_hz, high_hz }: Mfcc, rateHz: number): void {
  const refuse = (detail: string) => {
    throw new BrinkError('E_PASSPORT', `inputs.audio.mfcc.${detail}`);
  };
  if (fft < 4 || !Number.isInteger(Math.log2(fft))) refuse(`fft is ${fft}; expected a power of two from 4 on`);
  if (fft < frame) refuse(`fft is ${fft}; expected at least frame, ${frame}`);
  if (bins !== undefined && bins > mels) refuse(`bins is ${bins}; expected at most mels, ${mels}`);
  if (low_hz >= high_hz) refuse(`low_hz is ${low_hz}; expected less than high_hz, ${high_hz}`);
  if (high_hz > rateHz / 2) refuse(`high_hz is ${high_hz}; expected at most half of rate_hz, ${rateHz / 2}`);
}
