import { type Raster, resizeBilinear } from './bilinear.ts';
import type { PictureTarget, Placement } from './geometry.ts';
import type { PlainJpeg } from './jpeg-header.ts';
import { resizeByKernel } from './kernels.ts';

/** One way in which a picture is wanted. */
export interface Wanted {
  readonly target: PictureTarget;
  readonly placement: Placement;
}

export type Turbo = typeof import('@julusian/jpeg-turbo');

/** `false` where this machine has no build of it. */
let turbo: Turbo | false | undefined;

/** @returns undefined where it cannot be loaded: then sharp decodes everything */
export async function loadTurbo(): Promise<Turbo | undefined> {
  turbo ??= await import('@julusian/jpeg-turbo').then(
    (module) => (module as unknown as { default: Turbo }).default,
    () => false as const,
  );
  return turbo === false ? undefined : turbo;
}

/** At 1280 × 720 libvips, which decodes only what the target needs, is as fast or faster: see `npm run bench -- jpeg`. */
const PIXELS_MAX = 500_000;

/** Whether libjpeg-turbo and our own resizing give what is wanted, and sooner than libvips. */
export function isForTurbo(header: PlainJpeg, wanted: Wanted): boolean {
  return header.width * header.height <= PIXELS_MAX && isResizedHere(header, wanted);
}

/** Whether our own resizing gives what is wanted of a picture of this size. */
export function isResizedHere(
  { width, height }: { width: number; height: number },
  { target, placement }: Wanted,
): boolean {
  const { resize } = placement;
  if (resize.width === width && resize.height === height) return true;
  return target.kernel === 'bilinear' || isByKernel({ width, height }, { target, placement });
}

/** Whether libvips would do it otherwise than Pillow and torchvision: it enlarges, or takes the nearest pixel. */
export function isByKernel(
  { width, height }: { width: number; height: number },
  { target, placement }: Wanted,
): boolean {
  const { resize } = placement;
  return target.kernel === 'nearest' || resize.width > width || resize.height > height;
}

/**
 * Decodes a plain JPEG once, whole, and prepares it for each of `wanted`. Blocks, for some milliseconds.
 * @returns undefined where libjpeg-turbo refuses or only warns, and where it is not there: then sharp has the last word
 */
export async function prepareByTurbo(
  bytes: Uint8Array,
  header: PlainJpeg,
  wanted: readonly Wanted[],
): Promise<Uint8Array[] | undefined> {
  const codec = await loadTurbo();
  if (codec === undefined) return undefined;
  const [first] = wanted;
  const colour = first?.target.colour;
  if (
    first !== undefined &&
    wanted.length === 1 &&
    colour !== 'grey' &&
    colour !== undefined &&
    isAsItIs(header, first)
  ) {
    const out = new Uint8Array(3 * header.width * header.height);
    return decompress(codec, bytes, header, out, colour) ? [out] : undefined;
  }
  const raster = decodeByTurbo(codec, bytes, header);
  return raster === undefined ? undefined : wanted.map((one) => resizedBytes(raster, one));
}

/** Whether the pixels of the picture are those that are wanted, one for one: a camera that sends what its model takes. */
function isAsItIs({ width, height }: PlainJpeg, { placement: { resize, cut, frame } }: Wanted): boolean {
  if (cut !== undefined || frame !== undefined) return false;
  return resize.width === width && resize.height === height;
}

let scratch = new Int32Array(0);

/**
 * Blocks, for some milliseconds; what it gives is good until it is called again.
 * @returns a pixel per word, red in the lowest byte (every machine that there are builds for is little-endian)
 */
export function decodeByTurbo(codec: Turbo, bytes: Uint8Array, { width, height }: PlainJpeg): Raster | undefined {
  const count = width * height;
  if (scratch.length < count) scratch = new Int32Array(count);
  // Of exactly the size that the header says: the binding refuses what needs more.
  const out = new Uint8Array(scratch.buffer, 0, 4 * count);
  return decompress(codec, bytes, { width, height }, out, 'rgbx') ? { words: scratch, width, height } : undefined;
}

/** @returns false where libjpeg-turbo refuses or only warns */
function decompress(
  codec: Turbo,
  bytes: Uint8Array,
  { width, height }: Pick<PlainJpeg, 'width' | 'height'>,
  into: Uint8Array,
  order: 'rgb' | 'bgr' | 'rgbx',
): boolean {
  const format = { rgb: codec.FORMAT_RGB, bgr: codec.FORMAT_BGR, rgbx: codec.FORMAT_RGBX }[order];
  try {
    const [source, out] = [bytes, into].map((view) => Buffer.from(view.buffer, view.byteOffset, view.byteLength));
    const decoded = codec.decompressSync(source as Buffer, out as Buffer, { format });
    return decoded.width === width && decoded.height === height;
  } catch {
    return false;
  }
}

/** A JPEG without any metadata. */
export function compressByTurbo(codec: Turbo): (raster: Raster, quality: number) => Uint8Array {
  return ({ words, width, height }, quality) => {
    const raw = Buffer.from(words.buffer, words.byteOffset, 4 * width * height);
    const format = codec.FORMAT_RGBX;
    const compressed = codec.compressSync(raw, { format, width, height, quality, subsampling: codec.SAMP_420 });
    // A copy: what the binding gives is a view into a buffer of the largest size that there could be.
    return new Uint8Array(compressed);
  };
}

/** Resizes by our own means (`isResizedHere`), as bytes in the order of channels that is wanted. */
export function resizedBytes(source: Raster, { target, placement }: Wanted): Uint8Array {
  const { resize, cut, frame } = placement;
  const window =
    cut === undefined
      ? { left: 0, top: 0, ...resize }
      : { left: cut.left, top: cut.top, width: target.width, height: target.height };
  const raster = isByKernel(source, { target, placement })
    ? resizeByKernel(source, target.kernel, resize, window)
    : resizeBilinear(source, resize, window);
  const channels = target.colour === 'grey' ? 1 : 3;
  const bytes = new Uint8Array(target.width * target.height * channels);
  if (frame !== undefined && (raster.width < target.width || raster.height < target.height)) bytes.fill(target.pad);
  const [left, top] = frame === undefined ? [0, 0] : [frame.left, frame.top];
  for (let y = 0; y < raster.height; y++) {
    const to = ((top + y) * target.width + left) * channels;
    if (channels === 1) writeGrey(raster, y, bytes, to);
    else writeColours(raster, y, bytes, to, target.colour === 'bgr' ? 2 : 0);
  }
  return bytes;
}

/** @param red where it is in a pixel; blue is opposite */
function writeColours({ words, width }: Raster, y: number, bytes: Uint8Array, start: number, red: number): void {
  let to = start;
  const blue = 2 - red;
  for (let from = y * width; from < (y + 1) * width; from++) {
    const word = words[from] as number;
    bytes[to + red] = word & 255;
    bytes[to + 1] = (word >>> 8) & 255;
    bytes[to + blue] = (word >>> 16) & 255;
    to += 3;
  }
}

/** Luma with the weights of Rec. 601, as Pillow, OpenCV and torchvision have it, with which models are trained. */
function writeGrey({ words, width }: Raster, y: number, bytes: Uint8Array, start: number): void {
  let to = start;
  for (let from = y * width; from < (y + 1) * width; from++) {
    const word = words[from] as number;
    bytes[to++] = greyOf(word & 255, (word >>> 8) & 255, (word >>> 16) & 255);
  }
}

/** The weights in 65,536ths. */
export const greyOf = (red: number, green: number, blue: number) =>
  (19_595 * red + 38_470 * green + 7471 * blue + 32_768) >>> 16;
