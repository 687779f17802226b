import type { MarkReader, MarkWriter } from './mark.ts';

// The band-pass of Butterworth (1930), designed as textbooks do (Oppenheim & Schafer, "Discrete-Time Signal Processing",
// §7): poles of the low-pass on the unit circle, low-pass → band-pass, bilinear transform with both edges warped to where
// they have to end. Second-order sections, because one polynomial of order 2n loses its low edge to rounding.

/** b0, b1, b2, a1, a2 of (b0 + b1/z + b2/z²) / (1 + a1/z + a2/z²). */
type Section = readonly [b0: number, b1: number, b2: number, a1: number, a2: number];

interface Complex {
  readonly re: number;
  readonly im: number;
}

/**
 * @param order of the low-pass that it is made from, as in scipy.signal.butter: it becomes as many sections
 * @param lowHz and `highHz`: where 3 dB are lost; 0 < lowHz < highHz < rateHz / 2
 */
export function designBandPass(order: number, lowHz: number, highHz: number, rateHz: number): Section[] {
  const warp = (hz: number) => 2 * Math.tan((Math.PI * hz) / rateHz);
  const [low, high] = [warp(lowHz), warp(highHz)];
  const [width, centreSquared] = [high - low, low * high];
  const centre = 2 * Math.atan(Math.sqrt(centreSquared) / 2);
  const sections: Section[] = [];
  // Of each pair of conjugates one is enough; an odd order has −1 besides.
  for (let k = 0; 2 * k < order; k++) {
    const angle = (Math.PI * (2 * k + 1 + order)) / (2 * order);
    const real = 2 * k + 1 === order;
    const half = { re: ((real ? -1 : Math.cos(angle)) * width) / 2, im: real ? 0 : (Math.sin(angle) * width) / 2 };
    const root = squareRoot({ re: half.re ** 2 - half.im ** 2 - centreSquared, im: 2 * half.re * half.im });
    const one = bilinear({ re: half.re + root.re, im: half.im + root.im });
    const other = bilinear({ re: half.re - root.re, im: half.im - root.im });
    if (real) {
      // Conjugates, or both real where the band is wide: the products are real either way.
      sections.push(sectionOf(-(one.re + other.re), one.re * other.re - one.im * other.im, centre));
    } else {
      for (const pole of [one, other]) sections.push(sectionOf(-2 * pole.re, pole.re ** 2 + pole.im ** 2, centre));
    }
  }
  return sections;
}

/** Zeros at 0 Hz and at half the rate, gain 1 at the centre of the band (an angle per sample). */
function sectionOf(a1: number, a2: number, centre: number): Section {
  const above = 2 * Math.sin(centre);
  const re = 1 + a1 * Math.cos(centre) + a2 * Math.cos(2 * centre);
  const im = a1 * Math.sin(centre) + a2 * Math.sin(2 * centre);
  const gain = Math.hypot(re, im) / above;
  return [gain, 0, -gain, a1, a2];
}

/** s → z = (2 + s) / (2 − s), for a rate of 1. */
function bilinear({ re, im }: Complex): Complex {
  const below = (2 - re) ** 2 + im ** 2;
  return { re: (4 - re ** 2 - im ** 2) / below, im: (4 * im) / below };
}

function squareRoot({ re, im }: Complex): Complex {
  const size = Math.hypot(re, im);
  return { re: Math.sqrt((size + re) / 2), im: Math.sign(im || 1) * Math.sqrt((size - re) / 2) };
}

/** What a filter holds between two calls: two numbers per section. */
export type FilterState = readonly (readonly [number, number])[];

export function writeFilterState(mark: MarkWriter, state: FilterState | undefined): void {
  mark.doubles((state ?? []).flat());
}

export function readFilterState(mark: MarkReader): FilterState | undefined {
  const values = mark.doubles();
  if (values.length === 0) return undefined;
  return Array.from({ length: values.length / 2 }, (_, i) => [values[2 * i] as number, values[2 * i + 1] as number]);
}

export interface BandPass {
  /** @returns a new array each time; what is given stays as it is */
  readonly run: (samples: Float64Array) => Float64Array<ArrayBuffer>;
  /** @returns undefined before the first sample */
  readonly state: () => FilterState | undefined;
}

/**
 * A filter that runs forwards and keeps its state between calls: the pieces of a recording one after the other give what
 * the whole gives (scipy.signal.sosfilt). It starts as if the first sample had been there forever, so that an offset
 * makes no swing at the beginning (`zi = sosfilt_zi(sos) * x[0]`), or with the state that another one had.
 */
export function createBandPass(sections: readonly Section[], before?: FilterState): BandPass {
  let states = before?.map(([first, second]): [number, number] => [first, second]);
  const run = (samples: Float64Array) => {
    const out = Float64Array.from(samples);
    const [first] = out;
    if (first === undefined) return out;
    states ??= sections.map(([b0], i) => steady(i === 0 ? -b0 * first : 0));
    for (const [s, section] of sections.entries()) states[s] = runSection(out, section, states[s] as [number, number]);
    return out;
  };
  return { run, state: () => states?.map(([first, second]) => [first, second] as const) };
}

/** The band-pass lets no constant through: of a constant every section but the first gets zeros and holds none. */
const steady = (state: number): [number, number] => [state, state];

/** Direct form II, transposed, in place. @returns the state behind the last sample */
function runSection(values: Float64Array, [b0, b1, b2, a1, a2]: Section, state: [number, number]): [number, number] {
  let [first, second] = state;
  for (let i = 0; i < values.length; i++) {
    const x = values[i] as number;
    const y = b0 * x + first;
    first = b1 * x - a1 * y + second;
    second = b2 * x - a2 * y;
    values[i] = y;
  }
  return [first, second];
}

/**
 * Forwards, then backwards: nothing is delayed, and the edges lose 6 dB (scipy.signal.sosfiltfilt, with its edges: at
 * most three times the filter's length of samples, mirrored through the first and the last sample).
 */
export function filterBothWays(samples: Float64Array, sections: readonly Section[]): Float64Array<ArrayBuffer> {
  const { length } = samples;
  const edge = Math.max(0, Math.min(3 * (2 * sections.length + 1), length - 1));
  const at = (i: number) => samples[i] as number;
  const wide = Float64Array.from({ length: length + 2 * edge }, (_, k) => {
    const i = k - edge;
    if (i < 0) return 2 * at(0) - at(-i);
    return i < length ? at(i) : 2 * at(length - 1) - at(2 * (length - 1) - i);
  });
  const there = createBandPass(sections).run(wide).reverse();
  const back = createBandPass(sections).run(there).reverse();
  return back.slice(edge, edge + length);
}
