// Resizing with a triangle, in integers: a pixel is one 32-bit word, red in its lowest byte. Red and blue are summed at
// once, each in 16 bits of a word; weights are 8-bit fractions that sum to 256, so a sum of 255s just fits.

export interface Raster {
  /** Row by row; there may be more of them. */
  readonly words: Int32Array;
  readonly width: number;
  readonly height: number;
}

/** Where the wanted pixels lie in the resized picture: all of it, or a cut. */
export interface Window {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

const RED_AND_BLUE = 0x00ff00ff;
const GREEN = 0x0000ff00;
/** One half, in 256ths, for both. */
const HALF_PAIR = 0x00800080;
const HALF = 128;

/**
 * Resizes `source` to `size`, neither side larger than it was, and gives `window` of it. Anti-aliased: the triangle reaches
 * as far as the step between two wanted pixels, as in libvips, Pillow and torchvision.
 * For speed a side is halved first while it is much too large; the triangle then reaches less far, so that box and
 * triangle together blur as much (have the variance) as the whole triangle would.
 * Synchronous, and what it gives is good until it is called again. At the rim the outermost pixel goes on.
 */
export function resizeBilinear(source: Raster, size: { width: number; height: number }, window: Window): Raster {
  if (source.width === size.width && source.height === size.height && window.width === size.width) {
    if (window.height === size.height) return source;
  }
  const [stepX, stepY] = [source.width / size.width, source.height / size.height];
  const [boxX, boxY] = [boxOf(stepX), boxOf(stepY)];
  let raster = source;
  for (let box = 2; box <= Math.max(boxX, boxY); box *= 2) {
    const slot = raster.words === scratch[0] ? 1 : 0;
    if (box > boxY) raster = halveColumns(raster, slot);
    else raster = halve(raster, box <= boxX, slot);
  }
  const rows = tapsOf({ step: stepY, box: boxY, size: raster.height, from: window.top, count: window.height });
  const columns = tapsOf({ step: stepX, box: boxX, size: raster.width, from: window.left, count: window.width });
  return mixRows(mixRows(raster, rows, 2), columns, 3);
}

/** What is left of the step is then less than TAPS / 2, so that TAPS are enough, and the triangle keeps a pixel and more. */
function boxOf(step: number): number {
  let box = 1;
  while (step / box >= TAPS / 2) box *= 2;
  return box;
}

/** In pixels that are boxes of `box`. Variances: of a triangle reach² / 6, of a box (box² − 1) / 12, in the original's. */
const reachOf = (step: number, box: number) => Math.sqrt(Math.max(0, step ** 2 - (box ** 2 - 1) / 2)) / box;

/** Grown where they are too small, and used again: what is allocated for each picture costs a tenth of the time. */
const scratch: Int32Array[] = Array.from({ length: 4 }, () => new Int32Array(0));

function scratchOf(slot: number, count: number): Int32Array {
  const words = scratch[slot] as Int32Array;
  if (words.length >= count) return words;
  const grown = new Int32Array(count);
  scratch[slot] = grown;
  return grown;
}

/** Halves the height, and the width if it is said to. */
function halve({ words, width, height }: Raster, alsoWidth: boolean, slot: number): Raster {
  const half = { width: alsoWidth ? (width + 1) >> 1 : width, height: (height + 1) >> 1 };
  const out = scratchOf(slot, half.width * half.height);
  const [pairs, next] = alsoWidth ? [width >> 1, 1] : [width, 0];
  let to = 0;
  for (let y = 0; y < half.height; y++) {
    let top = 2 * y * width;
    let low = Math.min(2 * y + 1, height - 1) * width;
    for (let x = 0; x < pairs; x++) {
      const above = meanDown(words[top] as number, words[top + next] as number);
      const below = meanDown(words[low] as number, words[low + next] as number);
      out[to++] = meanUp(above, below);
      top += 1 + next;
      low += 1 + next;
    }
    if (half.width > pairs) out[to++] = meanUp(words[top] as number, words[low] as number);
  }
  return { words: out, ...half };
}

function halveColumns({ words, width, height }: Raster, slot: number): Raster {
  const half = (width + 1) >> 1;
  const out = scratchOf(slot, half * height);
  let [to, from] = [0, 0];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width >> 1; x++) {
      out[to++] = meanDown(words[from] as number, words[from + 1] as number);
      from += 2;
    }
    if (half > width >> 1) out[to++] = words[from++] as number;
  }
  return { words: out, width: half, height };
}

