import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encode, graph, model, node, tensor, value } from '@brink/onnx';
import type { Decision } from '@brink/protocol';
import sharp, { type Sharp } from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { List } from '../harness/api.ts';
import { type Fleet, startFleet } from '../harness/fleet.ts';
import { installOther, noOthers, readShared } from '../harness/others.ts';

// Three models, one behind the other, with windows between them: what they decide of a stream is what they decide of the whole.

const WEIGHTS = Float32Array.of(0.5, -1, 2, 0.25);
const batch = 'batch';
const GRAPHS = {
  // Four samples are two rows of two.
  rows: {
    inputs: [value('x', 'float32', [batch, 4])],
    outputs: [value('y', 'float32', [batch, 2, 2])],
    tensors: [tensor('shape', [3], BigInt64Array.of(-1n, 2n, 2n))],
    nodes: [node('Reshape', ['x', 'shape'], ['y'])],
  },
  // Of three rows their sum.
  sums: {
    inputs: [value('x', 'float32', [batch, 3, 2])],
    outputs: [value('y', 'float32', [batch, 2])],
    tensors: [tensor('axes', [1], BigInt64Array.of(1n))],
    nodes: [node('ReduceSum', ['x', 'axes'], ['y'], { keepdims: 0 })],
  },
  // Of two sums one number.
  last: {
    inputs: [value('x', 'float32', [batch, 2, 2])],
    outputs: [value('y', 'float32', [batch, 1])],
    tensors: [tensor('flat', [2], BigInt64Array.of(-1n, 4n)), tensor('w', [4, 1], WEIGHTS)],
    nodes: [node('Reshape', ['x', 'flat'], ['all']), node('MatMul', ['all', 'w'], ['y'])],
  },
};
/** Of a picture how bright it is, against a hundred. */
const SHADE = {
  inputs: [value('x', 'float32', [batch, 3, 8, 8])],
  outputs: [value('y', 'float32', [batch, 2])],
  tensors: [
    tensor('third', [3, 2], Float32Array.of(1 / 3, 0, 1 / 3, 0, 1 / 3, 0)),
    tensor('hundred', [1, 2], Float32Array.of(0, 100)),
  ],
  nodes: [
    node('ReduceMean', ['x'], ['means'], { axes: [2, 3], keepdims: 0 }),
    node('MatMul', ['means', 'third'], ['mean']),
    node('Add', ['mean', 'hundred'], ['y']),
  ],
};
const INPUTS = {
  rows: { signal: { rate_hz: 100, window: 4, channels: ['x'] } },
  sums: { features: { shape: [3, 2] } },
  last: { features: { shape: [2, 2] } },
};
const STEPS = [{ model: 'rows@1' }, { model: 'sums@1', window: 3, hop: 1 }, { model: 'last@1', window: 2, hop: 1 }];

function writeModels(dir: string): void {
  const folder = (name: string) => {
    mkdirSync(join(dir, name, '1'), { recursive: true });
    return (file: string, content: Uint8Array | string) => writeFileSync(join(dir, name, '1', file), content);
  };
  for (const [name, parts] of Object.entries(GRAPHS)) {
    const bytes = encode(model(graph(parts)));
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    const output = name === 'last' ? { decoder: 'regression', names: ['y'] } : { decoder: 'raw' };
    const passport = {
      ...{ passport: 1, name, version: 1, task: name === 'last' ? 'regression' : 'raw', batch_max: 8 },
      files: [{ path: 'model.onnx', sha256 }],
      inputs: [{ tensor: 'x', ...INPUTS[name as keyof typeof INPUTS] }],
      output: { ...output, tensors: { y: 'y' } },
    };
    folder(name)('model.onnx', bytes);
    folder(name)('model.json', JSON.stringify(passport));
  }
  writeShade(folder('shade'));
  const faces = [{ model: 'ultraface@1' }, { model: 'shade@1', crop: 'face', objects_max: 2 }];
  folder('shades')(
    'model.json',
    JSON.stringify({ passport: 1, name: 'shades', version: 1, task: 'detection', steps: faces }),
  );
  const chain = { passport: 1, name: 'chain', version: 1, task: 'regression', steps: STEPS };
  folder('chain')('model.json', JSON.stringify(chain));
}

function writeShade(write: (file: string, content: Uint8Array | string) => void): void {
  const bytes = encode(model(graph(SHADE)));
  const labels = 'bright\ndark\n';
  const hashed = (content: Uint8Array | string) => createHash('sha256').update(content).digest('hex');
  write('model.onnx', bytes);
  write('labels.txt', labels);
  const passport = {
    ...{ passport: 1, name: 'shade', version: 1, task: 'classification', batch_max: 8 },
    files: [
      { path: 'model.onnx', sha256: hashed(bytes) },
      { path: 'labels.txt', sha256: hashed(labels) },
    ],
    inputs: [{ tensor: 'x', image: { width: 8, height: 8 } }],
    output: { decoder: 'classification', tensors: { y: 'y' }, labels: { file: 'labels.txt' } },
  };
  write('model.json', JSON.stringify(passport));
}

