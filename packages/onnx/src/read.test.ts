import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { BrinkError } from '@brink/protocol';
import { create } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import { encode, graph, model, node, tensor, value } from './build.ts';
import {
  FunctionProtoSchema,
  type GraphProto,
  StringStringEntryProtoSchema,
  TensorProto_DataLocation,
  type TypeProto,
  TypeProto_MapSchema,
  TypeProto_OptionalSchema,
  TypeProto_SequenceSchema,
  TypeProto_TensorSchema,
  TypeProtoSchema,
} from './gen/onnx/onnx_pb.js';
import { readModel } from './read.ts';
import { simpleCnnGraph } from './simple-cnn.ts';

const codeOf = (run: () => unknown) => {
  try {
    run();
  } catch (error) {
    return error instanceof BrinkError ? `${error.code} ${error.detail}` : String(error);
  }
  return 'no error';
};

const through = (operator: string, more: { domains?: string[]; body?: GraphProto } = {}) =>
  model(
    graph({
      inputs: [value('x', 'float32', ['batch', 2])],
      outputs: [value('y', 'float32', ['batch', 2])],
      nodes: [node(operator, ['x'], ['y'], more.body === undefined ? {} : { body: more.body })],
    }),
    { domains: more.domains ?? [] },
  );

describe('readModel', () => {
  it('says inputs, outputs, dimensions by number, name and nothing, operators and metadata', () => {
    const built = model(
      graph({
        inputs: [value('x', 'float32', ['batch', 3, undefined])],
        outputs: [value('y', 'int64', [])],
        nodes: [node('Relu', ['x'], ['r']), node('com.microsoft:QGemm', ['r'], ['y'])],
        tensors: [tensor('w', [2], new Float32Array(2))],
      }),
      { opset: 13, metadata: { names: 'a,b' }, domains: ['com.microsoft'] },
    );
    expect(readModel(encode(built))).toEqual({
      inputs: [{ name: 'x', dtype: 'float32', shape: ['batch', 3, undefined] }],
      outputs: [{ name: 'y', dtype: 'int64', shape: [] }],
      opset: 13,
      operators: ['Relu', 'com.microsoft:QGemm'],
      metadata: { names: 'a,b' },
      externalData: [],
      nodes: 2,
    });
  });

  it('does not take initialisers for inputs where an old file lists them as both', () => {
    const built = model(
      graph({
        inputs: [value('x', 'float32', [1]), value('w', 'float32', [1])],
        outputs: [value('y', 'float32', [1])],
        nodes: [node('Add', ['x', 'w'], ['y'])],
        tensors: [tensor('w', [1], new Float32Array(1))],
      }),
      { irVersion: 3, opset: 8 },
    );
    expect(readModel(encode(built)).inputs.map(({ name }) => name)).toEqual(['x']);
  });

  it.each([
    ['no bytes', new Uint8Array()],
    ['text', new TextEncoder().encode('not an onnx file')],
    ['zeros', new Uint8Array(1000)],
    ['a PNG', Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a)],
    ['a truncated model', encode(through('Relu')).subarray(0, 40)],
  ])('refuses %s as E_MODEL_PARSE', (_name, bytes) => {
    expect(codeOf(() => readModel(bytes))).toMatch(/^E_MODEL_PARSE /);
  });

  it('refuses a big model cut anywhere, and mutated bytes never throw anything else', () => {
    const whole = simpleCnnGraph(() => 0.5);
    expect(codeOf(() => readModel(whole.subarray(0, whole.length / 2)))).toMatch(/^E_MODEL_PARSE /);
    const small = encode(through('Relu'));
    for (let i = 0; i < small.length * 8; i++) {
      const bytes = small.slice();
      bytes[i >> 3] = (bytes[i >> 3] ?? 0) ^ (1 << (i & 7));
      expect(codeOf(() => readModel(bytes))).toMatch(/^(no error|(E_MODEL_(PARSE|OP|EXTERNAL)|E_UNSUPPORTED) )/);
    }
  });

  it.each(['../secret', '/etc/passwd', '/dev/zero', 'weights.bin', ''])(
    'refuses external data wherever it hides and points: "%s"',
    (location) => {
      const outside = tensor('w', [1], new Float32Array(1));
      outside.dataLocation = TensorProto_DataLocation.EXTERNAL;
      if (location !== '')
        outside.externalData = [create(StringStringEntryProtoSchema, { key: 'location', value: location })];
      const inner = graph({
        inputs: [],
        outputs: [value('z', 'float32', [1])],
        nodes: [node('Constant', [], ['z'], { value: outside })],
      });
      const said = `E_MODEL_EXTERNAL "w → ${location || '(no path)'}"; expected all data inside the one file`;
      expect(codeOf(() => readModel(encode(through('Loop', { body: inner }))))).toBe(said);
      const initialiser = through('Relu');
      initialiser.graph!.initializer.push(outside);
      expect(codeOf(() => readModel(encode(initialiser)))).toBe(said);
    },
  );

  it.each(['Loop', 'If', 'Scan'])('takes %s: what bounds it is the runner, not the reader', (operator) => {
    expect(codeOf(() => readModel(encode(through(operator))))).toBe('no error');
  });

  it('refuses inputs and outputs that are no tensors by their kind, and elements that nothing here takes', () => {
    const typed = (side: 'input' | 'output', type: TypeProto['value']) => {
      const built = through('Relu');
      built.graph![side][0]!.type = create(TypeProtoSchema, { value: type });
      return codeOf(() => readModel(encode(built)));
    };
    const element = create(TypeProtoSchema, { value: { case: 'tensorType', value: { elemType: 1 } } });
    const sequence = { case: 'sequenceType', value: create(TypeProto_SequenceSchema, { elemType: element }) } as const;
    const map = { case: 'mapType', value: create(TypeProto_MapSchema, { keyType: 7, valueType: element }) } as const;
    const optional = { case: 'optionalType', value: create(TypeProto_OptionalSchema, { elemType: element }) } as const;
    const float8 = { case: 'tensorType', value: create(TypeProto_TensorSchema, { elemType: 17 }) } as const;
    expect(typed('input', sequence)).toBe('E_UNSUPPORTED input "x" is of kind sequence; expected a tensor');
    expect(typed('input', map)).toBe('E_UNSUPPORTED input "x" is of kind map; expected a tensor');
    expect(typed('input', optional)).toBe('E_UNSUPPORTED input "x" is of kind optional; expected a tensor');
    expect(typed('output', sequence)).toMatch(
      /^E_UNSUPPORTED output "y" is of kind sequence; expected a tensor \(sklearn-onnx/,
    );
    expect(typed('output', float8)).toMatch(
      /^E_UNSUPPORTED output "y" is a tensor of float8e4m3fn; expected one of float32/,
    );
  });

  it('refuses operators of foreign domains by name, also inside a body, and takes functions the file defines', () => {
    expect(codeOf(() => readModel(encode(through('ai.onnx.contrib:DecodeImage'))))).toMatch(
      /^E_MODEL_OP "ai.onnx.contrib:DecodeImage"/,
    );
    expect(codeOf(() => readModel(encode(through('com.microsoft:NoSuch'))))).toMatch(/^E_MODEL_OP /);
    const inner = graph({
      inputs: [],
      outputs: [value('z', 'float32', [1])],
      nodes: [node('evil:Run', [], ['z'])],
    });
    expect(codeOf(() => readModel(encode(through('If', { body: inner }))))).toMatch(/^E_MODEL_OP "evil:Run"/);
    const withFunction = through('mine:Twice');
    withFunction.functions = [create(FunctionProtoSchema, { name: 'Twice', domain: 'mine' })];
    expect(codeOf(() => readModel(encode(withFunction)))).toBe('no error');
  });

  it('refuses more nodes than are allowed', () => {
    const many = through('Relu');
    const one = many.graph!.node[0]!;
    many.graph!.node = Array.from({ length: 20_001 }, () => one);
    expect(codeOf(() => readModel(encode(many)))).toMatch(/^E_MODEL_OP 20001 nodes/);
  });
});

