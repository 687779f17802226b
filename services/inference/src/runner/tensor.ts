import { BrinkError } from '@brink/protocol/link';
import { Tensor } from 'onnxruntime-node';
import type { Head } from '../scheduler/job.ts';
import { bytesOfStrings, stringsOf } from './strings.ts';

type Data = Exclude<Tensor['data'], string[]>;

interface Kind {
  readonly bytes: number;
  make(buffer: ArrayBufferLike, offset: number, length: number): Data;
}

/** How bytes become what ONNX Runtime takes. */
const KINDS: Readonly<Record<string, Kind>> = {
  float32: { bytes: 4, make: (...of) => new Float32Array(...of) },
  float64: { bytes: 8, make: (...of) => new Float64Array(...of) },
  float16: { bytes: 2, make: (...of) => new Uint16Array(...of) },
  uint8: { bytes: 1, make: (...of) => new Uint8Array(...of) },
  int8: { bytes: 1, make: (...of) => new Int8Array(...of) },
  uint16: { bytes: 2, make: (...of) => new Uint16Array(...of) },
  int16: { bytes: 2, make: (...of) => new Int16Array(...of) },
  uint32: { bytes: 4, make: (...of) => new Uint32Array(...of) },
  int32: { bytes: 4, make: (...of) => new Int32Array(...of) },
  uint64: { bytes: 8, make: (...of) => new BigUint64Array(...of) },
  int64: { bytes: 8, make: (...of) => new BigInt64Array(...of) },
  bool: { bytes: 1, make: (...of) => new Uint8Array(...of) },
};

/** @throws BrinkError E_SHAPE where type, shape and bytes do not go together, E_UNSUPPORTED for types that it does not know */
export function tensorOf(head: Head, bytes: Uint8Array): Tensor {
  const { name, dtype } = head;
  const dims = [...head.shape];
  const elements = dims.reduce((product, size) => product * size, 1);
  if (dtype === 'string') return new Tensor('string', stringsOf(name, elements, bytes), dims);
  const kind = KINDS[dtype];
  if (kind === undefined) {
    const known = [...Object.keys(KINDS), 'string'].join(', ');
    throw new BrinkError('E_UNSUPPORTED', `tensor "${name}" is ${dtype}; ONNX Runtime for Node.js takes ${known}`);
  }
  if (elements * kind.bytes !== bytes.byteLength) {
    throw new BrinkError(
      'E_SHAPE',
      `tensor "${name}" ${dtype} [${dims}] needs ${elements * kind.bytes} bytes; ${bytes.byteLength} given`,
    );
  }
  const aligned = bytes.byteOffset % kind.bytes === 0 ? bytes : bytes.slice();
  const data = kind.make(aligned.buffer, aligned.byteOffset, elements);
  if (dtype === 'float16') return halfTensor(data as Uint16Array, dims);
  return new Tensor(dtype as 'float32', data as Float32Array, dims);
}

/**
 * Where JavaScript has a Float16Array, `Tensor` makes one of what it is given, and the native half of onnxruntime-node 1.30 takes
 * that for an array of no bytes. So the tensor is made as uint16, which it may hold, and named afterwards.
 */
function halfTensor(data: Uint16Array, dims: readonly number[]): Tensor {
  const tensor = new Tensor('uint16', data, dims);
  (tensor as { type: string }).type = 'float16';
  return tensor;
}

/** Strings as `bytesOfStrings`. */
export function bytesOf(name: string, tensor: Tensor): { head: Head; bytes: Uint8Array } {
  const head = { name, dtype: tensor.type, shape: tensor.dims };
  const { data } = tensor;
  if (!ArrayBuffer.isView(data)) return { head, bytes: bytesOfStrings(data) };
  return { head, bytes: new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength) };
}
