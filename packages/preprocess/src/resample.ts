import { BrinkError } from '@brink/protocol';

// A windowed sinc, read from a table at the distances of each output sample (Smith, "Digital Audio Resampling", CCRMA;
// window: Kaiser 1974). Half-length, β and cutoff belong together: 80 dB from the lower Nyquist frequency on, flat to
// 0.84 of it.
const ZEROS = 32;
const KAISER_BETA = 7.857;
const CUTOFF = 0.92;
/** With straight lines between them the table is right to 2e-6. */
const ENTRIES_PER_ZERO = 512;

/** Above it neither side of the ratio says anything about the other; it also bounds the work per sample. */
const RATIO_MAX = 256;
/** 70 minutes at 16 kHz. */
const SAMPLES_MAX = 2 ** 26;
const TAPS_KEPT_MAX = 2 ** 20;

/**
 * The same sound at another rate: band-limited (nothing above half the lower rate is folded down), without delay, a
 * constant stays that constant but for the edges, where zeros are taken to lie outside. Equal rates: the samples
 * themselves, not a copy.
 * @param toHz samples per second of what is returned; ⌈length · toHz / fromHz⌉ of them
 * @throws BrinkError E_SHAPE where one rate is more than 256 times the other; E_TOO_LARGE; E_DECODE where samples near the
 * end of float32 would leave it
 */
export function resample(samples: Float32Array, fromHz: number, toHz: number): Float32Array {
  if (fromHz === toHz) return samples;
  const { up, down } = ratioOf(fromHz, toHz);
  const length = Math.ceil((samples.length * up) / down);
  if (length > SAMPLES_MAX) {
    throw new BrinkError('E_TOO_LARGE', `${length} samples at ${toHz} Hz; expected at most ${SAMPLES_MAX}`);
  }
  const out = new Float32Array(length);
  const tapsOf = phasesOf(up, down);
  for (let i = 0; i < out.length; i++) {
    // Position i · down / up of the input, split without rounding.
    const whole = Math.floor((i * down) / up);
    const { first, taps } = tapsOf(i * down - whole * up);
    const start = whole + first;
    const end = Math.min(taps.length, samples.length - start);
    let sum = 0;
    for (let t = Math.max(0, -start); t < end; t++) sum += (taps[t] as number) * (samples[start + t] as number);
    out[i] = sum;
    if (!Number.isFinite(out[i])) refuseHuge(i, toHz);
  }
  return out;
}

export function refuseHuge(i: number, toHz: number): never {
  throw new BrinkError('E_DECODE', `sample ${i} at ${toHz} Hz is no finite float32; expected smaller samples`);
}

export interface Phase {
  /** Of the first tap, from the whole sample before the position. */
  readonly first: number;
  readonly taps: Float64Array;
}

/** How many samples of the input lie at most between an output sample and what it is made of, on either side. */
export function reachOf(up: number, down: number): number {
  return Math.ceil(ZEROS * Math.max(1, down / up));
}

/** The tables of the ratios in use last, for all who resample: they are the same for every device of a stream. */
const tables = new Map<string, (phase: number) => Phase>();
const TABLES_MAX = 8;

export function phasesOf(up: number, down: number): (phase: number) => Phase {
  const key = `${up}/${down}`;
  const made = tables.get(key) ?? createPhases(up, down);
  tables.delete(key);
  tables.set(key, made);
  const [oldest] = tables.keys();
  if (tables.size > TABLES_MAX && oldest !== undefined) tables.delete(oldest);
  return made;
}

/** The taps for a position `phase / up` behind a whole sample. There are `up` of them; what fits is kept. */
function createPhases(up: number, down: number): (phase: number) => Phase {
  const kept = new Map<number, Phase>();
  let tapsKept = 0;
  // Going down, the sinc is as much wider as the new Nyquist frequency is lower.
  const width = Math.max(1, down / up);
  return (phase) => {
    const known = kept.get(phase);
    if (known !== undefined) return known;
    const offset = phase / up;
    const first = Math.ceil(offset - ZEROS * width);
    const taps = new Float64Array(Math.floor(offset + ZEROS * width) - first + 1);
    let sum = 0;
    for (let t = 0; t < taps.length; t++) {
      const tap = kernelAt(Math.abs(first + t - offset) / width);
      taps[t] = tap;
      sum += tap;
    }
    // Each phase sums to 1 by itself: else a constant would come out with a ripple.
    for (let t = 0; t < taps.length; t++) taps[t] = (taps[t] as number) / sum;
    const made = { first, taps };
    if (tapsKept + taps.length <= TAPS_KEPT_MAX) {
      kept.set(phase, made);
      tapsKept += taps.length;
    }
    return made;
  };
}

let kernel: Float64Array | undefined;

/** @param x distance in zero crossings of a sinc without cutoff, 0..ZEROS */
function kernelAt(x: number): number {
  kernel ??= Float64Array.from({ length: ZEROS * ENTRIES_PER_ZERO + 2 }, (_, i) => {
    const at = i / ENTRIES_PER_ZERO;
    return at > ZEROS ? 0 : sinc(CUTOFF * at) * kaiser(at / ZEROS);
  });
  const position = x * ENTRIES_PER_ZERO;
  const i = Math.floor(position);
  const left = kernel[i] ?? 0;
  return left + (position - i) * ((kernel[i + 1] ?? 0) - left);
}

function sinc(x: number): number {
  return x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
}

/** @param x 0..1 */
function kaiser(x: number): number {
  return besselI0(KAISER_BETA * Math.sqrt(1 - x * x)) / besselI0(KAISER_BETA);
}

/** Modified Bessel function of order 0 by its power series, which for these arguments needs about 25 terms. */
function besselI0(x: number): number {
  let term = 1;
  let sum = 1;
  for (let k = 1; term > sum * 1e-16; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

/**
 * Rates in whole millihertz, so that up / down is exact in integers.
 * @throws BrinkError E_SHAPE where one rate is more than 256 times the other
 */
export function ratioOf(fromHz: number, toHz: number): { up: number; down: number } {
  if (!(Math.max(fromHz / toHz, toHz / fromHz) <= RATIO_MAX)) {
    throw new BrinkError('E_SHAPE', `${fromHz} Hz cannot become ${toHz} Hz; expected a ratio of at most ${RATIO_MAX}`);
  }
  const from = Math.max(1, Math.round(fromHz * 1000));
  const to = Math.max(1, Math.round(toHz * 1000));
  let [a, b] = [from, to];
  while (b > 0) [a, b] = [b, a % b];
  return { up: to / a, down: from / a };
}
