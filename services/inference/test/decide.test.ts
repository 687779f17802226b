import { encode, graph, model, node, tensor, value } from '@brink/onnx';
import type { Passport } from '@brink/protocol';
import { describe, expect, it } from 'vitest';
import { type Inference, pixels, startInference, temporaryFolder, type Unit } from './harness/inference.ts';
import { pixelsGraph, WIDTH, writeModel } from './harness/models.ts';

/** The scores are the pixels and the state; the next state is the square root of the scores. */
function recurrentGraph(): Uint8Array {
  const row = (name: string) => value(name, 'float32', ['batch', WIDTH]);
  const nodes = [
    node('Reshape', ['x', 'shape'], ['flat']),
    node('Add', ['flat', 'state'], ['y']),
    node('Sqrt', ['y'], ['stateN']),
  ];
  return encode(
    model(
      graph({
        inputs: [value('x', 'float32', ['batch', 1, 1, WIDTH]), row('state')],
        outputs: [row('y'), row('stateN')],
        tensors: [tensor('shape', [2], BigInt64Array.of(-1n, BigInt(WIDTH)))],
        nodes,
      }),
    ),
  );
}

const floats = (...values: number[]) => new Uint8Array(Float32Array.from(values).buffer);
const stepOf = (values: number[], state: number[]): Unit => ({
  tensors: [
    { dtype: 'uint8', shape: [1, WIDTH, 1], bytes: Uint8Array.from(values) },
    { dtype: 'float32', shape: [1, WIDTH], bytes: floats(...state) },
  ],
});

/** @param labels in any order */
async function sampleOf(inference: Inference, name: string, ...labels: string[]): Promise<number> {
  const lines = (await inference.metrics()).split('\n').filter((line) => line.startsWith(`${name}{`));
  const line = lines.find((one) => ['model="pixels"', 'version="1"', ...labels].every((label) => one.includes(label)));
  return Number(line?.slice(line.lastIndexOf(' ') + 1));
}

describe('Decide', () => {
  it('gives each unit of a batch its own next state, and keeps one that is no number to the unit that it came from', async () => {
    await using models = await temporaryFolder();
    const recurrent = (passport: Passport) => ({
      ...passport,
      state: [{ in: 'state', out: 'stateN', shape: [1, WIDTH], init: 0 }],
    });
    const passport = await writeModel(models.path, { name: 'memory', graph: recurrentGraph(), passport: recurrent });
    await using inference = await startInference(models.path);
    await inference.until(([first]) => first?.state === 'ready');
    const decided = await inference.decide({ name: 'memory', passport }, [
      stepOf([4, 9, 16, 25], [0, 0, 0, 0]),
      stepOf([0, 0, 0, 0], [1, -1, 1, 1]),
      stepOf([0, 0, 0, 49], [0, 0, 0, 15]),
    ]);
    const states = decided.map(({ states: [state] }) =>
      state === undefined ? [] : [...new Float32Array(new Uint8Array(state).buffer)],
    );
    expect(states).toEqual([[2, 3, 4, 5], [], [0, 0, 0, 8]]);
    expect(decided.map(({ code }) => code)).toEqual([undefined, 'E_MODEL_OUTPUT', undefined]);
    expect(decided[1]?.detail).toBe('state "stateN" is not finite');
    const [wrong] = await inference.decide({ name: 'memory', passport }, [pixels(1, 2, 3, 4)]);
    expect(wrong?.code).toBe('E_SHAPE');
  });

  it('says with what it refuses when to come back, and counts every request by how it ended', async () => {
    await using models = await temporaryFolder();
    const passport = await writeModel(models.path, { name: 'pixels', graph: pixelsGraph() });
    await using inference = await startInference(models.path, {
      configuration: { models: { pixels: { queue_max: 2 } } },
    });
    await inference.until(([first]) => first?.state === 'ready');
    const reply = await inference.gateway.request(
      {
        case: 'decide',
        value: {
          model: 'pixels',
          version: 1,
          passportSha256: passport,
          shadow: true,
          units: Array.from({ length: 5 }, (_, unit) => ({
            id: `unit-${unit}`,
            inputs: [{ name: 'x', dtype: 'uint8', shape: [1, WIDTH, 1] }],
          })),
        },
      },
      Array.from({ length: 5 }, (_, unit) => Uint8Array.of(unit, 0, 0, 9)),
    );
    const results = reply.body.case === 'decided' ? reply.body.value.results : [];
    // The newest two wait; what came before them was shed for them.
    expect(results.map(({ failure }) => failure?.code)).toEqual(['E_BUSY', 'E_BUSY', 'E_BUSY', undefined, undefined]);
    for (const { failure } of results.slice(0, 3)) expect(failure?.retryAfterMs).toBeGreaterThan(0);
    const sample = (name: string, ...labels: string[]) => sampleOf(inference, `brink_inference_${name}`, ...labels);
    expect(await sample('requests_total', 'reason="ok"')).toBe(2);
    expect(await sample('requests_total', 'reason="E_BUSY"')).toBe(3);
    expect(await sample('runners', 'provider="cpu"')).toBe(1);
    expect(await sample('waiting_requests')).toBe(0);
    for (const part of ['queue', 'prepare', 'run', 'decode'])
      expect(await sample(`${part}_seconds_count`), part).toBe(1);
    if (process.platform === 'linux') expect(await sample('runner_memory_bytes')).toBeGreaterThan(20e6);
  });
});
