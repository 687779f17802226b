import { BrinkError } from '@brink/protocol';
import { Tensor } from 'onnxruntime-node';
import type { Head } from '../scheduler/job.ts';

type Data = Exclude<Tensor['data'], string[]>;
type Make = (buffer: ArrayBufferLike, offset: number, length: number) => Data;

/** How bytes become what ONNX Runtime takes. Strings are no bytes; the Open Inference Protocol issue brings them. */
const KINDS: Readonly<Record<string, { bytes: number; make: Make }>> = {
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

/** @throws BrinkError E_SHAPE where type, shape and bytes do not go together, E_UNSUPPORTED for types without bytes */
export function tensorOf(head: Head, bytes: Uint8Array): Tensor {
  const kind = KINDS[head.dtype];
  if (kind === undefined)
    throw new BrinkError('E_UNSUPPORTED', `tensor "${head.name}" is ${head.dtype}; expected ${Object.keys(KINDS)}`);
  const elements = head.shape.reduce((product, size) => product * size, 1);
  if (elements * kind.bytes !== bytes.byteLength) {
    throw new BrinkError(
      'E_SHAPE',
      `tensor "${head.name}" ${head.dtype} [${head.shape}] needs ${elements * kind.bytes} bytes; ${bytes.byteLength} given`,
    );
  }
  const aligned = bytes.byteOffset % kind.bytes === 0 ? bytes : bytes.slice();
  return new Tensor(head.dtype as 'float32', kind.make(aligned.buffer, aligned.byteOffset, elements) as Float32Array, [
    ...head.shape,
  ]);
}

/** @throws BrinkError E_UNSUPPORTED for strings */
export function bytesOf(name: string, tensor: Tensor): { head: Head; bytes: Uint8Array } {
  const { data } = tensor;
  if (!ArrayBuffer.isView(data))
    throw new BrinkError('E_UNSUPPORTED', `output "${name}" is ${tensor.type}; it has no bytes`);
  return {
    head: { name, dtype: tensor.type, shape: tensor.dims },
    bytes: new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
  };
}
