import { InputSchema, OutputSchema, StateSchema } from '@brink/protocol';
import { expect, it } from 'vitest';
import { encode, graph, model, node, value } from './build.ts';
import { comparePassport } from './compare.ts';
import type { Dtype } from './dtype.ts';
import { type Dimension, readModel } from './read.ts';

type Tensors = Record<string, readonly [Dtype, Dimension[]]>;
const info = (inputs: Tensors, outputs: Tensors = { y: ['float32', ['n', 10]] }) => {
  const values = (of: Tensors) => Object.entries(of).map(([name, [dtype, shape]]) => value(name, dtype, shape));
  const nodes = [node('Identity', [Object.keys(inputs)[0]!], [Object.keys(outputs)[0]!])];
  return readModel(encode(model(graph({ inputs: values(inputs), outputs: values(outputs), nodes }))));
};

/** @param wire shapes as wireHeads would say them */
const compare = (
  of: ReturnType<typeof info>,
  inputs: unknown[],
  wire: Record<string, number[]>,
  more: { state?: unknown[]; batch?: number; out?: string } = {},
) =>
  comparePassport(
    {
      inputs: inputs.map((input) => InputSchema.parse(input)),
      state: (more.state ?? []).map((state) => StateSchema.parse(state)),
      batch_max: more.batch ?? 8,
      output: OutputSchema.parse({ decoder: 'classification', tensors: { scores: more.out ?? 'y' } }),
    },
    of,
    Object.entries(wire).map(([name, shape]) => ({ name, shape })),
  );

const image = { width: 64, height: 64 };
const audio = { rate_hz: 16_000, window: 500, context: 64 };

it('has nothing to say where both agree', () => {
  const of = info(
    { x: ['float32', ['n', 3, 64, 64]], sr: ['int64', []], h: ['float32', [2, 'n', 8]] },
    { y: ['float32', ['n', 10]], hN: ['float32', [2, 'n', 8]] },
  );
  const state = [{ in: 'h', out: 'hN', shape: [2, 1, 8] }];
  expect(
    compare(
      of,
      [
        { tensor: 'x', image },
        { tensor: 'sr', constant: 16_000, dtype: 'int64' },
      ],
      { x: [64, 64, 3] },
      { state },
    ),
  ).toEqual([]);
});

it('says of pictures which dimension is of another size, and the image to write', () => {
  const [one, ...others] = compare(info({ x: ['float32', ['n', 3, 128, 64]] }), [{ tensor: 'x', image }], {
    x: [64, 64, 3],
  });
  expect(others).toEqual([]);
  expect(one).toMatchObject({
    path: 'inputs[0].image',
    given: '[batch, 3, 64, 64]',
    expected: 'what the graph takes: "x" float32 [n, 3, 128, 64]; dimension 2 is 128, not 64',
    write: expect.stringContaining('"width":64,"height":128'),
  });
});

it('says of another layout and colour what to write', () => {
  const [one] = compare(info({ x: ['uint8', ['n', 64, 64, 1]] }), [{ tensor: 'x', image }], { x: [64, 64, 3] });
  expect(one?.write).toContain('"colour":"grey","layout":"nhwc"');
});

it('says of sound and signals the window that would fit', () => {
  const [sound] = compare(info({ x: ['float32', ['n', 576]] }), [{ tensor: 'x', audio }], { x: [564] });
  expect(sound).toMatchObject({ path: 'inputs[0].audio', given: '[batch, 564]', write: '"window": 512' });
  expect(sound?.expected).toMatch(/dimension 1 is 576, not 564/);
  const signal = { rate_hz: 100, window: 100, channels: ['a', 'b'] };
  const [channels] = compare(info({ x: ['float32', ['n', 2, 187]] }), [{ tensor: 'x', signal }], { x: [2, 100] });
  expect(channels).toMatchObject({ path: 'inputs[0].signal', write: '"window": 187' });
  const [ranks] = compare(info({ x: ['float32', ['n', 49, 10, 2]] }), [{ tensor: 'x', audio }], { x: [564] });
  expect(ranks?.expected).toMatch(/4 dimensions instead of 2/);
});

it('says of constants type and length', () => {
  const of = info({ x: ['float32', ['n', 3, 64, 64]], c: ['int64', [2]] });
  const inputs = [
    { tensor: 'x', image },
    { tensor: 'c', constant: [1, 2, 3], dtype: 'int32' },
  ];
  expect(compare(of, inputs, { x: [64, 64, 3] })).toMatchObject([
    { path: 'inputs[1].dtype', given: 'int32', write: '"dtype": "int64"' },
    { path: 'inputs[1].constant', given: '3 numbers', expected: 'as many as "c" int64 [2] has' },
  ]);
});

