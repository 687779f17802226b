import { BrinkError } from '@brink/protocol/link';
import sharp, { type Sharp } from 'sharp';
import type { Raster } from './bilinear.ts';
import { greyOf, isByKernel, resizedBytes, type Wanted } from './jpeg.ts';

// Everything that goes through sharp, and so through libvips.

/** Noise of the sensor, taken away before anything is resized. */
export interface Denoise {
  /** Side of the square of pixels whose middle value is taken: 3 or 5. */
  readonly median?: number | undefined;
  /** Standard deviation in pixels of the original. */
  readonly gaussian?: number | undefined;
}

const KERNELS = { nearest: 'nearest', bilinear: 'linear', bicubic: 'cubic', lanczos3: 'lanczos3' } as const;

let limited = false;

/** libvips knows dozens of formats, each a way in; three are left. (sharp.pixelplumbing.com/security) */
function limitLoaders(): void {
  if (limited) return;
  limited = true;
  sharp.block({ operation: ['VipsForeignLoad'] });
  sharp.unblock({
    operation: ['VipsForeignLoadJpegBuffer', 'VipsForeignLoadPngBuffer', 'VipsForeignLoadWebpBuffer'],
  });
  sharp.cache(false);
  sharp.concurrency(1);
}

export function openPicture(bytes: Uint8Array, pixelsMax: number): Sharp {
  limitLoaders();
  return sharp(bytes, { failOn: 'warning', limitInputPixels: pixelsMax, autoOrient: true });
}

/** @returns the size of the upright picture; no pixel is decoded for it */
export async function readHeader(bytes: Uint8Array): Promise<{ width: number; height: number }> {
  limitLoaders();
  const header = await refusing(() => sharp(bytes, { failOn: 'warning', limitInputPixels: false }).metadata());
  return header.autoOrient;
}

/** Decodes the whole picture, and gives what opens it as often as is needed. */
export async function decodeOnce(bytes: Uint8Array, pixelsMax: number): Promise<() => Sharp> {
  const { data, info } = await refusing(() =>
    openPicture(bytes, pixelsMax)
      .flatten({ background: 'black' })
      .toColourspace('srgb')
      .raw({ depth: 'uchar' })
      .toBuffer({ resolveWithObject: true }),
  );
  const raw = { width: info.width, height: info.height, channels: info.channels as 3 };
  return () => sharp(data, { raw, limitInputPixels: pixelsMax });
}

/** The whole picture, a pixel per word. */
export async function decodeBySharp(bytes: Uint8Array, pixelsMax: number): Promise<Raster> {
  const open = openPicture(bytes, pixelsMax).flatten({ background: 'black' }).toColourspace('srgb').ensureAlpha();
  return rasterOf(open);
}

/** Where the bell is cut off, as a share of its height; libvips' own 0.2 leaves of it less than SciPy and OpenCV do. */
const BLUR_TAIL = 0.002;

/** @throws BrinkError E_IMAGE_CORRUPT */
export function denoiseBySharp(raster: Raster, { median, gaussian }: Denoise): Promise<Raster> {
  let steps = openRaster(raster);
  if (median !== undefined) steps = steps.median(median);
  if (gaussian !== undefined) steps = steps.blur({ sigma: gaussian, precision: 'float', minAmplitude: BLUR_TAIL });
  return rasterOf(steps.ensureAlpha());
}

/** What libvips does otherwise than others is resized here in any case. */
export async function resizeBySharp(raster: Raster, wanted: Wanted): Promise<Uint8Array> {
  return isByKernel(raster, wanted) ? resizedBytes(raster, wanted) : prepare(openRaster(raster), wanted);
}

/** A JPEG without any metadata. */
export async function compressBySharp(raster: Raster, quality: number): Promise<Uint8Array> {
  return new Uint8Array(await refusing(() => openRaster(raster).jpeg({ quality }).toBuffer()));
}

/** The whole picture as a JPEG without any metadata, upright. */
export async function recompress(bytes: Uint8Array, pixelsMax: number, quality: number): Promise<Uint8Array> {
  const steps = openPicture(bytes, pixelsMax).flatten({ background: 'black' }).toColourspace('srgb').jpeg({ quality });
  return new Uint8Array(await refusing(() => steps.toBuffer()));
}

function openRaster({ words, width, height }: Raster): Sharp {
  const pixels = new Uint8Array(words.buffer, words.byteOffset, 4 * width * height);
  return sharp(pixels, { raw: { width, height, channels: 4 }, limitInputPixels: false }).removeAlpha();
}

async function rasterOf(steps: Sharp): Promise<Raster> {
  const { data, info } = await refusing(() => steps.raw({ depth: 'uchar' }).toBuffer({ resolveWithObject: true }));
  const { width, height, channels } = info;
  if (channels !== 4) throw new BrinkError('E_SHAPE', `decoded to ${channels} channels; expected 4`);
  const aligned = data.byteOffset % 4 === 0 ? data : new Uint8Array(data);
  return { words: new Int32Array(aligned.buffer, aligned.byteOffset, width * height), width, height };
}

/** Resizes to what is wanted, as bytes in the order of channels that is wanted. */
export async function prepare(picture: Sharp, { target, placement }: Wanted): Promise<Uint8Array> {
  const { resize, cut, frame } = placement;
  let steps = picture
    .flatten({ background: 'black' })
    .resize({ ...resize, fit: 'fill', kernel: KERNELS[target.kernel] });
  if (cut !== undefined) steps = steps.extract({ ...cut, width: target.width, height: target.height });
  if (frame !== undefined)
    steps = steps.extend({ ...frame, background: { r: target.pad, g: target.pad, b: target.pad } });
  const { data, info } = await refusing(() =>
    steps.toColourspace('srgb').raw({ depth: 'uchar' }).toBuffer({ resolveWithObject: true }),
  );
  if (info.width !== target.width || info.height !== target.height || info.channels !== 3) {
    throw new BrinkError(
      'E_SHAPE',
      `decoded to ${info.height} × ${info.width} × ${info.channels}; expected ${target.height} × ${target.width} × 3`,
    );
  }
  if (target.colour === 'grey') return greyOfAll(data);
  if (target.colour === 'bgr') swapRedAndBlue(data);
  return data;
}

/** Runs a step of sharp; whatever it throws is about the bytes, and is said in the words of the error table. */
async function refusing<T>(step: () => Promise<T>): Promise<T> {
  try {
    return await step();
  } catch (reason) {
    const message = reason instanceof Error ? reason.message.trim().slice(0, 300) : String(reason);
    const code = message.includes('exceeds pixel limit') ? 'E_IMAGE_PIXELS' : 'E_IMAGE_CORRUPT';
    throw new BrinkError(code, `libvips: ${message}`, { cause: reason });
  }
}

function greyOfAll(pixels: Uint8Array): Uint8Array {
  return Uint8Array.from({ length: pixels.length / 3 }, (_, i) =>
    greyOf(pixels[3 * i] as number, pixels[3 * i + 1] as number, pixels[3 * i + 2] as number),
  );
}

function swapRedAndBlue(pixels: Uint8Array): void {
  for (let i = 0; i + 2 < pixels.length; i += 3) {
    const red = pixels[i] as number;
    pixels[i] = pixels[i + 2] as number;
    pixels[i + 2] = red;
  }
}
