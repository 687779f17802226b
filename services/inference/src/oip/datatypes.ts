import { BrinkError } from '@brink/protocol';

type Element = number | bigint;
type Target = { [index: number]: Element; readonly buffer: ArrayBuffer; readonly length: number };

interface Datatype {
  /** in the Open Inference Protocol */
  readonly oip: string;
  /** in ONNX Runtime */
  readonly ort: string;
  readonly bytes: number;
  readonly make?: (elements: number) => Target;
  readonly view?: (buffer: ArrayBufferLike, offset: number, elements: number) => ArrayLike<Element>;
  /** whole numbers only, within these */
  readonly range?: readonly [bigint, bigint];
}

const int = (bits: number): readonly [bigint, bigint] => [-(2n ** BigInt(bits - 1)), 2n ** BigInt(bits - 1) - 1n];
const uint = (bits: number): readonly [bigint, bigint] => [0n, 2n ** BigInt(bits) - 1n];

/** FP16 and BF16 cannot travel as JSON (the protocol says so); they have names here for the metadata. */
const TABLE: readonly Datatype[] = [
  { oip: 'FP32', ort: 'float32', bytes: 4, make: (n) => new Float32Array(n), view: (...of) => new Float32Array(...of) },
  { oip: 'FP64', ort: 'float64', bytes: 8, make: (n) => new Float64Array(n), view: (...of) => new Float64Array(...of) },
  {
    oip: 'UINT8',
    ort: 'uint8',
    bytes: 1,
    make: (n) => new Uint8Array(n),
    view: (...of) => new Uint8Array(...of),
    range: uint(8),
  },
  {
    oip: 'INT8',
    ort: 'int8',
    bytes: 1,
    make: (n) => new Int8Array(n),
    view: (...of) => new Int8Array(...of),
    range: int(8),
  },
  {
    oip: 'UINT16',
    ort: 'uint16',
    bytes: 2,
    make: (n) => new Uint16Array(n),
    view: (...of) => new Uint16Array(...of),
    range: uint(16),
  },
  {
    oip: 'INT16',
    ort: 'int16',
    bytes: 2,
    make: (n) => new Int16Array(n),
    view: (...of) => new Int16Array(...of),
    range: int(16),
  },
  {
    oip: 'UINT32',
    ort: 'uint32',
    bytes: 4,
    make: (n) => new Uint32Array(n),
    view: (...of) => new Uint32Array(...of),
    range: uint(32),
  },
  {
    oip: 'INT32',
    ort: 'int32',
    bytes: 4,
    make: (n) => new Int32Array(n),
    view: (...of) => new Int32Array(...of),
    range: int(32),
  },
  {
    oip: 'UINT64',
    ort: 'uint64',
    bytes: 8,
    make: (n) => new BigUint64Array(n),
    view: (...of) => new BigUint64Array(...of),
    range: uint(64),
  },
  {
    oip: 'INT64',
    ort: 'int64',
    bytes: 8,
    make: (n) => new BigInt64Array(n),
    view: (...of) => new BigInt64Array(...of),
    range: int(64),
  },
  { oip: 'BOOL', ort: 'bool', bytes: 1, make: (n) => new Uint8Array(n), view: (...of) => new Uint8Array(...of) },
  { oip: 'FP16', ort: 'float16', bytes: 2 },
  { oip: 'BF16', ort: 'bfloat16', bytes: 2 },
  { oip: 'BYTES', ort: 'string', bytes: 0 },
];

const BY_OIP = new Map(TABLE.map((datatype) => [datatype.oip, datatype]));
const BY_ORT = new Map(TABLE.map((datatype) => [datatype.ort, datatype]));

/** @returns the protocol's name of an ONNX Runtime type */
export function oipDatatype(dtype: string | undefined): string {
  return BY_ORT.get(dtype ?? '')?.oip ?? 'BYTES';
}

/**
 * JSON numbers, nested or flat, as the bytes of a tensor. Checked while they are copied.
 * @throws BrinkError E_BAD_REQUEST (not a number, not whole, out of range), E_SHAPE (too many, too few), E_UNSUPPORTED (no JSON form)
 */
