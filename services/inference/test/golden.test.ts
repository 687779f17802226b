import { encode, graph, model, node, tensor, value } from '@brink/onnx';
import type { Golden, Passport } from '@brink/protocol';
import { describe, expect, it } from 'vitest';
import { temporaryFolder } from './harness/inference.ts';
import { pixelsGraph, writeModel } from './harness/models.ts';
import { greyPng } from './harness/picture.ts';
import { startModels } from './harness/repository.ts';

/** Values of a signal, summed up from the beginning of the recording: total = before + sum of the window. */
function totalGraph(): Uint8Array {
  return encode(
    model(
      graph({
        inputs: [value('x', 'float32', ['batch', 1, 3]), value('before', 'float32', [1, 'batch', 1])],
        outputs: [value('total', 'float32', ['batch', 1]), value('after', 'float32', [1, 'batch', 1])],
        tensors: [
          tensor('flat', [2], BigInt64Array.of(-1n, 1n)),
          tensor('deep', [3], BigInt64Array.of(1n, -1n, 1n)),
          tensor('axes', [1], BigInt64Array.of(2n)),
        ],
        nodes: [
          node('ReduceSum', ['x', 'axes'], ['sum'], { keepdims: 0 }),
          node('Reshape', ['before', 'flat'], ['start']),
          node('Add', ['start', 'sum'], ['total']),
          node('Reshape', ['total', 'deep'], ['after']),
        ],
      }),
      { opset: 13 },
    ),
  );
}

const RECORDING = '{"level": [1, 1, 1, 2, 2, 2, 3, 3, 3, 4]}';

/** @returns the state of the version, and why */
async function loaded(
  expected: Golden['expect'],
  change: (passport: object) => object = (same) => same,
  recording: string | Buffer = RECORDING,
  file = 'golden/level.json',
) {
  await using folder = await temporaryFolder();
  await writeModel(folder.path, {
    name: 'm',
    graph: totalGraph(),
    files: { [file]: recording },
    passport: ({ passport, name, version, files, batch_max }: Passport) =>
      change({
        ...{ passport, name, version, files, batch_max },
        task: 'regression',
        inputs: [{ tensor: 'x', signal: { rate_hz: 10, window: 3, channels: ['level'] } }],
        state: [{ in: 'before', out: 'after', shape: [1, 1, 1], init: 100 }],
        output: { decoder: 'regression', tensors: { value: 'total' }, names: ['total'] },
        golden: [{ input: file, expect: expected }],
      }),
  });
  await using models = await startModels(folder.path);
  const { state, error } = models.repository.versions[0]?.status ?? {};
  return `${state} ${error?.message ?? ''}`.trim();
}

const total = (of: number) => ({ values: { total: of } });

describe('golden tests', () => {
  it('carry the recurrent state from unit to unit of a recording, beginning with its first one', async () => {
    expect(await loaded({ units: [total(103), total(109), total(118)] })).toBe('ready');
  });

  it('say in which unit it goes wrong', async () => {
    expect(await loaded({ units: [total(103), total(106)] })).toBe(
      'failed E_MODEL_GOLDEN: golden/level.json in unit 1 gives total = 109; expected 106 ± 0.001',
    );
    expect(await loaded(total(1))).toMatch(/golden\/level\.json gives total = 103; expected 1 ± 0\.001$/);
  });

  it('say when a recording has fewer units than are expected, or is none', async () => {
    expect(await loaded({ units: [103, 109, 118, 122].map(total) })).toMatch(
      /E_MODEL_GOLDEN: golden\/level\.json makes 3 units; expected at least 4/,
    );
    const channel = (passport: object) => ({
      ...passport,
      inputs: [{ tensor: 'x', signal: { rate_hz: 10, window: 3, channels: ['other'] } }],
    });
    expect(await loaded(total(103), channel)).toMatch(/E_MODEL_GOLDEN: golden\/level\.json: E_SHAPE: .*other/);
  });

  it('read raw samples as the name of the file says', async () => {
    const values = [1, 1, 1, 2, 2, 2];
    const units = { units: [total(103), total(109)] };
    const same = (passport: object) => passport;
    const float32 = Buffer.from(Float32Array.from(values).buffer);
    const int16 = Buffer.from(Int16Array.from(values).buffer);
    expect(await loaded(units, same, float32, 'golden/level.f32')).toBe('ready');
    expect(await loaded(units, same, int16, 'golden/level.s16')).toBe('ready');
    expect(await loaded(units, same, int16, 'golden/level.bin')).toMatch(/E_TYPE.*expected a signal in JSON/);
  });

  it('see what was measured while a unit was cut: the rate of the heart beside what the model says', async () => {
    const beat = (i: number) => Math.exp(-((((i + 60) % 120) - 60) ** 2) / 8);
    const level = Array.from({ length: 600 }, (_, i) => (i < 60 ? 0 : beat(i)));
    const peaks = { tensor: 'x', signal: { rate_hz: 100, window: 3, channels: ['level'], trigger: { peaks: {} } } };
    const signal = { ...peaks.signal, until: 'next-peak', pad: 'zero', rate_as: 'bpm' };
    const change = (passport: object) => ({ ...passport, inputs: [{ ...peaks, signal }] });
    const recording = JSON.stringify({ level });
    const three = 1 + Math.exp(-1 / 8) + Math.exp(-4 / 8);
    expect(await loaded({ values: { total: 100 + three, bpm: 50 } }, change, recording)).toBe('ready');
    expect(await loaded({ values: { total: 100 + three, bpm: 60 } }, change, recording)).toMatch(
      /golden\/level\.json gives bpm = 50; expected 60/,
    );
  });

  it('take a file that is not listed, and refuse one that is not there', async () => {
    await using folder = await temporaryFolder();
    const golden = (input: string) => (passport: Passport) => ({
      ...passport,
      files: passport.files.filter(({ path }) => !path.startsWith('golden/')),
      golden: [{ input, expect: { label: 'two' } }],
    });
    const files = { 'golden/two.png': greyPng(0, 0, 9, 0) };
    await writeModel(folder.path, { name: 'a', graph: pixelsGraph(), files, passport: golden('golden/two.png') });
    await writeModel(folder.path, { name: 'b', graph: pixelsGraph(), files, passport: golden('golden/three.png') });
    await using models = await startModels(folder.path);
    expect(models.shown).toEqual(['a 1 ready*', 'b 1 failed']);
    expect(models.repository.problems[0]).toMatch(/E_MODEL_GOLDEN: .*three\.png/);
  });
});
