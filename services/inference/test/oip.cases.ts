import type { CaseRequest, CaseTensor, Element } from './harness/oip-client.ts';
import { packed } from './harness/oip-client.ts';
import { greyPng } from './harness/picture.ts';

// What the Open Inference Protocol promises, for both faces alike: request, and the answer or why not. Each case is asked in every
// way in which its tensors can travel. Which status a code has is said once, below.

/** http-json, grpc-contents: element by element; the others: as bytes, both ways. */
export const WAYS = ['http-json', 'http-binary', 'grpc-contents', 'grpc-raw'] as const;
export type Way = (typeof WAYS)[number];

/** HTTP and gRPC status of the codes that a client sees here: Triton's for what is wrong with a request. */
export const STATUS: Readonly<Record<string, readonly [http: number, grpc: number]>> = {
  E_BAD_REQUEST: [400, 3],
  E_SHAPE: [400, 3],
  E_IMAGE_TYPE: [415, 3],
  E_IMAGE_CORRUPT: [400, 3],
  E_MODEL_UNKNOWN: [404, 5],
  E_UNSUPPORTED: [501, 12],
  E_EXPIRED: [504, 4],
  E_MODEL_OUTPUT: [500, 13],
  E_MODEL_TIMEOUT: [504, 4],
};

export interface Case {
  readonly title: string;
  /** default: all */
  readonly ways?: readonly Way[];
  readonly request: CaseRequest;
  readonly expect:
    | { readonly outputs: readonly Output[]; readonly id?: string }
    | { readonly code: string; readonly says: RegExp };
}

interface Output {
  readonly name: string;
  readonly datatype: string;
  readonly shape: readonly number[];
  readonly data: readonly Element[];
}

const BYTES: readonly Way[] = ['http-binary', 'grpc-raw'];
const ELEMENTS: readonly Way[] = ['http-json', 'grpc-contents'];
const HTTP_JSON: readonly Way[] = ['http-json'];
/** All but JSON. */
const EXACT: readonly Way[] = ['http-binary', 'grpc-raw', 'grpc-contents'];

const tensor = (over: Partial<CaseTensor> = {}): CaseTensor => ({
  name: 'x',
  datatype: 'FP32',
  shape: [1, 1, 1, 4],
  data: [1.5, 2, 3, 4],
  ...over,
});
const pixels = (over: Partial<CaseTensor> = {}, top: Partial<CaseRequest> = {}): CaseRequest => ({
  model: 'pixels',
  inputs: [tensor(over)],
  ...top,
});
const y = (shape: number[], data: Element[]): Output => ({ name: 'y', datatype: 'FP32', shape, data });

const TWO_PICTURES = packed(greyPng(10, 20, 30, 40), greyPng(4, 3, 2, 1));
const pictures = (files: Uint8Array, shape: number[]): CaseTensor => tensor({ datatype: 'BYTES', shape, data: files });

const ALL_TYPES: readonly (readonly [name: string, datatype: string, data: readonly Element[]])[] = [
  ['fp32', 'FP32', [-1.5, 0.25]],
  ['fp64', 'FP64', [1e300, -0.1]],
  ['int8', 'INT8', [-128, 127]],
  ['int16', 'INT16', [-32768, 32767]],
  ['int32', 'INT32', [-2147483648, 2147483647]],
  ['int64', 'INT64', [-9007199254740991, 9007199254740991]],
  ['uint8', 'UINT8', [0, 255]],
  ['uint16', 'UINT16', [0, 65535]],
  ['uint32', 'UINT32', [0, 4294967295]],
  ['uint64', 'UINT64', [0, 9007199254740991]],
  ['bool', 'BOOL', [true, false]],
];
const two = (b: readonly Element[], top: Partial<CaseRequest> = {}): CaseRequest => ({
  model: 'echo-two',
  inputs: [
    { name: 'b', datatype: 'INT64', shape: [1], data: b },
    { name: 'a', datatype: 'FP32', shape: [1], data: [0.5] },
  ],
  ...top,
});
const text = (data: readonly Element[] | Uint8Array, shape: number[]): CaseRequest => ({
  model: 'echo-text',
  inputs: [{ name: 'text', datatype: 'BYTES', shape, data }],
});

