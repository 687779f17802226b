import { BrinkError } from '@brink/protocol/link';
import { type PictureTarget, type PictureTransform, type Placement, placeIn } from './geometry.ts';
import { isByKernel, isForTurbo, prepareByTurbo, resizedBytes, type Wanted } from './jpeg.ts';
import { type PlainJpeg, readPlainJpeg } from './jpeg-header.ts';
import { type Denoise, decodeBySharp, decodeOnce, openPicture, prepare, readHeader, recompress } from './libvips.ts';
import type { MaskShape } from './mask.ts';
import { isPicture, sniff } from './sniff.ts';
import { prepareWhole } from './whole.ts';

export const PIXELS_MAX_DEFAULT = 16_000_000;

export interface DecodeOptions {
  /** Checked against the header before a pixel is decoded. Default 16 million. */
  readonly pixelsMax?: number;
  readonly targets: readonly PictureTarget[];
  /** Painted black before anything else is done. */
  readonly masks?: readonly MaskShape[] | undefined;
  readonly denoise?: Denoise | undefined;
  /** 1..100: the picture itself too, upright and masked, as a JPEG of this quality without metadata. */
  readonly keepQuality?: number | undefined;
  /** `sharp`: everything through libvips, to compare with. Default `fastest`. */
  readonly by?: 'fastest' | 'sharp';
}

export interface PreparedPicture {
  /** uint8, height × width × channels; 1 channel where the target is grey, else 3. */
  readonly pixels: Uint8Array;
  readonly transform: PictureTransform;
}

export interface DecodedPicture {
  readonly type: 'image/jpeg' | 'image/png' | 'image/webp';
  /** Of the upright original, in pixels. */
  readonly width: number;
  readonly height: number;
  /** One per target, in their order. */
  readonly pictures: PreparedPicture[];
  /** The picture itself as a JPEG, where that was asked for. */
  readonly kept?: Uint8Array | undefined;
  readonly maskMs?: number;
}

/**
 * Decodes a JPEG, PNG or WebP and prepares it for every target: upright (EXIF), on black where it is transparent, sRGB,
 * 8 bit, resized with libvips' kernels, which are anti-aliased when they shrink; what is enlarged, as Pillow does it.
 *
 * A plain JPEG that is not large goes through libjpeg-turbo and a resizing of our own, 1.4 to 6 times as fast and the
 * same within a tolerance that jpeg.test.ts holds; what libjpeg-turbo does not take without a warning sharp decides on.
 *
 * What a target gets never depends on the other targets. So JPEG and WebP, where libvips decodes only as much as the
 * target needs (shrink-on-load), take one pass per different target: for two targets that costs what one whole decode
 * and two resizes cost, and much less for large pictures. PNG has nothing to save and is decoded once. What is masked,
 * denoised or cropped is decoded whole, once.
 *
 * @throws BrinkError E_IMAGE_TYPE, E_IMAGE_PIXELS, E_IMAGE_CORRUPT, E_SHAPE
 */
export async function decodePicture(bytes: Uint8Array, options: DecodeOptions): Promise<DecodedPicture> {
  const type = sniff(bytes);
  if (!isPicture(type)) throw new BrinkError('E_IMAGE_TYPE', `the bytes look like ${type}; expected JPEG, PNG or WebP`);
  const pixelsMax = options.pixelsMax ?? PIXELS_MAX_DEFAULT;
  const plain = type === 'image/jpeg' && options.by !== 'sharp' ? readPlainJpeg(bytes) : undefined;
  const { width, height } = plain ?? (await readHeader(bytes));
  checkPixels(width, height, pixelsMax);
  const placements = options.targets.map((target) => placeIn(width, height, target));
  const different = new Map(
    options.targets.map((target, i) => [keyOf(target), { target, placement: placements[i] as Placement }]),
  );
  const source = { type, plain, pixelsMax, width, height };
  const made = isTreated(options)
    ? await prepareTreated(bytes, source, options, different)
    : await prepareAsIs(bytes, source, options, different);
  const { pixels, ...rest } = made;
  return {
    type,
    width,
    height,
    pictures: options.targets.map((target, i) => ({
      pixels: pixels.get(keyOf(target)) as Uint8Array,
      transform: (placements[i] as Placement).transform,
    })),
    ...rest,
  };
}

