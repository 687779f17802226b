import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encode, graph, model, node, tensor, value } from '@brink/onnx';
import type { Decision } from '@brink/protocol';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { List } from '../harness/api.ts';
import { type Fleet, startFleet } from '../harness/fleet.ts';

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
  const chain = { passport: 1, name: 'chain', version: 1, task: 'regression', steps: STEPS };
  folder('chain')('model.json', JSON.stringify(chain));
}

const site = {
  version: 1,
  streams: {
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

describe('a chain of three models', () => {
  let fleet: Fleet;
  let models: string;
  beforeAll(async () => {
    models = mkdtempSync(join(tmpdir(), 'brink-models-'));
    writeModels(models);
    fleet = await startFleet({ configuration: site, models });
  });
  afterAll(async () => {
    await fleet?.[Symbol.asyncDispose]();
    rmSync(models, { recursive: true, force: true });
  });

  it('decides of frames of any size what it decides of the whole, and says so where there is not enough yet', async () => {
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
});
