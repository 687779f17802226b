import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { decodePicture } from '@brink/decode';
import { type BatchTensor, createDecoder, type Decode, iou, parseLabels, resultToOriginal } from '@brink/decoders';
import { imageTarget, normaliseToFloat } from '@brink/preprocess';
import { type ImageInput, ImageInputSchema, OutputSchema, type Result } from '@brink/protocol';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { beforeAll, describe, expect, it } from 'vitest';

// Decoders against numbers that others published (SOURCE.md beside each model), through our own preparation of pictures and
// nothing else of the service.

const SHARED = join(import.meta.dirname, '../../../../shared/models');
const missing = (name: string) => (existsSync(join(SHARED, name)) ? '' : ` (skipped: no ../shared/models/${name})`);

interface Model {
  readonly session: InferenceSession;
  readonly image: ImageInput;
  readonly decode: Decode;
}

async function open(file: string, o: { image: object; output: object; labels: readonly string[] }): Promise<Model> {
  const image = ImageInputSchema.parse(o.image);
  const session = await InferenceSession.create(join(SHARED, file), {
    logSeverityLevel: 3,
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
  });
  const decode = createDecoder({
    task: 'detection',
    output: OutputSchema.parse(o.output),
    labels: { names: o.labels, texts: {} },
    input: { width: image.width, height: image.height },
  });
  return { session, image, decode };
}

async function detect({ session, image, decode }: Model, picture: string): Promise<Result> {
  const { pictures, width, height } = await decodePicture(await readFile(picture), { targets: [imageTarget(image)] });
  const [prepared] = pictures;
  const input = new Tensor('float32', normaliseToFloat(prepared!.pixels, image), [1, 3, image.height, image.width]);
  const ran = await session.run({ [session.inputNames[0]!]: input });
  const tensors = new Map<string, BatchTensor>();
  for (const [name, { data, dims }] of Object.entries(ran)) {
    const { buffer, byteOffset, byteLength } = data as Float32Array;
    tensors.set(name, { dtype: 'float32', data: new Uint8Array(buffer, byteOffset, byteLength), shape: dims });
  }
  const { result } = decode({ batch: 1, tensors }, 0, 'en');
  return resultToOriginal(result, prepared!.transform, image, { width, height });
}

/** In pixels, read off upstream's own picture of its result (3_expected_result.jpg, 500 × 335), in the order of the scores. */
const UPSTREAM_BOXES = [
  [40, 62, 178, 294],
  [288, 141, 483, 297],
  [160, 136, 257, 265],
  [230, 138, 324, 277],
] as const;

describe.skipIf(missing('fastestdet') !== '')(`FastestDet by the grid decoder${missing('fastestdet')}`, () => {
  let model: Model;
  const folder = join(SHARED, 'fastestdet');

  beforeAll(async () => {
    model = await open('fastestdet/FastestDet.onnx', {
      image: { width: 352, height: 352, colour: 'bgr', scale: 1 / 255 },
      output: {
        decoder: 'grid',
        tensors: { output: '758' },
        layout: 'channels-first',
        levels: [{ stride: 16 }],
        channels: [
          { role: 'obj' },
          { role: 'x', activation: 'tanh' },
          { role: 'y', activation: 'tanh' },
          { role: 'w', activation: 'sigmoid' },
          { role: 'h', activation: 'sigmoid' },
          { role: 'class', count: 80 },
        ],
        score: 'pow(obj, 0.6) * pow(class, 0.4)',
        box: { x: '(column + x) * stride', y: '(row + y) * stride', w: 'w * input_width', h: 'h * input_height' },
        score_min: 0.65,
        nms_iou: 0.45,
      },
      labels: parseLabels(await readFile(join(folder, 'coco.names'), 'utf8')),
    });
  });

  it('finds what upstream shows: four persons with their scores and places, and a bus', async () => {
    const { objects, label } = await detect(model, join(folder, 'imgs/3.jpg'));
    expect(label).toBe('person');
    // Upstream takes the colours as they are and resizes without anti-alias; here its Adobe RGB becomes sRGB first.
    for (const [at, score] of [0.89, 0.88, 0.81, 0.8].entries()) {
      expect(objects![at]!.label).toBe('person');
      expect(Math.abs(objects![at]!.score - score)).toBeLessThan(0.035);
    }
    expect(objects!.length).toBe(4);
    for (const [at, [x0, y0, x1, y1]] of UPSTREAM_BOXES.entries()) {
      const upstream = [x0 / 500, y0 / 335, x1 / 500, y1 / 335] as const;
      expect(iou(objects![at]!.box, upstream)).toBeGreaterThan(0.9);
    }
    const bus = await detect(model, join(folder, 'imgs/1.jpg'));
    expect(bus.objects?.map((object) => `${object.label} ${object.score.toFixed(2)}`)).toEqual(['bus 0.96']);
  });

  it('finds something else with red and blue changed over: the colours of the passport matter', async () => {
    const wrong = { ...model, image: { ...model.image, colour: 'rgb' as const } };
    const scores = (await detect(wrong, join(folder, 'imgs/3.jpg'))).objects?.map(({ score }) => score) ?? [];
    const upstream = [0.89, 0.88, 0.81, 0.8];
    expect(scores.length === 4 && upstream.every((score, at) => Math.abs(scores[at]! - score) < 0.035)).toBe(false);
  });
});

describe.skipIf(missing('ultraface') !== '')(
  `UltraFace by the decoder of scores and boxes${missing('ultraface')}`,
  () => {
    let model: Model;
    const folder = join(SHARED, 'ultraface');

    beforeAll(async () => {
      model = await open('ultraface/version-RFB-320.onnx', {
        image: { width: 320, height: 240, colour: 'rgb', mean: [127], std: [128] },
        output: {
          decoder: 'scores-boxes',
          tensors: { scores: 'scores', boxes: 'boxes' },
          background: 0,
          score_min: 0.7,
          nms_iou: 0.3,
          objects_max: 200,
        },
        labels: ['face'],
      });
    });

    it.each([
      ['13', 2],
      ['19', 5],
      ['2', 4],
      ['20', 10],
      ['3', 5],
      ['6', 14],
      ['mnn_1', 8],
      ['mnn_4', 1],
      ['1', 44],
    ])('finds in %s as many faces as upstream: %i', async (picture, faces) => {
      const { objects } = await detect(model, join(folder, `imgs/${picture}.jpg`));
      expect(objects).toHaveLength(faces);
      expect(new Set(objects?.map(({ label }) => label))).toEqual(new Set(['face']));
    });
  },
);
