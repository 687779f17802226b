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

/** Weights are whole numbers of this many bits behind the point; a sum of 255s, overshoot included, stays within 32 bits. */
const BITS = 22;
const HALF = 1 << (BITS - 1);

/** Of which source pixels in a row, and how much of each, the wanted ones are made. */
interface Taps {
  readonly first: Int32Array;
  /** Weights of the wanted pixel i begin at i · most; there are count[i] of them. */
  readonly weights: Int32Array;
  readonly count: Int32Array;
  readonly most: number;
}

/** Those of a row of `size` pixels made `wanted` long, from `from` on. */
function tapsOf(kernel: Exclude<Kernel, 'nearest'>, size: number, wanted: number, from: number, length: number): Taps {
  const { reach, at } = KERNELS[kernel];
  const step = size / wanted;
  // Made smaller, a picture is seen through a kernel as much wider.
  const wide = Math.max(1, step);
  const most = 2 * Math.ceil(reach * wide) + 1;
  const [first, count, weights] = [new Int32Array(length), new Int32Array(length), new Int32Array(length * most)];
  for (let i = 0; i < length; i++) {
    const centre = (from + i + 0.5) * step;
    const low = Math.max(0, Math.trunc(centre - reach * wide + 0.5));
    const high = Math.min(size, Math.trunc(centre + reach * wide + 0.5));
    const shares = Array.from({ length: high - low }, (_, k) => at((k + low - centre + 0.5) / wide));
    const sum = shares.reduce((all, share) => all + share, 0);
    first[i] = low;
    count[i] = high - low;
    weights.set(
      shares.map((share) => roundAway((share / sum) * 2 ** BITS)),
      i * most,
    );
  }
  return { first, weights, count, most };
}

const roundAway = (x: number) => Math.sign(x) * Math.floor(Math.abs(x) + 0.5);

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
  const { width, height } = window;
  if (kernel === 'nearest') return nearest(source, size, window);
  const columns = tapsOf(kernel, source.width, size.width, window.left, width);
  const rows = tapsOf(kernel, source.height, size.height, window.top, height);
  const top = rows.first[0] as number;
  const bottom = (rows.first[height - 1] as number) + (rows.count[height - 1] as number);
  const lines = bottom - top;
  // Turned about its diagonal between the two, so that what is read lies side by side.
  const narrow = new Int32Array(lines * width);
  for (let y = 0; y < lines; y++)
    mix(source.words, (top + y) * source.width, columns, { words: narrow, start: y, step: lines });
  const words = new Int32Array(width * height);
  for (let x = 0; x < width; x++) mix(narrow, x * lines - top, rows, { words, start: x, step: width });
  return { words, width, height };
}

interface Line {
  readonly words: Int32Array;
  readonly start: number;
  readonly step: number;
}

/** Mixes the pixels of a row that begins at `start`. */
function mix(words: Int32Array, start: number, { first, weights, count, most }: Taps, to: Line): void {
  for (let i = 0; i < count.length; i++) {
    let at = start + (first[i] as number);
    let red = HALF;
    let green = HALF;
    let blue = HALF;
    const end = i * most + (count[i] as number);
    for (let k = i * most; k < end; k++) {
      const word = words[at] as number;
      const weight = weights[k] as number;
      red = (red + Math.imul(weight, word & 255)) | 0;
      green = (green + Math.imul(weight, (word >>> 8) & 255)) | 0;
      blue = (blue + Math.imul(weight, (word >>> 16) & 255)) | 0;
      at++;
    }
    to.words[to.start + i * to.step] = byteOf(red) | (byteOf(green) << 8) | (byteOf(blue) << 16);
  }
}

function byteOf(sum: number): number {
  const byte = sum >> BITS;
  return byte < 0 ? 0 : byte > 255 ? 255 : byte;
}

function nearest(source: Raster, size: { readonly width: number; readonly height: number }, window: Window): Raster {
  const { left, top, width, height } = window;
  const placeOf = (i: number, from: number, to: number) => Math.min(from - 1, Math.floor(((i + 0.5) * from) / to));
  const columns = Int32Array.from({ length: width }, (_, x) => placeOf(left + x, source.width, size.width));
  const words = new Int32Array(width * height);
  for (let y = 0; y < height; y++) {
    const row = placeOf(top + y, source.height, size.height) * source.width;
    for (let x = 0; x < width; x++) words[y * width + x] = source.words[row + (columns[x] as number)] as number;
  }
  return { words, width, height };
}
