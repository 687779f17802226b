import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { deriveGraph, simpleCnnGraph } from '@brink/onnx';
import { type Passport, PassportSchema } from '@brink/protocol';
import type { UnitTensor } from '@brink/test/inference';
import sharp from 'sharp';
import { dsCnnGraph } from './graphs.ts';
import { seededRandom } from './random.ts';

/** tensor: 49 KB of pixels. jpeg: 128 × 128. jpeg-640: 640 × 480. kws: 49 × 10 floats for a keyword spotter. */
export type Payload = 'tensor' | 'jpeg' | 'jpeg-640' | 'kws';

export interface BenchModel {
  /** The graph as the runner has it: uint8 [batch, 128, 128, 3], or float32 [batch, 49, 10]. */
  readonly wirePath: string;
  readonly batchMax: number;
}

export const SIDE = 128;
export const BATCH_MAX = 16;
const FRAMES = 16;
const PICTURE = { width: SIDE, height: SIDE, scale: 1 / 255, mean: [0.5], std: [0.25] };

/** Writes models/, config/ and the raw loop's graphs into `folder`. */
export async function writeSimpleCnn(folder: string): Promise<BenchModel> {
  const native = simpleCnnGraph(seededRandom(1));
  const passport = writeVersion(folder, { name: 'bench-cnn', graph: native, picture: 'image', batchMax: BATCH_MAX });
  const wirePath = join(folder, 'wire.onnx');
  writeFileSync(wirePath, deriveGraph(native, passport, [{ dtype: 'uint8', shape: [SIDE, SIDE, 3] }]).graph);
  const stream = (name: Payload, format: string, model = 'bench-cnn') => ({
    [name]: { format, frame_age_ms_max: 10_000, pipelines: { [`bench-${name}`]: { model } } },
  });
  writeConfiguration(folder, {
    streams: { ...stream('tensor', 'tensor'), ...stream('jpeg', 'image'), ...stream('jpeg-640', 'image') },
    models: { 'bench-cnn': { queue_max: 256 } },
  });
  return { wirePath, batchMax: BATCH_MAX };
}

/** The same for a keyword spotter, which takes next to no time: what is measured is nearly all Brink. */
export function writeKeywordSpotter(folder: string): BenchModel {
  const graph = dsCnnGraph(seededRandom(1));
  writeVersion(folder, { name: 'bench-kws', graph, batchMax: BATCH_MAX, classes: 12 });
  const wirePath = join(folder, 'wire.onnx');
  writeFileSync(wirePath, graph);
  writeConfiguration(folder, {
    streams: {
      kws: { format: 'tensor', frame_age_ms_max: 10_000, pipelines: { 'bench-kws': { model: 'bench-kws' } } },
    },
    models: { 'bench-kws': { queue_max: 256 } },
  });
  return { wirePath, batchMax: BATCH_MAX };
}

function writeConfiguration(folder: string, configuration: object): void {
  mkdirSync(join(folder, 'config'), { recursive: true });
  // JSON is YAML.
  writeFileSync(join(folder, 'config', 'site.yaml'), JSON.stringify({ version: 1, ...configuration }, null, 2));
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
  return spectra().map((bytes) => [{ dtype: 'float32', shape: [49, 10], bytes }]);
}

function spectra(): Uint8Array[] {
  const random = seededRandom(3);
  return Array.from(
    { length: FRAMES },
    () => new Uint8Array(Float32Array.from({ length: 490 }, () => 2 * random() - 1).buffer),
  );
}

/** A few different frames, so that no cache holds them all: smooth gradients with seeded noise. */
export async function framesOf(payload: Payload): Promise<Uint8Array[]> {
  if (payload === 'kws') return spectra();
  const [width, height] = payload === 'jpeg-640' ? [640, 480] : [SIDE, SIDE];
  const random = seededRandom(2);
  const pixels = Array.from({ length: FRAMES }, (_, frame) => {
    const out = new Uint8Array(width * height * 3);
    for (let i = 0; i < out.length; i++) out[i] = ((i / 3 + frame * 31) % 256) * 0.7 + random() * 70;
    return out;
  });
  if (payload === 'tensor') return pixels;
  const raw = { width, height, channels: 3 } as const;
  return Promise.all(pixels.map((frame) => sharp(frame, { raw }).blur(1).jpeg({ quality: 80 }).toBuffer()));
}

const sha256 = (data: string | Uint8Array) => createHash('sha256').update(data).digest('hex');
