import { type ImageInput, ImageInputSchema } from '@brink/protocol';
import { describe, expect, it } from 'vitest';
import { checkTensorBytes, imageTarget, normaliseToFloat, wireHeads } from './index.ts';

const image = (over: Partial<ImageInput> = {}): ImageInput => ImageInputSchema.parse({ width: 2, height: 1, ...over });

describe('the wire tensor of a picture', () => {
  it('is uint8, height × width × channels', () => {
    const passport = { inputs: [{ tensor: 'x', image: image({ width: 128, height: 96 }) }], state: [] };
    expect(wireHeads(passport)[0]).toEqual({ name: 'x', dtype: 'uint8', shape: [96, 128, 3], bytes: 36_864 });
    const grey = { inputs: [{ tensor: 'x', image: image({ colour: 'grey' }) }], state: [] };
    expect(wireHeads(grey)[0]?.shape).toEqual([1, 2, 1]);
  });

  it('is refused with E_SHAPE unless it has exactly its bytes', () => {
    const [head] = wireHeads({ inputs: [{ tensor: 'x', image: image() }], state: [] });
    if (head === undefined) throw new Error('no head');
    expect(() => checkTensorBytes(6, head)).not.toThrow();
    for (const bytes of [0, 5, 7, 24]) expect(() => checkTensorBytes(bytes, head)).toThrow(/E_SHAPE.*expected 6/);
  });

  it('comes from the part of the passport that concerns pixels', () => {
    expect(imageTarget(image({ fit: 'letterbox', pad: 114, scale: 0.5 }))).toEqual({
      width: 2,
      height: 1,
      fit: 'letterbox',
      pad: 114,
      kernel: 'bilinear',
      colour: 'rgb',
    });
  });
});

describe('the reference normalisation', () => {
  // two pixels of three channels
  const pixels = Uint8Array.of(10, 20, 30, 40, 50, 60);
  const numbers = { scale: 0.1, mean: [1, 2, 3], std: [1, 2, 4] } as const;
  const values = [0, 0, 0, 3, 1.5, 0.75];

  it('is (x · scale − mean) / std per channel, in either layout', () => {
    const nhwc = normaliseToFloat(pixels, image({ ...numbers, mean: [1, 2, 3], std: [1, 2, 4], layout: 'nhwc' }));
    const nchw = normaliseToFloat(pixels, image({ ...numbers, mean: [1, 2, 3], std: [1, 2, 4], layout: 'nchw' }));
    for (const [i, value] of values.entries()) {
      expect(nhwc[i]).toBeCloseTo(value, 6);
      expect(nchw[(i % 3) * 2 + Math.floor(i / 3)]).toBeCloseTo(value, 6);
    }
  });

  it('takes one mean and std for all channels', () => {
    const out = normaliseToFloat(pixels, image({ scale: 1, mean: [10], std: [10], layout: 'nhwc' }));
    expect([...out]).toEqual([0, 1, 2, 3, 4, 5]);
  });

  it('refuses pixels that are not of the shape', () => {
    expect(() => normaliseToFloat(pixels.subarray(1), image())).toThrow(/E_SHAPE/);
  });
});
