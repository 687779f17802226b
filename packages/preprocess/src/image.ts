import { BrinkError, type ImageInput, type Passport } from '@brink/protocol';

/** What a decoder must make of a picture for one model: everything of `image` that concerns pixels, not numbers. */
export type ImageTarget = Pick<ImageInput, 'width' | 'height' | 'fit' | 'pad' | 'kernel' | 'colour'>;

export function imageTarget(image: ImageInput): ImageTarget {
  const { width, height, fit, pad, kernel, colour } = image;
  return { width, height, fit, pad, kernel, colour };
}

/** How a picture travels to the model: uint8, height × width × channels. The graph transposes and normalises. */
export interface WireHead {
  readonly name: string;
  readonly dtype: 'uint8';
  readonly shape: readonly [height: number, width: number, channels: number];
  readonly bytes: number;
}

/** The head of the only input that passports have so far. */
export function wireHead(passport: Pick<Passport, 'inputs'>): WireHead {
  const input = passport.inputs[0];
  if (input === undefined) throw new BrinkError('E_PASSPORT', 'inputs is empty; expected one input');
  const { width, height } = input.image;
  const channels = channelsOf(input.image);
  return { name: input.tensor, dtype: 'uint8', shape: [height, width, channels], bytes: height * width * channels };
}

/**
 * A frame of `format: tensor` is the wire tensor itself; nothing but its size can be checked.
 * @throws BrinkError E_SHAPE
 */
export function checkTensorBytes(bytes: number, head: WireHead): void {
  if (bytes === head.bytes) return;
  const shape = head.shape.join(' × ');
  throw new BrinkError(
    'E_SHAPE',
    `the frame has ${bytes} bytes; expected ${head.bytes}: ${head.dtype} ${shape} for "${head.name}"`,
  );
}

export function channelsOf(image: Pick<ImageInput, 'colour'>): 1 | 3 {
  return image.colour === 'grey' ? 1 : 3;
}

/**
 * The reference for what a model's own graph does with the wire tensor: (x · scale − mean) / std, per channel, in the
 * layout of the passport. `mean` and `std` stand in the order of the channels (b, g, r for bgr); one value serves all.
 * @param pixels uint8, height × width × channels
 * @returns float32, as `image.layout` says, without the batch dimension
 * @throws BrinkError E_SHAPE
 */
export function normaliseToFloat(pixels: Uint8Array, image: ImageInput): Float32Array {
  const { width, height, scale, layout } = image;
  const channels = channelsOf(image);
  const plane = width * height;
  if (pixels.length !== plane * channels) {
    throw new BrinkError('E_SHAPE', `${pixels.length} values; expected ${height} × ${width} × ${channels}`);
  }
  const out = new Float32Array(pixels.length);
  for (let c = 0; c < channels; c++) {
    const mean = image.mean[c] ?? image.mean[0];
    const std = image.std[c] ?? image.std[0];
    const [start, step] = layout === 'nchw' ? [c * plane, 1] : [c, channels];
    for (let i = 0; i < plane; i++) out[start + i * step] = ((pixels[i * channels + c] as number) * scale - mean) / std;
  }
  return out;
}
