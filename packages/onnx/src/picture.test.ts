import { type BrinkError, type ImageInput, ImageInputSchema } from '@brink/protocol';
import { describe, expect, it } from 'vitest';
import { encode, graph, model, node, value } from './build.ts';
import type { Dtype } from './dtype.ts';
import { parseModel } from './parse.ts';
import { foldNormalisation, prependPictureInput } from './picture.ts';
import { readModel } from './read.ts';

const image = (over: Partial<ImageInput> = {}) =>
  ImageInputSchema.parse({ width: 4, height: 2, scale: 1 / 255, ...over });
const native = (dtype: Dtype = 'float32', opset = 17) =>
  encode(
    model(
      graph({
        inputs: [value('x', dtype, ['batch', 3, 2, 4])],
        outputs: [value('y', dtype, ['batch', 3, 2, 4])],
        nodes: [node('Identity', ['x'], ['y'])],
      }),
      { opset },
    ),
  );
const operators = (bytes: Uint8Array) => parseModel(bytes).graph!.node.map(({ opType }) => opType);

describe('prependPictureInput', () => {
  it('takes uint8 NHWC and keeps the symbolic batch', () => {
    const derived = prependPictureInput(native(), 'x', image());
    expect(readModel(derived).inputs).toEqual([{ name: 'brink_picture', dtype: 'uint8', shape: ['batch', 2, 4, 3] }]);
  });

  it('transposes while values are one byte, then casts', () => {
    const named = operators(prependPictureInput(native(), 'x', image())).filter((name) => name !== 'Constant');
    expect(named).toEqual(['Transpose', 'Cast', 'Mul', 'Add', 'Identity']);
  });

  it('has no transpose for nhwc, and no arithmetic where there is nothing to compute', () => {
    const nhwc = operators(prependPictureInput(native(), 'x', image({ layout: 'nhwc' })));
    expect(nhwc).not.toContain('Transpose');
    const plain = operators(prependPictureInput(native(), 'x', image({ layout: 'nhwc', scale: 1 })));
    expect(plain).toEqual(['Cast', 'Identity']);
    const bytes = operators(prependPictureInput(native('uint8'), 'x', image({ layout: 'nhwc', scale: 1 })));
    expect(bytes).toEqual(['Identity', 'Identity']);
  });

  it('says what does not go together', () => {
    const code = (run: () => unknown) => {
      try {
        return run();
      } catch (error) {
        return `${(error as BrinkError).code} ${(error as BrinkError).detail}`;
      }
    };
    expect(code(() => prependPictureInput(native(), 'nope', image()))).toMatch(/E_PASSPORT .*"nope".*it has "x"/);
    expect(code(() => prependPictureInput(native('int64'), 'x', image()))).toMatch(/E_PASSPORT/);
    expect(code(() => prependPictureInput(native('float32', 6), 'x', image()))).toMatch(/E_PASSPORT operator set 6/);
    expect(code(() => prependPictureInput(native(), 'x', image({ std: [0, 1, 1] })))).toMatch(/E_PASSPORT .*std\[0\]/);
    const once = prependPictureInput(native(), 'x', image());
    expect(code(() => prependPictureInput(once, 'brink_picture', image({ scale: 1 })))).toMatch(/E_MODEL_PARSE/);
  });
});

describe('foldNormalisation', () => {
  it('is (x·scale − mean) / std in one multiply-add per channel, one value standing for all channels', () => {
    const { factor, offset } = foldNormalisation(image({ scale: 0.5, mean: [1, 2, 3], std: [4] }), 3);
    for (const x of [0, 17, 255]) {
      for (let channel = 0; channel < 3; channel++) {
        expect(x * factor[channel]! + offset[channel]!).toBeCloseTo((x * 0.5 - (channel + 1)) / 4, 5);
      }
    }
  });
});
