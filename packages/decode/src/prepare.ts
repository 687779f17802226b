import { imageTarget, isPrepared } from '@brink/preprocess';
import { BrinkError, type ImageInput, type Passport } from '@brink/protocol';
import type { PictureTransform } from './geometry.ts';
import { decodePicture } from './picture.ts';
import { isPicture, sniff } from './sniff.ts';

export interface PreparedUnit {
  /** The prepared inputs of the passport, in their order, as `wireHeads` describes them; states are not included. */
  readonly tensors: readonly Uint8Array[];
  /** Of the first picture input: where the model's pixels lie in the upright original, whose size in pixels this is. */
  readonly picture?: { readonly transform: PictureTransform; readonly width: number; readonly height: number };
}

/**
 * A raw file (JPEG, PNG or WebP for `image` inputs) → every unit of it, in order: what the gateway makes of a frame,
 * in one place for golden tests and tools.
 * @throws BrinkError E_TYPE where the file is of no kind that the passport takes; E_IMAGE_TYPE, E_IMAGE_PIXELS,
 * E_IMAGE_CORRUPT, E_DECODE, E_SHAPE
 */
export async function prepareFile(
  bytes: Uint8Array,
  passport: Pick<Passport, 'inputs'>,
  o: { pixelsMax?: number } = {},
): Promise<readonly PreparedUnit[]> {
  const inputs = passport.inputs.filter(isPrepared);
  const images = inputs.flatMap((input) => ('image' in input ? [input.image] : []));
  const type = sniff(bytes);
  if (images.length === inputs.length && isPicture(type)) return [await pictureUnit(bytes, images, o.pixelsMax)];
  throw new BrinkError('E_TYPE', `the bytes look like ${type}; expected what the inputs of the passport take`);
}

async function pictureUnit(
  bytes: Uint8Array,
  images: readonly ImageInput[],
  pixelsMax: number | undefined,
): Promise<PreparedUnit> {
  const targets = images.map(imageTarget);
  const decoded = await decodePicture(bytes, { targets, ...(pixelsMax === undefined ? {} : { pixelsMax }) });
  const { pictures, width, height } = decoded;
  const transform = pictures[0]?.transform;
  return {
    tensors: pictures.map(({ pixels }) => pixels),
    ...(transform === undefined ? {} : { picture: { transform, width, height } }),
  };
}
