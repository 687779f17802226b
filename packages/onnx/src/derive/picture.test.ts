import { type BrinkError, type ImageInput, ImageInputSchema, OutputSchema } from '@brink/protocol';
import { describe, expect, it } from 'vitest';
import { encode, graph, model, node, value } from '../build.ts';
import type { Dtype } from '../dtype.ts';
import { parseModel } from '../parse.ts';
import { readModel } from '../read.ts';
import { deriveGraph } from './derive.ts';
import { foldNormalisation } from './picture.ts';

const image = (over: Partial<ImageInput> = {}) =>
  ImageInputSchema.parse({ width: 4, height: 2, scale: 1 / 255, ...over });
const NHWC = [2, 4, 3];
const native = (dtype: Dtype = 'float32', opset = 17, own = [3, 2, 4]) =>
  encode(
    model(
      graph({
        inputs: [value('x', dtype, ['batch', ...own])],
        outputs: [value('y', dtype, ['batch', ...own])],
        nodes: [node('Identity', ['x'], ['y'])],
      }),
      { opset },
    ),
  );
/** The graph with one picture input. */
function derive(bytes: Uint8Array, tensor: string, picture: ImageInput): Uint8Array {
  const output = OutputSchema.parse({ decoder: 'raw', tensors: { y: 'y' } });
  const shape = [picture.height, picture.width, picture.colour === 'grey' ? 1 : 3];
  return deriveGraph(bytes, { inputs: [{ tensor, image: picture }], state: [], output }, [{ dtype: 'uint8', shape }])
    .graph;
}
const operators = (bytes: Uint8Array) => parseModel(bytes).graph!.node.map(({ opType }) => opType);

describe('pictures in a derived graph', () => {
  it('takes uint8 NHWC and keeps the symbolic batch', () => {
    const derived = derive(native(), 'x', image());
    expect(readModel(derived).inputs).toEqual([{ name: 'brink_in0', dtype: 'uint8', shape: ['batch', 2, 4, 3] }]);
  });

  it('transposes while values are one byte, then casts', () => {
    const named = operators(derive(native(), 'x', image())).filter((name) => name !== 'Constant');
    expect(named).toEqual(['Transpose', 'Cast', 'Mul', 'Add', 'Identity']);
  });

  it('has no transpose for nhwc, and no arithmetic where there is nothing to compute', () => {
    const nhwc = operators(derive(native('float32', 17, NHWC), 'x', image({ layout: 'nhwc' })));
    expect(nhwc).not.toContain('Transpose');
    const plain = operators(derive(native('float32', 17, NHWC), 'x', image({ layout: 'nhwc', scale: 1 })));
    expect(plain).toEqual(['Cast', 'Identity']);
    const bytes = operators(derive(native('uint8', 17, NHWC), 'x', image({ layout: 'nhwc', scale: 1 })));
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
    expect(code(() => derive(native(), 'nope', image()))).toMatch(/E_PASSPORT .*"nope".*it has "x"/);
    expect(code(() => derive(native('int64'), 'x', image()))).toMatch(/E_PASSPORT/);
    expect(code(() => derive(native('float32', 6), 'x', image()))).toMatch(/E_PASSPORT the graph is of operator set 6/);
    expect(code(() => derive(native(), 'x', image({ std: [0, 1, 1] })))).toMatch(/E_PASSPORT .*std\[0\]/);
    const once = derive(native(), 'x', image());
    expect(code(() => derive(once, 'brink_in0', image({ scale: 1 })))).toMatch(/E_MODEL_PARSE/);
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
