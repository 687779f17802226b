import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { deriveGraph, encode, graph, model, node, value } from '@brink/onnx';
import { normaliseToFloat, wireHeads } from '@brink/preprocess';
import { ImageInputSchema, InputSchema, OutputSchema, type Passport, StateSchema } from '@brink/protocol';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { describe, expect, it } from 'vitest';

// What deriveGraph makes is only right if ONNX Runtime says so: every form is run.

type Shape = (string | number | undefined)[];
type Asked = Pick<Passport, 'inputs' | 'state' | 'output'>;
type Dtype = Parameters<typeof value>[1];

const asked = (inputs: unknown[], outputs: Record<string, string> = { scores: 'y' }, state: unknown[] = []): Asked => ({
  inputs: inputs.map((input) => InputSchema.parse(input)),
  state: state.map((one) => StateSchema.parse(one)),
  output: OutputSchema.parse({ decoder: 'raw', tensors: outputs }),
});

const identity = (shape: Shape, o: { dtype?: Dtype; opset?: number; irVersion?: number } = {}) => {
  const dtype = o.dtype ?? 'float32';
  const [inputs, outputs] = [[value('x', dtype, shape)], [value('y', dtype, shape)]];
  return encode(model(graph({ inputs, outputs, nodes: [node('Identity', ['x'], ['y'])] }), o));
};

async function run(bytes: Uint8Array, passport: Asked, wires: ReadonlyArray<Uint8Array | Float32Array>, batch: number) {
  const heads = wireHeads(passport);
  const derived = deriveGraph(bytes, passport, heads);
  const session = await InferenceSession.create(derived.graph, { logSeverityLevel: 3, intraOpNumThreads: 1 });
  expect([...session.inputNames]).toEqual(derived.inputs);
  const feeds = heads.map(({ shape, dtype }, at) => {
    const wire = wires[at];
    const dims = [batch, ...shape];
    return dtype === 'uint8'
      ? new Tensor('uint8', wire as Uint8Array, dims)
      : new Tensor('float32', wire as Float32Array, dims);
  });
  const outputs = await session.run(Object.fromEntries(feeds.map((feed, at) => [derived.inputs[at], feed])));
  await session.release();
  return { derived, outputs };
}

const numbers = (tensor: Tensor | undefined) => Array.from(tensor?.data as Float32Array, Number);
const bytes = (length: number) => Uint8Array.from({ length }, (_, i) => (i * 37) % 256);
const codeOf = (attempt: () => unknown) => {
  try {
    attempt();
  } catch (error) {
    return `${(error as { code: string }).code} ${(error as { detail: string }).detail}`;
  }
  return 'no error';
};