export function bytesFromJson(
  name: string,
  datatype: string,
  shape: readonly number[],
  data: unknown,
): { dtype: string; bytes: Uint8Array } {
  const type = BY_OIP.get(datatype);
  if (type === undefined)
    throw new BrinkError('E_BAD_REQUEST', `input "${name}" has datatype "${datatype}"; known: ${[...BY_OIP.keys()]}`);
  if (type.make === undefined)
    throw new BrinkError('E_UNSUPPORTED', `input "${name}" is ${datatype}, which does not travel as JSON here`);
  if (!Array.isArray(data)) throw new BrinkError('E_BAD_REQUEST', `input "${name}" has no array in "data"`);
  const elements = shape.reduce((product, size) => product * size, 1);
  const target = type.make(elements);
  const convert = converterOf(type, name);
  let at = 0;
  const fill = (list: readonly unknown[], depth: number): void => {
    if (depth > shape.length)
      throw new BrinkError('E_SHAPE', `"data" of input "${name}" is nested deeper than its shape [${shape}]`);
    for (const item of list) {
      if (Array.isArray(item)) fill(item, depth + 1);
      else if (at < elements) target[at++] = convert(item);
      else throw new BrinkError('E_SHAPE', `input "${name}" has more elements than its shape [${shape}]`);
    }
  };
  fill(data, 1);
  if (at !== elements)
    throw new BrinkError('E_SHAPE', `input "${name}" has ${at} elements; its shape [${shape}] needs ${elements}`);
  return { dtype: type.ort, bytes: new Uint8Array(target.buffer) };
}

function converterOf(type: Datatype, name: string): (item: unknown) => Element {
  const wrong = (item: unknown, expected: string) =>
    new BrinkError(
      'E_BAD_REQUEST',
      `input "${name}" contains ${JSON.stringify(item)?.slice(0, 40)}; expected ${expected}`,
    );
  if (type.oip === 'BOOL') {
    return (item) => {
      if (item === true || item === 1) return 1;
      if (item === false || item === 0) return 0;
      throw wrong(item, 'true or false');
    };
  }
  const { range } = type;
  if (range === undefined) {
    return (item) => {
      if (typeof item !== 'number') throw wrong(item, 'a number');
      return item;
    };
  }
  const [low, high] = [Number(range[0]), Number(range[1])];
  return (item) => {
    // JSON numbers beyond 2^53 were rounded before we saw them.
    if (!Number.isSafeInteger(item)) throw wrong(item, 'a whole number within ±(2^53 − 1)');
    const number = item as number;
    if (number < low || number > high) throw wrong(item, `a number of ${type.oip}`);
    return type.bytes === 8 ? BigInt(number) : number;
  };
}

/** A tensor as JSON numbers, flat. @throws BrinkError E_MODEL_OUTPUT (NaN has no JSON), E_UNSUPPORTED (FP16, strings, beyond 2^53) */
export function jsonFromBytes(name: string, dtype: string, bytes: Uint8Array): (number | boolean)[] {
  const type = BY_ORT.get(dtype);
  if (type?.view === undefined)
    throw new BrinkError('E_UNSUPPORTED', `output "${name}" is ${dtype}, which does not travel as JSON`);
  const aligned = bytes.byteOffset % type.bytes === 0 ? bytes : bytes.slice();
  const view = type.view(aligned.buffer, aligned.byteOffset, aligned.byteLength / type.bytes);
  return Array.from(view, (element) => {
    if (type.oip === 'BOOL') return element !== 0;
    const number = Number(element);
    if (!Number.isFinite(number)) throw new BrinkError('E_MODEL_OUTPUT', `output "${name}" contains ${number}`);
    if (typeof element === 'bigint' && !Number.isSafeInteger(number)) {
      throw new BrinkError('E_UNSUPPORTED', `output "${name}" contains ${element}, which JSON would round`);
    }
    return number;
  });
}
