import { isPicture, sniff } from '@brink/decode';
import { imageTarget, isPrepared } from '@brink/preprocess';
import { BrinkError, type ImageInput } from '@brink/protocol';
import type { LoadedModel } from '../models/version.ts';
import { elementsOf } from './datatypes.ts';
import type { PictureDecoder } from './picture-decoder.ts';
import { unpackBytes } from './strings.ts';
import type { OipTensor } from './tensor.ts';

// OpenVINO Model Server's convention: a picture input may come as BYTES [N], each element a JPEG, PNG or WebP file. It is prepared
// as the passport says and runs on the derived graph, as the units of gateways do. (docs/binary_input_kfs.md there)

const PICTURES_MAX = 128;

/** The picture that the model takes, where that and constants are all that it takes. */
function pictureInput({ inputs, heads, states }: LoadedModel): ImageInput | undefined {
  const [input, ...others] = inputs.filter(isPrepared);
  const ready = others.length === 0 && states.length === 0 && heads.length === 1;
  return ready && input !== undefined && 'image' in input ? input.image : undefined;
}

/** Whether a raw body goes into the model as a picture. */
export function isRawPicture(model: LoadedModel, body: Uint8Array): boolean {
  const isText = model.native.inputs[0]?.dtype === 'string';
  return !isText && pictureInput(model) !== undefined && isPicture(sniff(body));
}

/**
 * @returns the files where the request brings pictures for a model of numbers; undefined where it brings tensors
 * @throws BrinkError E_SHAPE, E_UNSUPPORTED where the model takes no picture
 */
export function picturesIn(model: LoadedModel, tensors: readonly OipTensor[]): readonly Uint8Array[] | undefined {
  const [tensor, ...others] = tensors;
  if (tensor === undefined || tensor.head.dtype !== 'string') return undefined;
  const { name, shape } = tensor.head;
  const own = model.native.inputs.find((input) => input.name === name);
  if (own === undefined || own.dtype === 'string') return undefined;
  if (pictureInput(model) === undefined) {
    throw new BrinkError(
      'E_UNSUPPORTED',
      `input "${name}" is BYTES and the model takes numbers: pictures need a passport that says how they become its one input`,
    );
  }
  if (others.length > 0) throw new BrinkError('E_SHAPE', `with pictures in "${name}" no other input is taken`);
  const count = elementsOf(shape);
  if (count < 1 || count > PICTURES_MAX || shape[0] !== count) {
    throw new BrinkError('E_SHAPE', `"${name}" has shape [${shape}]; expected [N] pictures, 1 to ${PICTURES_MAX}`);
  }
  return unpackBytes(name, tensor.bytes, count);
}

/** @returns pixels per picture, uint8 [height, width, channels] @throws BrinkError E_IMAGE_…, saying which; E_CRASHED, E_TIMEOUT */
export function readPictures(
  model: LoadedModel,
  files: readonly Uint8Array[],
  decoder: PictureDecoder,
  signal: AbortSignal,
): Promise<Uint8Array[]> {
  const image = pictureInput(model) as ImageInput;
  return Promise.all(
    files.map((file, at) =>
      decoder.decode(file, imageTarget(image), signal).catch((reason: unknown) => {
        const { code, detail } = BrinkError.from(reason);
        throw new BrinkError(code, `picture ${at} of ${files.length}: ${detail}`, { cause: reason });
      }),
    ),
  );
}
