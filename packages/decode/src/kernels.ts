import type { Raster, Window } from './bilinear.ts';
import type { PictureTarget } from './geometry.ts';

// Resizing as Pillow does it, bit by bit (libImaging/Resample.c describes it; reference-pictures.test.ts holds its numbers): columns
// first, rounded to 8 bits, then rows. It serves what libvips does otherwise: where libvips enlarges, all pixels lie up to
// half a pixel aside, and its nearest neighbour is not always the nearest.

type Kernel = PictureTarget['kernel'];

/** How far each reaches where a picture is not made smaller, and its value at a distance. */
const KERNELS: Readonly<Record<Exclude<Kernel, 'nearest'>, { reach: number; at: (x: number) => number }>> = {
  bilinear: { reach: 1, at: (x) => Math.max(0, 1 - Math.abs(x)) },
  bicubic: { reach: 2, at: (x) => cubic(Math.abs(x)) },
  lanczos3: { reach: 3, at: (x) => (Math.abs(x) < 3 ? sinc(x) * sinc(x / 3) : 0) },
};

/** Keys (1981) with a = −1/2. */
function cubic(x: number): number {
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
}

function sinc(x: number): number {
  return x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
}

/** Weights are whole numbers of this many bits behind the point. */
const ONE = 2 ** 22;

/** Of which source pixels in a row, and how much of each, the wanted ones are made. */
interface Taps {
  readonly first: Int32Array;
  readonly weights: readonly Float64Array[];
}

function tapsOf(kernel: Kernel, size: number, wanted: number, from: number, count: number): Taps {
  const step = size / wanted;
  const first = new Int32Array(count);
  const weights = Array.from({ length: count }, (_, i) => {
    const centre = (from + i + 0.5) * step;
    if (kernel === 'nearest') {
      first[i] = Math.min(size - 1, Math.floor(centre));
      return Float64Array.of(ONE);
    }
    const { reach, at } = KERNELS[kernel];
    // Made smaller, a picture is seen through a kernel as much wider.
    const wide = Math.max(1, step);
    const low = Math.max(0, Math.trunc(centre - reach * wide + 0.5));
    const high = Math.min(size, Math.trunc(centre + reach * wide + 0.5));
    const shares = Float64Array.from({ length: high - low }, (_, k) => at((k + low - centre + 0.5) / wide));
    const sum = shares.reduce((all, share) => all + share, 0);
    first[i] = low;
    return shares.map((share) => roundAway((share / sum) * ONE));
  });
  return { first, weights };
}

const roundAway = (x: number) => Math.sign(x) * Math.floor(Math.abs(x) + 0.5);

/** Sums of whole numbers stay whole, and below 2^53. */
const toByte = (sum: number) => Math.max(0, Math.min(255, Math.floor(sum / ONE + 0.5)));

/**
 * Resizes `source` to `size` and gives `window` of it. Costs what the window costs, not what `size` would.
 * @returns memory of its own
 */
export function resizeByKernel(
  source: Raster,
  kernel: Kernel,
  size: { readonly width: number; readonly height: number },
  window: Window,
): Raster {
  const columns = tapsOf(kernel, source.width, size.width, window.left, window.width);
  const rows = tapsOf(kernel, source.height, size.height, window.top, window.height);
  const top = rows.first.reduce((least, first) => Math.min(least, first), source.height);
  const bottom = rows.weights.reduce(
    (most, weights, y) => Math.max(most, (rows.first[y] as number) + weights.length),
    0,
  );
  const narrow = new Int32Array((bottom - top) * window.width);
  const between = { words: source.words, start: top * source.width, step: 1, line: source.width };
  mix(between, columns, { words: narrow, lines: bottom - top, step: 1, line: window.width });
  const words = new Int32Array(window.width * window.height);
  const turned = { words: narrow, start: -top * window.width, step: window.width, line: 1 };
  mix(turned, rows, { words, lines: window.width, step: window.width, line: 1 });
  return { words, width: window.width, height: window.height };
}

/** Where pixels lie: along a line `step` apart, from one line to the next `line`. */
interface Lines {
  readonly words: Int32Array;
  readonly step: number;
  readonly line: number;
}

/** Mixes along lines. */
function mix(from: Lines & { readonly start: number }, taps: Taps, to: Lines & { readonly lines: number }): void {
  for (let line = 0; line < to.lines; line++) {
    const start = from.start + line * from.line;
    for (const [i, weights] of taps.weights.entries()) {
      let at = start + (taps.first[i] as number) * from.step;
      let [red, green, blue] = [0, 0, 0];
      for (const weight of weights) {
        const word = from.words[at] as number;
        red += weight * (word & 255);
        green += weight * ((word >>> 8) & 255);
        blue += weight * ((word >>> 16) & 255);
        at += from.step;
      }
      to.words[line * to.line + i * to.step] = toByte(red) | (toByte(green) << 8) | (toByte(blue) << 16);
    }
  }
}