describe('pictures', () => {
  const [width, height, batch] = [7, 5, 3];
  const imageNet = { scale: 1 / 255, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
  const forms: [string, Record<string, unknown>, Dtype, number][] = [
    ['nchw', imageNet, 'float32', 1e-5],
    ['nhwc', { ...imageNet, layout: 'nhwc' }, 'float32', 1e-5],
    ['grey', { scale: 1 / 255, mean: [0.1307], std: [0.3081], colour: 'grey' }, 'float32', 1e-5],
    ['bytes as they are', {}, 'float32', 1e-5],
    ['bytes as they are, uint8', {}, 'uint8', 0],
    ['bytes as they are, uint8, nhwc', { layout: 'nhwc' }, 'uint8', 0],
    ['float64', imageNet, 'float64', 1e-5],
    ['half precision', imageNet, 'float16', 2e-3],
    ['bfloat16', imageNet, 'bfloat16', 2e-2],
    ['int8 by −128', { mean: [128] }, 'int8', 0],
  ];
  for (const [opset, irVersion] of [
    [8, 3],
    [13, 7],
    [17, 8],
    [21, 10],
  ] as const) {
    // bfloat16 came with operator set 13.
    const known = forms.filter(([, , dtype]) => opset >= 13 || dtype !== 'bfloat16');
    it.each(known)(`equal the JavaScript path: %s (operator set ${opset})`, async (_name, over, dtype, tolerance) => {
      const image = ImageInputSchema.parse({ width, height, ...over });
      const channels = image.colour === 'grey' ? 1 : 3;
      const own = image.layout === 'nchw' ? [channels, height, width] : [height, width, channels];
      const pixels = bytes(batch * width * height * channels);
      // The result as float32, since Node has no half precision.
      const native = encode(
        model(
          graph({
            inputs: [value('x', dtype, ['n', ...own])],
            outputs: [value('y', 'float32', ['n', ...own])],
            nodes: [node('Cast', ['x'], ['y'], { to: 1 })],
          }),
          { opset, irVersion },
        ),
      );
      const { outputs } = await run(native, asked([{ tensor: 'x', image }]), [pixels], batch);
      expect(outputs['y']?.dims).toEqual([batch, ...own]);
      const each = pixels.length / batch;
      const expected = [0, 1, 2].flatMap((i) => [
        ...normaliseToFloat(pixels.subarray(i * each, (i + 1) * each), image),
      ]);
      const worst = numbers(outputs['y']).reduce((all, number, i) => Math.max(all, Math.abs(number - expected[i]!)), 0);
      expect(worst).toBeLessThanOrEqual(tolerance);
    });
  }

  it.each([
    ['a fixed batch of 1', [1, 1, 5, 7], 1],
    ['unnamed dimensions', [undefined, undefined, undefined, undefined], 2],
    ['an empty name', ['', 1, 5, 7], 2],
    ['no dimension for the channel', ['n', 5, 7], 2],
    ['no dimension for the batch', [5, 7], 1],
  ] as [string, Shape, number][])('go into a graph with %s', async (_name, shape, units) => {
    const image = { width, height, colour: 'grey' };
    const pixels = bytes(units * width * height);
    const { outputs } = await run(identity(shape), asked([{ tensor: 'x', image }]), [pixels], units);
    expect(numbers(outputs['y'])).toEqual([...pixels]);
  });
});

describe('sound and signals', () => {
  const samples = (length: number) => Float32Array.from({ length }, (_, i) => Math.fround(Math.sin(i)));
  it.each([
    ['[batch, samples]', ['n', 8], 3],
    ['[batch, 1, samples]', ['n', 1, 8], 3],
    ['[batch, channel, samples] without sizes', ['n', 'c', 't'], 3],
    ['[1, samples, 1]', [1, 8, 1], 1],
    ['[samples]', [8], 1],
  ] as [string, Shape, number][])('%s', async (_name, shape, batch) => {
    const wire = samples(8 * batch);
    const passport = asked([{ tensor: 'x', audio: { rate_hz: 16_000, window: 6, context: 2 } }]);
    const { outputs } = await run(identity(shape), passport, [wire], batch);
    expect(numbers(outputs['y'])).toEqual([...wire]);
    expect(outputs['y']?.dims).toEqual(
      shape.map((size, at) =>
        typeof size === 'number' ? size : at === 0 ? batch : shape.length === 3 && at === 1 ? 1 : 8,
      ),
    );
  });

  it.each(['float64', 'float16', 'bfloat16', 'int32'] as const)(
    'become %s where the graph takes that',
    async (dtype) => {
      const wire = Float32Array.of(1, 2, 3, 4, 5, 6);
      const native = encode(
        model(
          graph({
            inputs: [value('x', dtype, ['n', 1, 3])],
            outputs: [value('y', 'float32', ['n', 1, 3])],
            nodes: [node('Cast', ['x'], ['y'], { to: 1 })],
          }),
        ),
      );
      const signal = { rate_hz: 100, window: 3, channels: ['ecg'] };
      const { outputs } = await run(native, asked([{ tensor: 'x', signal }]), [wire], 2);
      expect(numbers(outputs['y'])).toEqual([...wire]);
    },
  );

  it('two inputs stay in the order of the passport, whatever the order of the graph', async () => {
    const native = encode(
      model(
        graph({
          inputs: [value('b', 'float32', ['n', 2]), value('a', 'float32', ['n', 2])],
          outputs: [value('y', 'float32', ['n', 2])],
          nodes: [node('Sub', ['a', 'b'], ['y'])],
        }),
      ),
    );
    const signal = { rate_hz: 100, window: 2, channels: ['x'] };
    const passport = asked([
      { tensor: 'a', signal },
      { tensor: 'b', signal },
    ]);
    const { outputs } = await run(native, passport, [Float32Array.of(5, 6), Float32Array.of(1, 1)], 1);
    expect(numbers(outputs['y'])).toEqual([4, 5]);
  });
});

describe('constants', () => {
  const DTYPES = [
    'float32',
    'float64',
    'float16',
    'int8',
    'uint8',
    'int16',
    'uint16',
    'int32',
    'uint32',
    'int64',
    'uint64',
    'bool',
  ] as const;
  for (const irVersion of [3, 8]) {
    for (const [name, shape, constant] of [
      ['a scalar', [], 1],
      ['one number for each unit', ['n', 2], [1, 0]],
      ['a fixed shape', [2], [1, 0]],
      ['a fixed shape filled', [1, 2], 1],
    ] as [string, Shape, number | number[]][]) {
      it.each(DTYPES)(`${name}: %s, IR version ${irVersion}`, async (dtype) => {
        const native = encode(
          model(
            graph({
              inputs: [value('x', 'float32', ['n', 2]), value('c', dtype, shape)],
              outputs: [value('y', 'float32', ['n', 2])],
              nodes: [node('Cast', ['c'], ['f'], { to: 1 }), node('Add', ['x', 'f'], ['y'])],
            }),
            { opset: 13, irVersion },
          ),
        );
        const signal = { rate_hz: 100, window: 2, channels: ['x'] };
        const passport = asked([
          { tensor: 'x', signal },
          { tensor: 'c', constant, dtype },
        ]);
        const { outputs } = await run(native, passport, [Float32Array.of(1, 2, 3, 4)], 2);
        expect(numbers(outputs['y'])).toEqual(Array.isArray(constant) ? [2, 2, 4, 4] : [2, 3, 4, 5]);
      });
    }
  }

  it('of another type than the graph takes, of a wrong length, or of fractions where it takes whole numbers, are refused', () => {
    const native = encode(
      model(
        graph({
          inputs: [value('x', 'float32', ['n', 2]), value('c', 'int64', [2])],
          outputs: [value('y', 'float32', ['n', 2])],
          nodes: [node('Cast', ['c'], ['f'], { to: 1 }), node('Add', ['x', 'f'], ['y'])],
        }),
      ),
    );
    const refused = (constant: unknown, dtype: string) => {
      const signal = { rate_hz: 100, window: 2, channels: ['x'] };
      const passport = asked([
        { tensor: 'x', signal },
        { tensor: 'c', constant, dtype },
      ]);
      return codeOf(() => deriveGraph(native, passport, wireHeads(passport)));
    };
    expect(refused([1, 2], 'int32')).toMatch(/^E_PASSPORT inputs\[1\]\.dtype is int32; the graph takes int64/);
    expect(refused([1, 2, 3], 'int64')).toMatch(
      /^E_PASSPORT inputs\[1\]\.constant has 3 numbers; "c" of the graph is \[2\]/,
    );
    expect(refused([1, 2.5], 'int64')).toMatch(/^E_PASSPORT inputs\[1\]\.constant has 2\.5; expected whole numbers/);
    expect(refused([1, 2], 'int64')).toBe('no error');
  });

  it('are bounded: a file may ask for any shape', () => {
    const native = encode(
      model(
        graph({
          inputs: [value('x', 'float32', ['n', 2]), value('c', 'float32', [100_000, 100_000])],
          outputs: [value('y', 'float32', ['n', 2])],
          nodes: [node('Identity', ['x'], ['y'])],
        }),
      ),
    );
    const signal = { rate_hz: 100, window: 2, channels: ['x'] };
    const passport = asked([
      { tensor: 'x', signal },
      { tensor: 'c', constant: 1, dtype: 'float32' },
    ]);
    expect(codeOf(() => deriveGraph(native, passport, wireHeads(passport)))).toMatch(
      /^E_PASSPORT inputs\[1\] would have 10000000000 elements/,
    );
  });
});

describe('states', () => {
  /** y = x + sum of the state; the next state is the state plus one. */
  const counting = (shape: Shape, axes: number[], dtype: Dtype = 'float32') =>
    encode(
      model(
        graph({
          inputs: [value('x', 'float32', ['n', 1]), value('h', dtype, shape)],
          outputs: [value('y', 'float32', ['n', 1]), value('h.next', dtype, shape)],
          nodes: [
            node('Cast', ['h'], ['h.float'], { to: 1 }),
            node('ReduceSum', ['h.float', 'axes'], ['sum'], { keepdims: 0 }),
            node('Unsqueeze', ['sum', 'last'], ['sum.column']),
            node('Add', ['x', 'sum.column'], ['y']),
            node('Add', ['h.float', 'one'], ['h.more']),
            node('CastLike', ['h.more', 'h'], ['h.next']),
            ...constants({ axes, last: [1] }),
            node('Constant', [], ['one'], { value_float: { f: 1 } }),
          ].sort((a, b) => Number(b.opType === 'Constant') - Number(a.opType === 'Constant')),
        }),
      ),
    );
  const constants = (of: Record<string, number[]>) =>
    Object.entries(of).map(([name, ints]) => node('Constant', [], [name], { value_ints: ints }));
  const signal = { rate_hz: 100, window: 1, channels: ['x'] };

  it.each([
    ['in the middle', [2, 'n', 3], [0, 2], [2, 1, 3]],
    ['unnamed', [2, undefined, 3], [0, 2], [2, 1, 3]],
    ['in front', ['n', 4], [1], [1, 4]],
    ['at the end', [4, 'n'], [0], [4, 1]],
    ['beside another one of size 1', [1, 'n', 3], [0, 2], [1, 1, 3]],
  ] as [string, Shape, number[], number[]][])(
    'with the batch %s go by value, row by row',
    async (_name, shape, axes, own) => {
      for (const dtype of ['float32', 'float16', 'int64'] as const) {
        const size = own.reduce((all, one) => all * one, 1);
        const passport = asked([{ tensor: 'x', signal }], { scores: 'y' }, [{ in: 'h', out: 'h.next', shape: own }]);
        const state = Float32Array.from({ length: 3 * size }, (_, i) => i);
        const { derived, outputs } = await run(
          counting(shape, axes, dtype),
          passport,
          [Float32Array.of(0.5, 0.5, 0.5), state],
          3,
        );
        const sums = [0, 1, 2].map((row) =>
          state.slice(row * size, (row + 1) * size).reduce((all, one) => all + one, 0.5),
        );
        expect(numbers(outputs['y'])).toEqual(sums);
        expect(derived.states).toHaveLength(1);
        const next = outputs[derived.states[0]!];
        expect(next?.dims).toEqual([3, ...own]);
        expect(next?.type).toBe('float32');
        expect(numbers(next)).toEqual([...state].map((one) => one + 1));
        expect(Object.keys(outputs).sort()).toEqual(['brink_next0', 'y']);
      }
    },
  );

  it('of another shape, or an output that is not there, are refused with both', () => {
    const refused = (state: unknown) => {
      const passport = asked([{ tensor: 'x', signal }], { scores: 'y' }, [state]);
      return codeOf(() => deriveGraph(counting([2, 'n', 3], [0, 2]), passport, wireHeads(passport)));
    };
    expect(refused({ in: 'h', out: 'h.next', shape: [2, 1, 4] })).toBe(
      'E_PASSPORT state[0].shape is [2, 1, 4]; "h" of the graph is [2, n, 3]',
    );
    expect(refused({ in: 'h', out: 'nope', shape: [2, 1, 3] })).toMatch(
      /^E_PASSPORT state\[0\]\.out "nope" is no output/,
    );
    const passport = asked([{ tensor: 'x', signal }]);
    expect(codeOf(() => deriveGraph(counting([2, 'n', 3], [0, 2]), passport, wireHeads(passport)))).toMatch(
      /^E_PASSPORT inputs: the graph also takes "h"/,
    );
  });
});

describe('anomaly by reconstruction', () => {
  const image = { width: 2, height: 2, colour: 'grey', scale: 1 / 100 };
  const pixels = Uint8Array.of(0, 0, 0, 200, 100, 100, 100, 100);
  it.each([
    [13, 'squared', ['n', 1, 2, 2], [0.25, 0.25]],
    [18, 'squared', ['n', 1, 2, 2], [0.25, 0.25]],
    [17, 'absolute', ['n', 1, 2, 2], [0.25, 0.5]],
    [17, 'absolute', [1, 1, 2, 2], [0.25]],
    [17, 'absolute', [2, 2], [0.25]],
  ] as [number, string, Shape, number[]][])(
    'gives the mean difference of what the graph took and gave: operator set %i, %s, %j',
    async (opset, error, shape, expected) => {
      const native = encode(
        model(
          graph({
            inputs: [value('x', 'float32', shape)],
            outputs: [value('y', 'float32', shape)],
            nodes: [node('Constant', [], ['half'], { value_float: { f: 0.5 } }), node('Mul', ['x', 'half'], ['y'])],
          }),
          { opset },
        ),
      );
      const output = OutputSchema.parse({
        decoder: 'anomaly-reconstruction',
        tensors: { image: 'y' },
        error,
        threshold: 1,
      });
      const batch = expected.length;
      const passport = { ...asked([{ tensor: 'x', image }]), output };
      const { outputs } = await run(native, passport, [pixels.subarray(0, batch * 4)], batch);
      // The reconstruction itself stays in the runner.
      expect(Object.keys(outputs)).toEqual(['brink_error']);
      expect(outputs['brink_error']?.dims).toEqual([batch]);
      for (const [at, mean] of expected.entries()) expect(numbers(outputs['brink_error'])[at]).toBeCloseTo(mean, 6);
    },
  );
});

const SILERO = join(import.meta.dirname, '../../../../shared/models/silero-vad');
describe.skipIf(!existsSync(SILERO))('silero-vad (skipped where ../shared/models is absent)', () => {
  it('says what others published of its own recording, state and context by value', async () => {
    const passport = asked(
      [
        { tensor: 'input', audio: { rate_hz: 16_000, window: 512, context: 64 } },
        { tensor: 'sr', constant: 16_000, dtype: 'int64' },
      ],
      { score: 'output' },
      [{ in: 'state', out: 'stateN', shape: [2, 1, 128] }],
    );
    const derived = deriveGraph(await readFile(join(SILERO, 'silero_vad.onnx')), passport, wireHeads(passport));
    expect(derived.inputs).toHaveLength(2);
    const session = await InferenceSession.create(derived.graph, { logSeverityLevel: 3, intraOpNumThreads: 1 });
    const wav = await readFile(join(SILERO, 'test.wav'));
    const sound = Float32Array.from({ length: (wav.length - 44) >> 1 }, (_, i) => wav.readInt16LE(44 + 2 * i) / 32_768);
    const [input = '', stateIn = ''] = derived.inputs;
    // Two streams in one batch: the second one hears silence, so that a mixed up state would show.
    const state = new Float32Array(2 * 256);
    const probabilities: number[] = [];
    const padded = new Float32Array(64 + sound.length);
    padded.set(sound, 64);
    for (let at = 0; at + 512 <= sound.length; at += 512) {
      const samples = new Float32Array(2 * 576);
      samples.set(padded.subarray(at, at + 576));
      const outputs = await session.run({
        [input]: new Tensor('float32', samples, [2, 576]),
        [stateIn]: new Tensor('float32', state, [2, 2, 1, 128]),
      });
      probabilities.push(numbers(outputs['output'])[0]!);
      state.set(outputs[derived.states[0]!]?.data as Float32Array);
    }
    await session.release();
    for (const [at, known] of [0.208, 0.818, 0.891, 0.996].entries()) expect(probabilities[at]).toBeCloseTo(known, 3);
    expect(probabilities).toHaveLength(1875);
    expect((100 * probabilities.filter((p) => p > 0.5).length) / 1875).toBeCloseTo(77.44, 1);
  }, 60_000);
});
