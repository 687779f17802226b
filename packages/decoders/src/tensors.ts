import { BrinkError } from '@brink/protocol';

/** One output of a run, for all units of the batch: row-major, little-endian bytes. */
export interface BatchTensor {
  /** as ONNX Runtime calls it */
  readonly dtype: string;
  readonly data: Uint8Array;
  /** with the batch, where it is known */
  readonly shape?: readonly number[];
}

export interface BatchOutputs {
  readonly batch: number;
  /** by the name that the graph gives them */
  readonly tensors: ReadonlyMap<string, BatchTensor>;
}

/** The numbers of one output for one unit. */
export type Values = ArrayLike<number>;

interface Kind {
  readonly bytes: number;
  /** whether a value may be NaN or infinite */
  readonly real: boolean;
  read(bytes: Uint8Array): Values;
}

type View = new (buffer: ArrayBufferLike, offset: number, length: number) => Values;
const viewed = (bytes: number, real: boolean, view: View): Kind => ({
  bytes,
  real,
  read: (of) => new view(of.buffer, of.byteOffset, of.byteLength / bytes),
});

const KINDS: Readonly<Record<string, Kind>> = {
  float32: viewed(4, true, Float32Array),
  float64: viewed(8, true, Float64Array),
  float16: { bytes: 2, real: true, read: (bytes) => Float32Array.from(halves(bytes), halfToNumber) },
  bfloat16: {
    bytes: 2,
    real: true,
    read: (bytes) => new Float32Array(Uint32Array.from(halves(bytes), (half) => half << 16).buffer),
  },
  uint8: viewed(1, false, Uint8Array),
  bool: viewed(1, false, Uint8Array),
  int8: viewed(1, false, Int8Array),
  uint16: viewed(2, false, Uint16Array),
  int16: viewed(2, false, Int16Array),
  uint32: viewed(4, false, Uint32Array),
  int32: viewed(4, false, Int32Array),
  uint64: { bytes: 8, real: false, read: (bytes) => safe(new BigUint64Array(...words(bytes))) },
  int64: { bytes: 8, real: false, read: (bytes) => safe(new BigInt64Array(...words(bytes))) },
};

/**
 * What one output says about unit `unit`, and nothing of what it says about the others.
 * @throws BrinkError E_MODEL_OUTPUT where the output is missing, of a type without numbers, or does not divide into the batch
 */
export function sliceOf(outputs: BatchOutputs, name: string, unit: number): Values {
  const tensor = tensorOf(outputs, name);
  return read(outputs, tensor, kindOf(tensor, name), name, unit);
}

/**
 * As `sliceOf`, and every value is a finite number.
 * @param what a value is: "class 3", "value 17" @throws BrinkError E_MODEL_OUTPUT naming the first that is not
 */
export function finiteSliceOf(outputs: BatchOutputs, name: string, unit: number, what = 'value'): Values {
  const tensor = tensorOf(outputs, name);
  const kind = kindOf(tensor, name);
  const values = read(outputs, tensor, kind, name, unit);
  if (!kind.real) return values;
  // v − v is 0 for every number but NaN and the infinities; one sum over all is several times as fast as a look at each.
  let sum = 0;
  for (let i = 0; i < values.length; i++) {
    const value = values[i] as number;
    sum += value - value;
  }
  if (sum === 0) return values;
  const at = Array.prototype.findIndex.call(values, (value) => !Number.isFinite(value));
  throw new BrinkError('E_MODEL_OUTPUT', `output "${name}" is ${values[at]} for ${what} ${at}`);
}

/** The shape of one unit's part, or undefined where it is not known. */
export function unitShape(outputs: BatchOutputs, name: string, elements: number): readonly number[] | undefined {
  const shape = outputs.tensors.get(name)?.shape;
  if (shape === undefined) return undefined;
  const [first, ...rest] = shape;
  if (first === outputs.batch && product(rest) === elements) return rest;
  return product(shape) === elements ? shape : undefined;
}

const product = (shape: readonly number[]) => shape.reduce((all, size) => all * size, 1);

function tensorOf(outputs: BatchOutputs, name: string): BatchTensor {
  const tensor = outputs.tensors.get(name);
  if (tensor === undefined) throw new BrinkError('E_MODEL_OUTPUT', `the run gave no output "${name}"`);
  return tensor;
}

function kindOf({ dtype }: BatchTensor, name: string): Kind {
  const kind = KINDS[dtype];
  if (kind !== undefined) return kind;
  throw new BrinkError('E_MODEL_OUTPUT', `output "${name}" is ${dtype}; expected ${Object.keys(KINDS).join(', ')}`);
}

function read(outputs: BatchOutputs, { data }: BatchTensor, kind: Kind, name: string, unit: number): Values {
  const elements = data.byteLength / kind.bytes / outputs.batch;
  if (!Number.isInteger(elements) || elements === 0 || unit >= outputs.batch) {
    throw new BrinkError(
      'E_MODEL_OUTPUT',
      `output "${name}" has ${data.byteLength} bytes for a batch of ${outputs.batch}`,
    );
  }
  const from = unit * elements * kind.bytes;
  const bytes = data.subarray(from, from + elements * kind.bytes);
  // Typed arrays begin at a multiple of their element size.
  return kind.read(bytes.byteOffset % kind.bytes === 0 ? bytes : bytes.slice());
}

const halves = (bytes: Uint8Array) => new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);
const words = (bytes: Uint8Array) => [bytes.buffer, bytes.byteOffset, bytes.byteLength / 8] as const;

/** @throws BrinkError E_MODEL_OUTPUT for an integer that a number cannot hold: nothing is rounded */
function safe(values: BigInt64Array | BigUint64Array): Float64Array {
  const numbers = new Float64Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const number = Number(values[i]);
    if (!Number.isSafeInteger(number)) {
      throw new BrinkError('E_MODEL_OUTPUT', `an output is ${values[i]} at ${i}; expected integers below 2^53`);
    }
    numbers[i] = number;
  }
  return numbers;
}

/** IEEE 754 binary16. */
function halfToNumber(half: number): number {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >> 10) & 0x1f;
  const fraction = half & 0x3ff;
  if (exponent === 0x1f) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}