const ANSWERS: readonly Case[] = [
  { title: 'one row', request: pixels(), expect: { outputs: [y([1, 4], [1.5, 2, 3, 4])] } },
  {
    title: 'several rows',
    request: pixels({ shape: [2, 1, 1, 4], data: [1, 2, 3, 4, 5, 6, 7, 8] }),
    expect: { outputs: [y([2, 4], [1, 2, 3, 4, 5, 6, 7, 8])] },
  },
  {
    title: 'more rows than go into one batch',
    request: pixels({ shape: [20, 1, 1, 4], data: Array.from({ length: 80 }, (_, at) => at) }),
    expect: {
      outputs: [
        y(
          [20, 4],
          Array.from({ length: 80 }, (_, at) => at),
        ),
      ],
    },
  },
  {
    title: 'no rows',
    request: pixels({ shape: [0, 1, 1, 4], data: [] }),
    expect: { outputs: [y([0, 4], [])] },
  },
  {
    title: 'the id, given back',
    request: pixels({}, { id: 'a-1 ü' }),
    expect: { id: 'a-1 ü', outputs: [y([1, 4], [1.5, 2, 3, 4])] },
  },
  {
    title: 'a version by its number',
    request: pixels({}, { version: '1' }),
    expect: { outputs: [y([1, 4], [1.5, 2, 3, 4])] },
  },
  {
    title: 'every type of number, at its ends',
    request: {
      model: 'echo-types',
      inputs: ALL_TYPES.map(([name, datatype, data]) => ({ name, datatype, shape: [2], data })),
    },
    expect: {
      outputs: ALL_TYPES.map(([name, datatype, data]) => ({ name: `${name}.out`, datatype, shape: [2], data })),
    },
  },
  {
    title: 'half floats',
    ways: BYTES,
    request: { model: 'echo-half', inputs: [{ name: 'half', datatype: 'FP16', shape: [2], data: [0x3c00, 0x7c00] }] },
    expect: { outputs: [{ name: 'half.out', datatype: 'FP16', shape: [2], data: [0x3c00, 0x7c00] }] },
  },
  {
    title: 'whole numbers beyond 2^53, exactly',
    ways: EXACT,
    request: two([9007199254740993n]),
    expect: {
      outputs: [
        { name: 'a.out', datatype: 'FP32', shape: [1], data: [0.5] },
        { name: 'b.out', datatype: 'INT64', shape: [1], data: [9007199254740993n] },
      ],
    },
  },
  {
    title: 'only the outputs that are asked for, in that order',
    request: two([7], { outputs: [{ name: 'b.out' }, { name: 'a.out' }] }),
    expect: {
      outputs: [
        { name: 'b.out', datatype: 'INT64', shape: [1], data: [7] },
        { name: 'a.out', datatype: 'FP32', shape: [1], data: [0.5] },
      ],
    },
  },
  {
    title: 'a scalar',
    request: { model: 'echo-scalar', inputs: [{ name: 'rate', datatype: 'INT64', shape: [], data: [16000] }] },
    expect: { outputs: [{ name: 'rate.out', datatype: 'INT64', shape: [], data: [16000] }] },
  },
  {
    title: 'a scalar that comes with one dimension',
    request: { model: 'echo-scalar', inputs: [{ name: 'rate', datatype: 'INT64', shape: [1], data: [8000] }] },
    expect: { outputs: [{ name: 'rate.out', datatype: 'INT64', shape: [], data: [8000] }] },
  },
  {
    title: 'strings',
    request: text(['', 'Brink', '边缘 ⚙️'], [3]),
    expect: { outputs: [{ name: 'text.out', datatype: 'BYTES', shape: [3], data: ['', 'Brink', '边缘 ⚙️'] }] },
  },
  {
    title: 'NaN and infinity',
    ways: EXACT,
    request: { ...pixels({ data: [1, 100, 101, Number.POSITIVE_INFINITY] }), model: 'nan' },
    expect: { outputs: [y([1, 4], [Number.NaN, Number.NEGATIVE_INFINITY, 0, Number.POSITIVE_INFINITY])] },
  },
  {
    title: 'an output that does not lie row by row',
    request: { ...pixels({ shape: [2, 1, 1, 4], data: [1, 2, 3, 4, 5, 6, 7, 8] }), model: 'shapes' },
    expect: {
      outputs: [
        y([2, 4], [1, 2, 3, 4, 5, 6, 7, 8]),
        { name: 'count', datatype: 'INT64', shape: [4], data: [2, 1, 1, 4] },
      ],
    },
  },
  {
    title: 'the highest classes of each row, with their labels',
    request: pixels(
      { shape: [2, 1, 1, 4], data: [0.1, 0.25, 3, 1, 9, 9, 0, -1] },
      { outputs: [{ name: 'y', classification: 2 }] },
    ),
    expect: {
      outputs: [
        {
          name: 'y',
          datatype: 'BYTES',
          shape: [2, 2],
          data: ['3.000000:2:two', '1.000000:3:three', '9.000000:0:zero', '9.000000:1:one'],
        },
      ],
    },
  },
  {
    title: 'as many classes as there are, where more are asked for',
    request: two([5], { outputs: [{ name: 'b.out', classification: 10 }] }),
    expect: { outputs: [{ name: 'b.out', datatype: 'BYTES', shape: [1], data: ['5:0'] }] },
  },
  {
    title: 'pictures, prepared as the passport says',
    ways: ['http-binary', 'grpc-raw', 'grpc-contents'],
    request: { model: 'pixels', inputs: [pictures(TWO_PICTURES, [2])] },
    expect: { outputs: [y([2, 4], [10, 20, 30, 40, 4, 3, 2, 1])] },
  },
  {
    title: 'classes of a picture',
    ways: ['http-binary', 'grpc-raw', 'grpc-contents'],
    request: {
      model: 'pixels',
      inputs: [pictures(packed(greyPng(1, 2, 7, 3)), [1])],
      outputs: [{ name: 'y', classification: 1 }],
    },
    expect: { outputs: [{ name: 'y', datatype: 'BYTES', shape: [1, 1], data: ['7.000000:2:two'] }] },
  },
  {
    title: 'a priority and a time limit that suffices',
    request: pixels({}, { parameters: { priority: 1, timeout: 5_000_000, 'my-own': 'anything' } }),
    expect: { outputs: [y([1, 4], [1.5, 2, 3, 4])] },
  },
];