const door = {
  ...{ format: 'image', frame_age_ms_max: 20_000, frame_bytes_max: 4_194_304 },
  pipelines: { shades: { model: 'shades' } },
};
const site = {
  version: 1,
  streams: {
    ...(noOthers === undefined ? { door } : {}),
    pump: {
      format: 'signal',
      delivery: 'durable',
      signal: { encoding: 'f32le', fields: ['x'] },
      pipelines: { chained: { model: 'chain' } },
    },
  },
};

/** What the three of them make of all samples, unit by unit of four; undefined where there is not enough yet. */
function expectedOf(samples: Float32Array): (number | undefined)[] {
  const at = (i: number) => samples[i] as number;
  const row = (k: number) => [at(2 * k), at(2 * k + 1)] as const;
  const sum = (j: number) => [0, 1].map((c) => [0, 1, 2].reduce((all, k) => all + (row(j + k)[c] ?? 0), 0));
  const last = (m: number) => [...sum(m), ...sum(m + 1)].reduce((all, of, i) => all + of * (WEIGHTS[i] ?? 0), 0);
  return Array.from({ length: Math.floor(samples.length / 4) }, (_, unit) =>
    unit === 0 ? undefined : last(2 * unit - 2),
  );
}

describe('a chain of models', () => {
  let fleet: Fleet;
  let models: string;
  beforeAll(async () => {
    models = mkdtempSync(join(tmpdir(), 'brink-models-'));
    writeModels(models);
    if (noOthers === undefined) installOther(models, 'ultraface');
    fleet = await startFleet({ configuration: site, models });
  });
  afterAll(async () => {
    await fleet?.[Symbol.asyncDispose]();
    rmSync(models, { recursive: true, force: true });
  });

  it('three deep decides of frames of any size what it decides of the whole, and says so where there is not enough yet', async () => {
    const client = await fleet.client();
    const samples = Float32Array.from({ length: 84 }, (_, i) => Math.fround(Math.sin(i * 1.7) * 3));
    for (let at = 0, seq = 1; at < samples.length; seq++) {
      const part = samples.slice(at, at + 1 + ((seq * 5) % 9));
      at += part.length;
      await client.publishAsync(`brink/dev-1/up/frames/pump/k3v9-${seq}`, Buffer.from(part.buffer), { qos: 1 });
    }
    const expected = expectedOf(samples);
    const { items } = await fleet.api.until<List<Decision>>(
      '/v1/decisions?device=dev-1&after=0',
      (list) => list.items.length === expected.length,
    );
    const [first, ...rest] = items;
    expect(first).toMatchObject({ outcome: 'decided', quality: 'bad', model: { name: 'chain', version: 1 } });
    for (const [i, decision] of rest.entries()) {
      expect(decision.values?.['y'], decision.id).toBeCloseTo(expected[i + 1] as number, 4);
      expect(decision.quality).toBeUndefined();
    }
  });

  const title = noOthers === undefined ? '' : ` (skipped: ${noOthers})`;
  it.skipIf(noOthers !== undefined)(
    `looks at each object that the first one found, cut out of the picture${title}`,
    async () => {
      const client = await fleet.client();
      const frame = await sharp(readShared('data/pictures/astronaut.png')).linear(0.8).png().toBuffer();
      await client.publishAsync('brink/cam-1/up/frames/door/k3v9-1', frame, { qos: 1 });
      const { items } = await fleet.api.until<List<Decision>>(
        '/v1/decisions?device=cam-1',
        (list) => list.items.length === 1,
      );
      const [decision] = items;
      const { objects: [face] = [] } = decision ?? {};
      expect(decision, JSON.stringify(decision?.error)).toMatchObject({ outcome: 'decided', task: 'detection' });
      expect(decision?.objects).toHaveLength(1);
      // What sharp cuts out there, and how bright it is; the whole picture is not.
      const { width = 0, height = 0 } = await sharp(frame).metadata();
      const [x0 = 0, y0 = 0, x1 = 0, y1 = 0] = face?.box ?? [];
      const area = {
        ...{ left: Math.round(x0 * width), top: Math.round(y0 * height) },
        ...{ width: Math.round((x1 - x0) * width), height: Math.round((y1 - y0) * height) },
      };
      const meanOf = async (picture: Sharp) => {
        const { channels } = await sharp(await picture.removeAlpha().png().toBuffer()).stats();
        return channels.reduce((sum, { mean }) => sum + mean, 0) / channels.length;
      };
      expect(await meanOf(sharp(frame).extract(area))).toBeGreaterThan(105);
      expect(await meanOf(sharp(frame))).toBeLessThan(95);
      expect(decision).toMatchObject({ label: 'bright', objects: [{ label: 'bright' }], model: { name: 'shades' } });
    },
  );
});