// The mean of each of four bytes, without one touching the next: what both have, and half of what one has. Rounded down
// within a row and up between two, which leaves no bias.
const ALL_BUT_LOWEST_BITS = ~0x01010101;
const meanDown = (a: number, b: number) => (a & b) + (((a ^ b) & ALL_BUT_LOWEST_BITS) >>> 1);
const meanUp = (a: number, b: number) => (a | b) - (((a ^ b) & ALL_BUT_LOWEST_BITS) >>> 1);

/** Source rows for each wanted one; see boxOf. */
const TAPS = 5;

/** Of which source rows, and how much of each, the wanted ones are made. */
interface Taps {
  readonly count: number;
  /** Per wanted row: its first source row. */
  readonly first: Int32Array;
  /** TAPS per wanted row, in 256ths; 0 where a row needs fewer. */
  readonly weights: Int32Array;
}

/** @param o step: source pixels per wanted one */
function tapsOf(o: { step: number; box: number; size: number; from: number; count: number }): Taps {
  const { size, from, count } = o;
  const step = o.step / o.box;
  const reach = Math.max(1, reachOf(o.step, o.box));
  const first = new Int32Array(count);
  const weights = new Int32Array(count * TAPS);
  const shares = new Float64Array(TAPS);
  for (let i = 0; i < count; i++) {
    const centre = (from + i + 0.5) * step - 0.5;
    const low = Math.floor(centre - reach) + 1;
    const start = Math.min(Math.max(low, 0), size - 1);
    shares.fill(0);
    let sum = 0;
    for (let x = low; x < centre + reach; x++) {
      const share = 1 - Math.abs(x - centre) / reach;
      const place = Math.min(Math.max(x, 0), size - 1) - start;
      shares[place] = (shares[place] as number) + share;
      sum += share;
    }
    first[i] = start;
    inWhole256ths(shares, sum, weights.subarray(i * TAPS, (i + 1) * TAPS));
  }
  return { count, first, weights };
}

/** Each weight is the difference of two rounded sums: so they sum to 256, and none is off by more than one. */
function inWhole256ths(shares: Float64Array, sum: number, weights: Int32Array): void {
  let [before, total] = [0, 0];
  for (let i = 0; i < weights.length; i++) {
    total += shares[i] as number;
    const rounded = Math.round((total / sum) * 256);
    weights[i] = rounded - before;
    before = rounded;
  }
}

/** Mixes rows, and turns the picture about its diagonal: a second time mixes columns, and turns it back. */
function mixRows(raster: Raster, taps: Taps, slot: number): Raster {
  const words = scratchOf(slot, taps.count * raster.width);
  for (let y = 0; y < taps.count; y++) mixRow(raster, taps, y, words);
  return { words, width: taps.count, height: raster.width };
}

/** All taps in one expression: twice as fast as a loop over them. */
function mixRow({ words, width, height }: Raster, { count, first, weights }: Taps, y: number, out: Int32Array): void {
  const start = first[y] as number;
  let a = start * width;
  let b = Math.min(start + 1, height - 1) * width;
  let c = Math.min(start + 2, height - 1) * width;
  let d = Math.min(start + 3, height - 1) * width;
  let e = Math.min(start + 4, height - 1) * width;
  const ofA = weights[TAPS * y] as number;
  const ofB = weights[TAPS * y + 1] as number;
  const ofC = weights[TAPS * y + 2] as number;
  const ofD = weights[TAPS * y + 3] as number;
  const ofE = weights[TAPS * y + 4] as number;
  let to = y;
  for (let x = 0; x < width; x++) {
    const i = words[a++] as number;
    const j = words[b++] as number;
    const k = words[c++] as number;
    const l = words[d++] as number;
    const m = words[e++] as number;
    const pair1 = (Math.imul(i & RED_AND_BLUE, ofA) + Math.imul(j & RED_AND_BLUE, ofB)) | 0;
    const pair2 = (Math.imul(k & RED_AND_BLUE, ofC) + Math.imul(l & RED_AND_BLUE, ofD)) | 0;
    const pair3 = (Math.imul(m & RED_AND_BLUE, ofE) + HALF_PAIR) | 0;
    const green1 = (Math.imul((i >>> 8) & 255, ofA) + Math.imul((j >>> 8) & 255, ofB)) | 0;
    const green2 = (Math.imul((k >>> 8) & 255, ofC) + Math.imul((l >>> 8) & 255, ofD)) | 0;
    const green3 = (Math.imul((m >>> 8) & 255, ofE) + HALF) | 0;
    const pair = (((pair1 + pair2) | 0) + pair3) | 0;
    out[to] = ((pair >>> 8) & RED_AND_BLUE) | ((green1 + green2 + green3) & GREEN);
    to += count;
  }
}