const SHARED = join(import.meta.dirname, '../../../../shared/models');
const shared = (file: string) => readFileSync(join(SHARED, file));
describe.skipIf(!existsSync(SHARED))("other people's files (skipped where ../shared/models is absent)", () => {
  it('with operators of foreign domains are refused by the names of those', () => {
    expect(codeOf(() => readModel(shared('super-resolution/supres.onnx')))).toMatch(
      /^E_MODEL_OP .*"ai\.onnx\.contrib:SuperResolutionPreProcess"/,
    );
    const prepared = 'super-resolution/pytorch_superresolution_with_pre_post_processing_op18.onnx';
    expect(codeOf(() => readModel(shared(prepared)))).toMatch(/^E_MODEL_OP .*"com\.microsoft\.extensions:DecodeImage"/);
  });

  it.each([
    ['mnist/mnist.onnx', 'Input3 [1,1,28,28]', 'Plus214_Output_0 [1,10]'],
    ['keyword-spotting/kws_dscnn.onnx', 'input [1,49,10,1]', 'output [1,12]'],
    ['fastestdet/FastestDet.onnx', 'input.1 [1,3,352,352]', '758 [1,85,22,22]'],
    ['ultraface/version-RFB-320.onnx', 'input [1,3,240,320]', 'scores [1,4420,2] boxes [1,4420,4]'],
    ['silero-vad/silero_vad.onnx', 'input [,] state [2,,128] sr []', 'output [,1] stateN [,,]'],
  ])('%s says its inputs and outputs', (file, inputs, outputs) => {
    const info = readModel(shared(file));
    const said = (tensors: typeof info.inputs) =>
      tensors.map(({ name, shape }) => `${name} [${shape?.join()}]`).join(' ');
    expect(said(info.inputs)).toBe(inputs);
    expect(said(info.outputs)).toBe(outputs);
  });
});

describe('simpleCnnGraph', () => {
  it('is the same file for the same seed, 33.5 MB with a dynamic batch', () => {
    const seeded = () => {
      let state = 7;
      return () => {
        state = (state * 48271) % 2147483647; // Lehmer, MINSTD
        return state / 2147483647;
      };
    };
    const bytes = simpleCnnGraph(seeded());
    expect(bytes.length).toBeGreaterThan(33_500_000);
    expect(Buffer.compare(bytes, simpleCnnGraph(seeded()))).toBe(0);
    expect(readModel(bytes).inputs).toEqual([{ name: 'image', dtype: 'float32', shape: ['batch', 3, 128, 128] }]);
  });
});