const refused = (title: string, request: CaseRequest, code: string, says: RegExp, ways?: readonly Way[]): Case => ({
  title,
  request,
  expect: { code, says },
  ...(ways === undefined ? {} : { ways }),
});

const REFUSALS: readonly Case[] = [
  refused('an unknown model', { ...pixels(), model: 'nobody' }, 'E_MODEL_UNKNOWN', /no model "nobody"/),
  refused('an unknown version', pixels({}, { version: '7' }), 'E_MODEL_UNKNOWN', /no version 7/),
  refused(
    'a version that is no number',
    pixels({}, { version: 'latest' }),
    'E_MODEL_UNKNOWN',
    /"latest" is no version/,
  ),
  refused('no inputs', { model: 'pixels', inputs: [] }, 'E_SHAPE', /input "x" is missing/),
  refused('another name', pixels({ name: 'z' }), 'E_SHAPE', /"x" is missing, "z" is given/),
  refused('an input too many', pixels({}, { inputs: [tensor(), tensor({ name: 'z' })] }), 'E_SHAPE', /no input "z"/),
  refused('an input twice', pixels({}, { inputs: [tensor(), tensor()] }), 'E_BAD_REQUEST', /"x" is given twice/),
  refused('another shape', pixels({ shape: [1, 1, 4, 1] }), 'E_SHAPE', /\[1,1,4,1\]; expected \[-1,1,1,4\]/),
  refused('another number of dimensions', pixels({ shape: [4] }), 'E_SHAPE', /expected \[-1,1,1,4\]/),
  refused('too few elements', pixels({ data: [1, 2] }), 'E_SHAPE', /2 elements; its shape.* needs 4/, ELEMENTS),
  refused('too few bytes', pixels({ data: [1, 2] }), 'E_SHAPE', /8 bytes; FP32 \[1,1,1,4\] needs 16/, BYTES),
  refused('too many bytes', pixels({ data: [1, 2, 3, 4, 5] }), 'E_SHAPE', /20 bytes; .* needs 16/, BYTES),
  refused('another type', pixels({ datatype: 'INT32', data: [1, 2, 3, 4] }), 'E_SHAPE', /is INT32; expected FP32/),
  refused('an unknown type', pixels({ datatype: 'FLOAT' }), 'E_BAD_REQUEST', /datatype "FLOAT"; expected one of FP32/),
  refused('half floats one by one', pixels({ datatype: 'FP16' }), 'E_UNSUPPORTED', /binary data only/, HTTP_JSON),
  refused('half floats one by one', pixels({ datatype: 'FP16' }), 'E_BAD_REQUEST', /raw_input_contents/, [
    'grpc-contents',
  ]),
  refused(
    'a number out of range',
    pixels({ datatype: 'UINT8', data: [256, 1, 1, 1] }),
    'E_BAD_REQUEST',
    /256.*UINT8/,
    ELEMENTS,
  ),
  refused('whole numbers beyond 2^53 in JSON', two([9007199254740993n]), 'E_BAD_REQUEST', /2\^53.*binary/, HTTP_JSON),
  refused(
    'a number that is too large for its type',
    pixels({ data: [1e39, 1, 1, 1] }),
    'E_BAD_REQUEST',
    /1e\+39.*FP32/,
    HTTP_JSON,
  ),
  refused('a gigantic shape', pixels({ shape: [2 ** 40, 1, 1, 4] }), 'E_SHAPE', /needs|at most/),
  refused(
    'an output that is not there',
    pixels({}, { outputs: [{ name: 'q' }] }),
    'E_BAD_REQUEST',
    /no output "q".*"y"/,
  ),
  refused('an output twice', pixels({}, { outputs: [{ name: 'y' }, { name: 'y' }] }), 'E_BAD_REQUEST', /twice/),
  refused('no classes', pixels({}, { outputs: [{ name: 'y', classification: 0 }] }), 'E_BAD_REQUEST', /1 or more/),
  refused('half a class', pixels({}, { outputs: [{ name: 'y', classification: 1.5 }] }), 'E_BAD_REQUEST', /1 or more/),
  refused(
    'a sequence',
    pixels({}, { parameters: { sequence_id: 5, sequence_start: true } }),
    'E_UNSUPPORTED',
    /recurrent state travels by value, as ordinary inputs and outputs/,
  ),
  refused('a priority that there is not', pixels({}, { parameters: { priority: 10 } }), 'E_BAD_REQUEST', /0\.\.9/),
  refused(
    'a time limit that is no number',
    pixels({}, { parameters: { timeout: 'soon' } }),
    'E_BAD_REQUEST',
    /timeout/,
  ),
  refused('a time limit that passes', pixels({}, { parameters: { timeout: 1 } }), 'E_EXPIRED', /deadline/),
  refused('NaN in JSON', { ...pixels(), model: 'nan' }, 'E_MODEL_OUTPUT', /NaN.*binary_data/, HTTP_JSON),
  refused(
    'a run that hangs',
    { ...pixels({ data: [255, 0, 0, 0] }), model: 'loop' },
    'E_MODEL_TIMEOUT',
    /longer than 300 ms/,
    BYTES,
  ),
  refused(
    'strings that end early',
    text(packed(Buffer.from('ab')).subarray(0, 5), [1]),
    'E_SHAPE',
    /2 bytes; 1 are left/,
    BYTES,
  ),
  refused('strings that are too few', text(packed(Buffer.from('ab')), [2]), 'E_SHAPE', /1 elements; .* needs 2/, BYTES),
  refused(
    'strings that are too many',
    text(packed(Buffer.from('a'), Buffer.from('b')), [1]),
    'E_SHAPE',
    /needs 1/,
    BYTES,
  ),
  refused(
    'strings that are no UTF-8',
    text(packed(Buffer.from([0xff, 0xfe])), [1]),
    'E_BAD_REQUEST',
    /not UTF-8/,
    BYTES,
  ),
  refused(
    'text for a model of numbers',
    {
      model: 'echo-two',
      inputs: [pictures(TWO_PICTURES, [2]), tensor()].map((one, at) => ({ ...one, name: at === 0 ? 'a' : 'b' })),
    },
    'E_UNSUPPORTED',
    /pictures need a passport/,
    BYTES,
  ),
  refused(
    'a picture cut short',
    { model: 'pixels', inputs: [pictures(packed(greyPng(1, 2, 3, 4).subarray(0, 50)), [1])] },
    'E_IMAGE_CORRUPT',
    /picture 0 of 1/,
    BYTES,
  ),
  refused(
    'a picture that is none',
    { model: 'pixels', inputs: [pictures(packed(greyPng(1, 2, 3, 4), Buffer.from('hello')), [2])] },
    'E_IMAGE_TYPE',
    /picture 1 of 2/,
    BYTES,
  ),
  refused(
    'pictures in two dimensions',
    { model: 'pixels', inputs: [pictures(TWO_PICTURES, [1, 2])] },
    'E_SHAPE',
    /expected \[N\]/,
    BYTES,
  ),
];

export const CASES: readonly Case[] = [...ANSWERS, ...REFUSALS];
