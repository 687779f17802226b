import type { Raster } from './bilinear.ts';
import type { Wanted } from './jpeg.ts';
import { compressByTurbo, decodeByTurbo, isResizedHere, loadTurbo, resizedBytes } from './jpeg.ts';
import type { PlainJpeg } from './jpeg-header.ts';
import { compressBySharp, type Denoise, decodeBySharp, denoiseBySharp, resizeBySharp } from './libvips.ts';
import { type MaskShape, paintMasks, pixelsOf } from './mask.ts';

/** What is done to the upright original before any target is made of it. Given: it is decoded whole. */
export interface Treatment {
  readonly masks: readonly MaskShape[];
  readonly denoise: Denoise | undefined;
  /** 1..100: gives the treated picture itself too, as a JPEG of this quality without metadata. */
  readonly keepQuality: number | undefined;
}

export interface Treated {
  readonly pictures: readonly Uint8Array[];
  readonly kept: Uint8Array | undefined;
  readonly maskMs: number;
}

/** Larger ones are decoded by sharp, whose memory does not stay. */
const TURBO_PIXELS_MAX = 2_500_000;

/**
 * Decodes a picture once, masks it, takes the noise away, and only then makes of it what each target wants: so no kernel, and
 * no shrinking while it is decoded, ever sees a masked pixel's colour.
 * @param o.plain what the header said where libjpeg-turbo may decode it
 * @throws BrinkError E_IMAGE_CORRUPT, E_SHAPE
 */
export async function prepareWhole(
  bytes: Uint8Array,
  o: { plain: PlainJpeg | undefined; lossless: boolean; pixelsMax: number; bySharp: boolean },
  treatment: Treatment,
  wanted: readonly Wanted[],
): Promise<Treated> {
  const codec = o.bySharp ? undefined : await loadTurbo();
  const { plain } = o;
  const forTurbo = codec !== undefined && plain !== undefined && plain.width * plain.height <= TURBO_PIXELS_MAX;
  const shared = forTurbo ? decodeByTurbo(codec, bytes, plain) : undefined;
  let raster = shared ?? (await decodeBySharp(bytes, o.pixelsMax));
  const start = performance.now();
  paintMasks(raster, treatment.masks, o.lossless);
  const maskMs = performance.now() - start;
  const isHere = (one: Wanted) => !o.bySharp && isResizedHere(sizeOf(raster, one), one);
  const { denoise, keepQuality } = treatment;
  // What libjpeg-turbo decodes into is used again by the next picture, which comes as soon as this one waits for anything.
  const waits = denoise !== undefined || !wanted.every(isHere) || (keepQuality !== undefined && codec === undefined);
  if (shared !== undefined && waits) raster = { ...raster, words: raster.words.slice(0, raster.width * raster.height) };
  if (denoise !== undefined) raster = await denoiseBySharp(raster, denoise);
  const pictures: Uint8Array[] = [];
  for (const one of wanted) {
    const part = partOf(raster, one);
    pictures.push(isHere(one) ? resizedBytes(part, one) : await resizeBySharp(part, one));
  }
  if (keepQuality === undefined) return { pictures, kept: undefined, maskMs };
  const compress = codec === undefined ? compressBySharp : compressByTurbo(codec);
  return { pictures, kept: await compress(raster, keepQuality), maskMs };
}

function sizeOf(raster: Raster, { target }: Wanted): { width: number; height: number } {
  if (target.region === undefined) return raster;
  const { left, top, right, bottom } = pixelsOf(target.region, raster);
  return { width: right - left, height: bottom - top };
}

/** The part of the picture that a target wants, in memory of its own. */
function partOf(raster: Raster, { target }: Wanted): Raster {
  if (target.region === undefined) return raster;
  const { left, top, right, bottom } = pixelsOf(target.region, raster);
  const [width, height] = [right - left, bottom - top];
  const words = new Int32Array(width * height);
  for (let y = 0; y < height; y++) {
    const from = (top + y) * raster.width + left;
    words.set(raster.words.subarray(from, from + width), y * width);
  }
  return { words, width, height };
}
