import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { deriveGraph, simpleCnnGraph } from '@brink/onnx';
import { type Passport, PassportSchema } from '@brink/protocol';
import type { UnitTensor } from '@brink/test/inference';
import sharp from 'sharp';
import { seededRandom } from './random.ts';

export type Payload = 'tensor' | 'jpeg';

export interface BenchModel {
  /** The graph that takes uint8 [batch, 128, 128, 3], as the runner has it too. */
  readonly wirePath: string;
  readonly batchMax: number;
}

export const SIDE = 128;
export const BATCH_MAX = 16;
const FRAMES = 16;
const PICTURE = { width: SIDE, height: SIDE, scale: 1 / 255, mean: [0.5], std: [0.25] };

/** Writes models/, config/ and the raw loop's graph into `folder`. */
export async function writeSimpleCnn(folder: string): Promise<BenchModel> {
  const native = simpleCnnGraph(seededRandom(1));
  const passport = writeVersion(folder, { name: 'bench-cnn', graph: native, picture: 'image', batchMax: BATCH_MAX });
  const wirePath = join(folder, 'wire.onnx');
  writeFileSync(wirePath, deriveGraph(native, passport, [{ dtype: 'uint8', shape: [SIDE, SIDE, 3] }]).graph);

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

interface BenchVersion {
  readonly name: string;
  readonly version?: number;
  readonly graph: Uint8Array;
  /** The tensor that takes a picture of 128 × 128; else `x` takes 49 spectra of 10 bands. */
  readonly picture?: string;
  readonly batchMax: number;
  readonly classes?: number;
}

/** A classifier's folder under `folder`/models. @returns its passport */
export function writeVersion(folder: string, o: BenchVersion): Passport {
  const version = o.version ?? 1;
  const home = join(folder, 'models', o.name, String(version));
  mkdirSync(home, { recursive: true });
  const labels = Array.from({ length: o.classes ?? 10 }, (_, i) => `class-${i}\n`).join('');
  const contents = { 'model.onnx': o.graph, 'labels.txt': labels };
  for (const [path, content] of Object.entries(contents)) writeFileSync(join(home, path), content);
  const channels = Array.from({ length: 10 }, (_, i) => `band-${i}`);
  const signal = { rate_hz: 50, window: 49, channels, layout: 'time-channels' };
  const passport = {
    passport: 1,
    name: o.name,
    version,
    task: 'classification',
    files: Object.entries(contents).map(([path, content]) => ({ path, sha256: sha256(content) })),
    inputs: [o.picture === undefined ? { tensor: 'x', signal } : { tensor: o.picture, image: PICTURE }],
    batch_max: o.batchMax,
    output: { decoder: 'classification', tensors: { logits: 'logits' }, labels: { file: 'labels.txt' } },
  };
  writeFileSync(join(home, 'model.json'), `${JSON.stringify(passport, null, 2)}\n`);
  return PassportSchema.parse(passport);
}

/** Frames as a gateway sends them. */
export async function pictureUnits(): Promise<UnitTensor[][]> {
  const frames = await framesOf('tensor');
  return frames.map((bytes) => [{ dtype: 'uint8', shape: [SIDE, SIDE, 3], bytes }]);
}

/** Windows for a keyword spotter. */
export function spectrumUnits(): UnitTensor[][] {
  const random = seededRandom(3);
  return Array.from({ length: FRAMES }, () => {
    const bytes = new Uint8Array(Float32Array.from({ length: 490 }, () => 2 * random() - 1).buffer);
    return [{ dtype: 'float32', shape: [49, 10], bytes }];
  });
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
