import { deriveGraph, encode, graph, model, node, simpleCnnGraph, value } from '@brink/onnx';
import { normaliseToFloat, wireHeads } from '@brink/preprocess';
import { type ImageInput, ImageInputSchema, OutputSchema } from '@brink/protocol';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { describe, expect, it } from 'vitest';

/** The reference path in JavaScript, picture by picture. */
function normalise(pixels: Uint8Array, image: ImageInput, batch: number): Float32Array {
  const each = pixels.length / batch;
  const out = new Float32Array(pixels.length);
  for (let i = 0; i < batch; i++) out.set(normaliseToFloat(pixels.subarray(i * each, (i + 1) * each), image), i * each);
  return out;
}

const identity = (shape: (string | number)[], opset: number) =>
  encode(
    model(
      graph({
        inputs: [value('x', 'float32', shape)],
        outputs: [value('y', 'float32', shape)],
        nodes: [node('Identity', ['x'], ['y'])],
      }),
      { opset },
    ),
  );

function derive(native: Uint8Array, tensor: string, image: ImageInput): Uint8Array {
  const output = OutputSchema.parse({ decoder: 'raw', tensors: { y: tensor === 'x' ? 'y' : 'logits' } });
  const passport = { inputs: [{ tensor, image }], state: [], output };
  return deriveGraph(native, passport, wireHeads(passport)).graph;
}

const [WIDTH, HEIGHT, BATCH] = [7, 5, 3];
const CASES: [string, Partial<ImageInput>][] = [
  ['ImageNet, nchw', { scale: 1 / 255, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] }],
  ['ImageNet, nhwc', { scale: 1 / 255, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225], layout: 'nhwc' }],
  ['−1..1 by one mean and std', { scale: 1, mean: [127.5], std: [127.5] }],
  ['bytes as they are', { scale: 1 }],
  ['grey', { scale: 1 / 255, mean: [0.1307], std: [0.3081], colour: 'grey' }],
];

function worstDifference(given: unknown, expected: unknown): number {
  if (!(given instanceof Float32Array && expected instanceof Float32Array)) throw new Error('expected float32');
  return given.reduce((worst, number, i) => Math.max(worst, Math.abs(number - (expected[i] ?? Number.NaN))), 0);
}

describe('normalisation in the graph', () => {
  for (const opset of [8, 13, 17, 21]) {
    it.each(CASES)(`equals the JavaScript path within 1e-5: %s, operator set ${opset}`, async (_name, over) => {
      const image = ImageInputSchema.parse({ width: WIDTH, height: HEIGHT, ...over });
      const channels = image.colour === 'grey' ? 1 : 3;
      const own = image.layout === 'nchw' ? [channels, HEIGHT, WIDTH] : [HEIGHT, WIDTH, channels];
      const derived = derive(identity(['batch', ...own], opset), 'x', image);
      const session = await InferenceSession.create(derived, { logSeverityLevel: 3 });
      const pixels = Uint8Array.from({ length: BATCH * HEIGHT * WIDTH * channels }, (_, i) => (i * 37) % 256);
      const { y } = await session.run({ brink_in0: new Tensor('uint8', pixels, [BATCH, HEIGHT, WIDTH, channels]) });
      const expected = normalise(pixels, image, BATCH);
      expect(y?.dims).toEqual([BATCH, ...own]);
      const worst = worstDifference(y?.data, expected);
      expect(worst).toBeLessThan(1e-5);
      await session.release();
    });
  }

  it('gives the logits of the float graph within 1e-5', async () => {
    let state = 3;
    const random = () => {
      state = (state * 48271) % 2147483647;
      return state / 2147483647;
    };
    const native = simpleCnnGraph(random);
    const image = ImageInputSchema.parse({
      width: 128,
      height: 128,
      scale: 1 / 255,
      mean: [0.5, 0.4, 0.3],
      std: [0.2, 0.3, 0.4],
    });
    const pixels = Uint8Array.from({ length: 2 * 128 * 128 * 3 }, () => Math.floor(random() * 256));
    const options = { logSeverityLevel: 3, intraOpNumThreads: 1 } as const;
    const derived = await InferenceSession.create(derive(native, 'image', image), options);
    const float = await InferenceSession.create(native, options);
    const a = await derived.run({ brink_in0: new Tensor('uint8', pixels, [2, 128, 128, 3]) });
    const b = await float.run({ image: new Tensor('float32', normalise(pixels, image, 2), [2, 3, 128, 128]) });
    expect(worstDifference(a['logits']?.data, b['logits']?.data)).toBeLessThan(1e-5);
  });
});
