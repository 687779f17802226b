import { BrinkError, type ImageInput } from '@brink/protocol';
import { tensor } from '../build.ts';
import type { Dtype } from '../dtype.ts';
import type { Chain } from './chain.ts';

const FLOATS: readonly Dtype[] = ['float32', 'float16', 'bfloat16', 'float64'];
const WHOLE: readonly Dtype[] = ['uint8', 'int8'];

/**
 * uint8 [batch, height, width, channels] → what the graph takes: layout, then (x·scale − mean) / std in float32, then its type.
 * The transpose comes first, while values are one byte each: the other order was measured up to 80 % slower (SimpleCNN, batch 8).
 * @throws BrinkError E_PASSPORT
 */
export function addPicture(chain: Chain, image: ImageInput, target: Dtype, path: string): void {
  if (!FLOATS.includes(target) && !WHOLE.includes(target)) {
    throw new BrinkError(
      'E_PASSPORT',
      `${path} is a picture; the graph takes ${target} there, expected ${[...FLOATS, ...WHOLE].join(', ')}`,
    );
  }
  const channels = image.colour === 'grey' ? 1 : 3;
  const { factor, offset, identity } = foldNormalisation(image, channels);
  if (image.layout === 'nchw') chain.add('Transpose', [], { perm: [0, 3, 1, 2] });
  if (identity && target !== 'int8') {
    chain.cast('uint8', target);
    return;
  }
  const shape = image.layout === 'nchw' ? [1, channels, 1, 1] : [1, 1, 1, channels];
  const whole = WHOLE.includes(target);
  chain.cast('uint8', 'float32');
  chain.add('Mul', [chain.constant(tensor('', shape, factor))]);
  // Casts cut off: to the nearest whole number by floor(x + ½), which every operator set has.
  chain.add('Add', [chain.constant(tensor('', shape, whole ? offset.map((by) => by + 0.5) : offset))]);
  if (whole) chain.add('Floor');
  chain.cast('float32', target);
}

/** (x·scale − mean) / std = x·factor + offset, per channel, in double precision until the end. @throws BrinkError E_PASSPORT */
export function foldNormalisation(
  image: ImageInput,
  channels: number,
): { factor: Float32Array<ArrayBuffer>; offset: Float32Array<ArrayBuffer>; identity: boolean } {
  const factor = new Float32Array(channels);
  const offset = new Float32Array(channels);
  for (let channel = 0; channel < channels; channel++) {
    const mean = image.mean[channel] ?? image.mean[0];
    const std = image.std[channel] ?? image.std[0];
    if (std === 0) throw new BrinkError('E_PASSPORT', `inputs.image.std[${channel}] is 0; values are divided by it`);
    factor[channel] = image.scale / std;
    offset[channel] = -mean / std;
  }
  return { factor, offset, identity: factor.every((by) => by === 1) && offset.every((by) => by === 0) };
}