it('says of states names and shape', () => {
  const of = info(
    { x: ['float32', ['n', 3, 64, 64]], h: ['float32', [2, 'n', 8]] },
    { y: ['float32', ['n', 10]], hN: ['float32', [2, 'n', 8]] },
  );
  const inputs = [{ tensor: 'x', image }];
  const state = (over: object) =>
    compare(of, inputs, { x: [64, 64, 3] }, { state: [{ in: 'h', out: 'hN', shape: [2, 1, 8], ...over }] });
  expect(state({ shape: [2, 1, 9] })).toMatchObject([
    {
      path: 'state[0].shape',
      given: '[2, 1, 9]',
      expected: expect.stringContaining('dimension 2 is 8, not 9'),
      write: '"shape": [2, 1, 8]',
    },
  ]);
  expect(state({ out: 'nope' })).toMatchObject([{ path: 'state[0].out', given: '"nope"' }]);
});

it('says what the passport passes over, with a line for it', () => {
  const of = info(
    { x: ['float32', ['n', 3, 64, 64]], sr: ['int64', []], state: ['float32', [2, undefined, 128]] },
    { y: ['float32', ['n', 10]], stateN: ['float32', [2, undefined, 128]] },
  );
  expect(compare(of, [{ tensor: 'x', image }], { x: [64, 64, 3] })).toMatchObject([
    {
      path: 'inputs',
      given: 'nothing',
      expected: '"sr" int64 [], which the graph takes',
      write: '{ "tensor": "sr", "constant": 0, "dtype": "int64" }',
    },
    { path: 'inputs', write: '"state": [{ "in": "state", "out": "stateN", "shape": [2, 1, 128] }]' },
  ]);
  expect(
    compare(
      info({ x: ['float32', ['n', 3, 64, 64]] }),
      [
        { tensor: 'x', image },
        { tensor: 'x', image },
      ],
      { x: [64, 64, 3] },
    ),
  ).toMatchObject([{ path: 'inputs', given: '"x" twice' }]);
});

it('says of names that are not there which are', () => {
  const [one] = compare(info({ x: ['float32', ['n', 3, 64, 64]] }), [{ tensor: 'nope', image }], { nope: [64, 64, 3] });
  expect(one).toMatchObject({
    path: 'inputs[0].tensor',
    given: '"nope"',
    expected: 'one of "x" float32 [n, 3, 64, 64]',
  });
  expect(
    compare(info({ x: ['float32', ['n', 3, 64, 64]] }), [{ tensor: 'x', image }], { x: [64, 64, 3] }, { out: 'nope' }),
  ).toMatchObject([{ path: 'output.tensors.scores', write: '"tensors": {"scores":"y"}' }]);
});

it('takes a name that is misspelt for the one that is like it, and says it once', () => {
  const of = info(
    { input: ['float32', ['n', 3, 64, 64]], sr: ['int64', []] },
    { scores: ['float32', ['n', 10]], boxes: ['float32', ['n', 10]] },
  );
  const inputs = [
    { tensor: 'inputt', image },
    { tensor: 'sr', constant: 16_000, dtype: 'int64' },
  ];
  expect(compare(of, inputs, { inputt: [64, 64, 3] }, { out: 'bokses' })).toMatchObject([
    { path: 'inputs[0].tensor', write: '"tensor": "input"' },
    { path: 'output.tensors.scores', write: '"tensors": {"scores":"boxes"}' },
  ]);
  const [other] = compare(of, [{ tensor: 'input', image }, inputs[1]], { input: [64, 64, 3] }, { out: 'zzzz' });
  expect(other).toMatchObject({ path: 'output.tensors.scores', given: '"zzzz"' });
  expect(other).not.toHaveProperty('write');
});

it('says that a graph of fixed batch takes one at a time', () => {
  const found = compare(info({ x: ['float32', [1, 3, 64, 64]] }), [{ tensor: 'x', image }], { x: [64, 64, 3] });
  expect(found).toMatchObject([{ path: 'batch_max', given: '8', write: '"batch_max": 1' }]);
  expect(
    compare(info({ x: ['float32', [1, 3, 64, 64]] }), [{ tensor: 'x', image }], { x: [64, 64, 3] }, { batch: 1 }),
  ).toEqual([]);
});

it('knows a language model by the names of its inputs, and the length that its texts must have', () => {
  const of = info({ input_ids: ['int64', ['n', 48]], attention_mask: ['int64', ['n', 48]] });
  const text = { tokenizer: 'tokenizer.json', length_max: 32 };
  expect(compare(of, [{ tensor: 'input_ids', text }], { input_ids: [32] })).toMatchObject([
    { path: 'inputs[0].text', given: '[batch, 32]', write: '"length_max": 48' },
    {
      path: 'inputs',
      write: '{ "tensor": "attention_mask", "text": {"tokenizer":"tokenizer.json","length_max":48,"as":"mask"} }',
    },
  ]);
  const inputs = ['input_ids', 'attention_mask'].map((tensor) => ({ tensor, text: { ...text, length_max: 48 } }));
  expect(compare(of, inputs, { input_ids: [48], attention_mask: [48] })).toEqual([]);
});