interface Source {
  readonly type: DecodedPicture['type'];
  readonly plain: PlainJpeg | undefined;
  readonly pixelsMax: number;
  /** Upright. */
  readonly width: number;
  readonly height: number;
}

/** The pixels of each different target. */
interface Made extends Pick<DecodedPicture, 'kept' | 'maskMs'> {
  readonly pixels: ReadonlyMap<string, Uint8Array>;
}

/** Whether something is done to the picture before the targets are made of it. */
function isTreated({ masks = [], denoise, targets }: DecodeOptions): boolean {
  return masks.length > 0 || denoise !== undefined || targets.some(({ region }) => region !== undefined);
}

async function prepareTreated(
  bytes: Uint8Array,
  { type, plain, pixelsMax }: Source,
  { masks = [], denoise, keepQuality, by }: DecodeOptions,
  different: ReadonlyMap<string, Wanted>,
): Promise<Made> {
  const how = { plain, lossless: type === 'image/png', pixelsMax, bySharp: by === 'sharp' };
  const treatment = { masks, denoise, keepQuality };
  const { pictures, kept, maskMs } = await prepareWhole(bytes, how, treatment, [...different.values()]);
  return { pixels: new Map([...different.keys()].map((key, i) => [key, pictures[i] as Uint8Array])), kept, maskMs };
}

async function prepareAsIs(
  bytes: Uint8Array,
  { plain, ...source }: Source,
  { keepQuality }: DecodeOptions,
  different: ReadonlyMap<string, Wanted>,
): Promise<Made> {
  const pixels = new Map<string, Uint8Array>();
  if (plain !== undefined) {
    const forTurbo = [...different].filter(([, wanted]) => isForTurbo(plain, wanted));
    const made =
      forTurbo.length === 0
        ? undefined
        : await prepareByTurbo(
            bytes,
            plain,
            forTurbo.map(([, one]) => one),
          );
    for (const [i, one] of (made ?? []).entries()) pixels.set((forTurbo[i] as [string, Wanted])[0], one);
  }
  await prepareBySharp(bytes, source, different, pixels);
  if (keepQuality === undefined) return { pixels };
  return { pixels, kept: await recompress(bytes, source.pixelsMax, keepQuality) };
}

/** Adds to `pixels` what is not there yet. */
async function prepareBySharp(
  bytes: Uint8Array,
  { type, pixelsMax, ...size }: Omit<Source, 'plain'>,
  different: ReadonlyMap<string, Wanted>,
  pixels: Map<string, Uint8Array>,
): Promise<void> {
  const byKernel = [...different].filter(([key, wanted]) => !pixels.has(key) && isByKernel(size, wanted));
  if (byKernel.length > 0) {
    const raster = await decodeBySharp(bytes, pixelsMax);
    for (const [key, wanted] of byKernel) pixels.set(key, resizedBytes(raster, wanted));
  }
  const missing = [...different].filter(([key]) => !pixels.has(key));
  if (missing.length === 0) return;
  const open =
    missing.length > 1 && type === 'image/png'
      ? await decodeOnce(bytes, pixelsMax)
      : () => openPicture(bytes, pixelsMax);
  for (const [key, wanted] of missing) pixels.set(key, await prepare(open(), wanted));
}

function checkPixels(width: number, height: number, pixelsMax: number): void {
  if (width * height <= pixelsMax) return;
  throw new BrinkError('E_IMAGE_PIXELS', `the picture has ${width} × ${height} pixels; expected at most ${pixelsMax}`);
}

function keyOf(target: PictureTarget): string {
  const region = target.region === undefined ? '' : ` ${target.region.join(' ')}`;
  return `${target.width}x${target.height} ${target.fit} ${target.pad} ${target.kernel} ${target.colour}${region}`;
}
