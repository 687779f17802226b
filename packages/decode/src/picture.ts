import { BrinkError } from '@brink/protocol/link';
import sharp, { type Sharp } from 'sharp';
import { type PictureTarget, type PictureTransform, type Placement, place } from './geometry.ts';
import { isForTurbo, prepareByTurbo, type Wanted } from './jpeg.ts';
import { readPlainJpeg } from './jpeg-header.ts';
import { isPicture, sniff } from './sniff.ts';

export const PIXELS_MAX_DEFAULT = 16_000_000;

export interface DecodeOptions {
  /** Checked against the header before a pixel is decoded. Default 16 million. */
  readonly pixelsMax?: number;
  readonly targets: readonly PictureTarget[];
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
}

const KERNELS = { nearest: 'nearest', bilinear: 'linear', bicubic: 'cubic', lanczos3: 'lanczos3' } as const;

/**
 * Decodes a JPEG, PNG or WebP and prepares it for every target: upright (EXIF), on black where it is transparent, sRGB,
 * 8 bit, resized with libvips' kernels, which are anti-aliased when they shrink.
 *
 * A plain JPEG that is not large goes through libjpeg-turbo and a resizing of our own, 1.4 to 6 times as fast and the
 * same within a tolerance that jpeg.test.ts holds; what libjpeg-turbo does not take without a warning sharp decides on.
 *
 * What a target gets never depends on the other targets. So JPEG and WebP, where libvips decodes only as much as the
 * target needs (shrink-on-load), take one pass per different target: for two targets that costs what one whole decode
 * and two resizes cost, and much less for large pictures. PNG has nothing to save and is decoded once.
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
  const placements = options.targets.map((target) => place(width, height, target));
  const different = new Map(
    options.targets.map((target, i) => [keyOf(target), { target, placement: placements[i] as Placement }]),
  );
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
  await prepareBySharp(bytes, { type, pixelsMax }, different, pixels);
  return {
    type,
    width,
    height,
    pictures: options.targets.map((target, i) => ({
      pixels: pixels.get(keyOf(target)) as Uint8Array,
      transform: (placements[i] as Placement).transform,
    })),
  };
}

/** Adds to `pixels` what is not there yet. */
async function prepareBySharp(
  bytes: Uint8Array,
  { type, pixelsMax }: { type: DecodedPicture['type']; pixelsMax: number },
  different: ReadonlyMap<string, Wanted>,
  pixels: Map<string, Uint8Array>,
): Promise<void> {
  const missing = [...different].filter(([key]) => !pixels.has(key));
  if (missing.length === 0) return;
  limitLoaders();
  const open =
    missing.length > 1 && type === 'image/png'
      ? await decodeOnce(bytes, pixelsMax)
      : () => openPicture(bytes, pixelsMax);
  for (const [key, wanted] of missing) pixels.set(key, await prepare(open(), wanted));
}

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

function openPicture(bytes: Uint8Array, pixelsMax: number): Sharp {
  return sharp(bytes, { failOn: 'warning', limitInputPixels: pixelsMax, autoOrient: true });
}

/** @returns the size of the upright picture; no pixel is decoded for it */
async function readHeader(bytes: Uint8Array): Promise<{ width: number; height: number }> {
  limitLoaders();
  const header = await refusing(() => sharp(bytes, { failOn: 'warning', limitInputPixels: false }).metadata());
  return header.autoOrient;
}

function checkPixels(width: number, height: number, pixelsMax: number): void {
  if (width * height <= pixelsMax) return;
  throw new BrinkError('E_IMAGE_PIXELS', `the picture has ${width} × ${height} pixels; expected at most ${pixelsMax}`);
}

async function decodeOnce(bytes: Uint8Array, pixelsMax: number): Promise<() => Sharp> {
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

async function prepare(picture: Sharp, { target, placement }: Wanted): Promise<Uint8Array> {
  const { resize, cut, frame } = placement;
  const grey = target.colour === 'grey';
  let steps = picture
    .flatten({ background: 'black' })
    .resize({ ...resize, fit: 'fill', kernel: KERNELS[target.kernel] });
  if (cut !== undefined) steps = steps.extract({ ...cut, width: target.width, height: target.height });
  if (frame !== undefined)
    steps = steps.extend({ ...frame, background: { r: target.pad, g: target.pad, b: target.pad } });
  if (grey) steps = steps.greyscale();
  const { data, info } = await refusing(() =>
    steps
      .toColourspace(grey ? 'b-w' : 'srgb')
      .raw({ depth: 'uchar' })
      .toBuffer({ resolveWithObject: true }),
  );
  const channels = grey ? 1 : 3;
  if (info.width !== target.width || info.height !== target.height || info.channels !== channels) {
    throw new BrinkError(
      'E_SHAPE',
      `decoded to ${info.height} × ${info.width} × ${info.channels}; expected ${target.height} × ${target.width} × ${channels}`,
    );
  }
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

function swapRedAndBlue(pixels: Uint8Array): void {
  for (let i = 0; i + 2 < pixels.length; i += 3) {
    const red = pixels[i] as number;
    pixels[i] = pixels[i + 2] as number;
    pixels[i + 2] = red;
  }
}

function keyOf(target: PictureTarget): string {
  return `${target.width}x${target.height} ${target.fit} ${target.pad} ${target.kernel} ${target.colour}`;
}
