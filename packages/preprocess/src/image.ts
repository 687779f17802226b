import { BrinkError, type ImageInput } from '@brink/protocol';

/** What a decoder must make of a picture for one model: everything of `image` that concerns pixels, not numbers. */
export type ImageTarget = Pick<ImageInput, 'width' | 'height' | 'fit' | 'pad' | 'kernel' | 'colour'>;

export function imageTarget(image: ImageInput): ImageTarget {
  const { width, height, fit, pad, kernel, colour } = image;
  return { width, height, fit, pad, kernel, colour };
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
