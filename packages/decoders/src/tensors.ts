import { BrinkError } from '@brink/protocol';

/** One output of a run, for all units of the batch: row-major, little-endian bytes. */
export interface BatchTensor {
  /** as ONNX Runtime calls it */
  readonly dtype: string;
  readonly data: Uint8Array;
}

export interface BatchOutputs {
  readonly batch: number;
  /** by the name that the graph gives them */
  readonly tensors: ReadonlyMap<string, BatchTensor>;
}

type Numbers = (bytes: Uint8Array) => ArrayLike<number>;

const NUMBERS: Readonly<Record<string, { bytes: number; read: Numbers }>> = {
  float32: { bytes: 4, read: (bytes) => new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4) },
  float64: { bytes: 8, read: (bytes) => new Float64Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 8) },
  float16: { bytes: 2, read: (bytes) => Float32Array.from(halves(bytes), halfToNumber) },
  bfloat16: {
    bytes: 2,
    read: (bytes) => new Float32Array(Uint32Array.from(halves(bytes), (half) => half << 16).buffer),
  },
  uint8: { bytes: 1, read: (bytes) => bytes },
  int8: { bytes: 1, read: (bytes) => new Int8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength) },
  int32: { bytes: 4, read: (bytes) => new Int32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4) },
};

/**
 * What one output says about unit `unit`, and nothing of what it says about the others.
 * @throws BrinkError E_MODEL_OUTPUT where the output is missing, of a type without numbers, or does not divide into the batch
 */
export function sliceOf(outputs: BatchOutputs, name: string, unit: number): ArrayLike<number> {
  const tensor = outputs.tensors.get(name);
  if (tensor === undefined) throw new BrinkError('E_MODEL_OUTPUT', `the run gave no output "${name}"`);
  const kind = NUMBERS[tensor.dtype];
  if (kind === undefined) {
    throw new BrinkError(
      'E_MODEL_OUTPUT',
      `output "${name}" is ${tensor.dtype}; expected ${Object.keys(NUMBERS).join(', ')}`,
    );
  }
  const elements = tensor.data.byteLength / kind.bytes / outputs.batch;
  if (!Number.isInteger(elements) || elements === 0 || unit >= outputs.batch) {
    throw new BrinkError(
      'E_MODEL_OUTPUT',
      `output "${name}" has ${tensor.data.byteLength} bytes for a batch of ${outputs.batch}`,
    );
  }
  const from = unit * elements * kind.bytes;
  const bytes = tensor.data.subarray(from, from + elements * kind.bytes);
  // Typed arrays begin at a multiple of their element size.
  return kind.read(bytes.byteOffset % kind.bytes === 0 ? bytes : bytes.slice());
}

const halves = (bytes: Uint8Array) => new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);

/** IEEE 754 binary16. */
function halfToNumber(half: number): number {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >> 10) & 0x1f;
  const fraction = half & 0x3ff;
  if (exponent === 0x1f) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}
