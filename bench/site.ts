import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { prependPictureInput, simpleCnnGraph } from '@brink/onnx';
import { ImageInputSchema } from '@brink/protocol';
import sharp from 'sharp';
import { seededRandom } from './random.ts';

export type Payload = 'tensor' | 'jpeg';

export interface BenchModel {
  /** The graph that takes uint8 [batch, 128, 128, 3], as the runner has it too. */
  readonly wirePath: string;
  readonly batchMax: number;
}

const SIDE = 128;
const BATCH_MAX = 16;
const FRAMES = 16;

/** Writes models/, config/ and the raw loop's graph into `folder`. */
export async function writeSimpleCnn(folder: string): Promise<BenchModel> {
  const native = simpleCnnGraph(seededRandom(1));
  const image = ImageInputSchema.parse({ width: SIDE, height: SIDE, scale: 1 / 255, mean: [0.5], std: [0.25] });
  const wirePath = join(folder, 'wire.onnx');
  writeFileSync(wirePath, prependPictureInput(native, 'image', image));

  const home = join(folder, 'models', 'bench-cnn', '1');
  mkdirSync(home, { recursive: true });
  const labels = Array.from({ length: 10 }, (_, i) => `class-${i}\n`).join('');
  writeFileSync(join(home, 'model.onnx'), native);
  writeFileSync(join(home, 'labels.txt'), labels);
  const files = [
    { path: 'model.onnx', sha256: sha256(native) },
    { path: 'labels.txt', sha256: sha256(labels) },
  ];
  const passport = {
    passport: 1,
    name: 'bench-cnn',
    version: 1,
    task: 'classification',
    files,
    inputs: [{ tensor: 'image', image }],
    batch_max: BATCH_MAX,
    output: { decoder: 'classification', tensors: { logits: 'logits' }, labels: { file: 'labels.txt' } },
  };
  writeFileSync(join(home, 'model.json'), `${JSON.stringify(passport, null, 2)}\n`);

  mkdirSync(join(folder, 'config'), { recursive: true });
  const stream = (format: string) => ({
    format,
    frame_age_ms_max: 10_000,
    pipelines: { [`bench-${format}`]: { model: 'bench-cnn' } },
  });
  const configuration = {
    version: 1,
    streams: { tensor: stream('tensor'), jpeg: stream('image') },
    models: { 'bench-cnn': { queue_max: 256 } },
  };
  // JSON is YAML.
  writeFileSync(join(folder, 'config', 'site.yaml'), JSON.stringify(configuration, null, 2));
  return { wirePath, batchMax: BATCH_MAX };
}

/** A few different frames, so that no cache holds them all: smooth gradients with seeded noise. */
export async function framesOf(payload: Payload): Promise<Uint8Array[]> {
  const random = seededRandom(2);
  const pixels = Array.from({ length: FRAMES }, (_, frame) => {
    const out = new Uint8Array(SIDE * SIDE * 3);
    for (let i = 0; i < out.length; i++) out[i] = ((i / 3 + frame * 31) % 256) * 0.7 + random() * 70;
    return out;
  });
  if (payload === 'tensor') return pixels;
  const raw = { width: SIDE, height: SIDE, channels: 3 } as const;
  return Promise.all(pixels.map((frame) => sharp(frame, { raw }).blur(1).jpeg({ quality: 80 }).toBuffer()));
}

const sha256 = (data: string | Uint8Array) => createHash('sha256').update(data).digest('hex');
