import { BrinkError } from '@brink/protocol';

type Element = number | bigint;
export type Elements = { [index: number]: Element; readonly buffer: ArrayBuffer; readonly length: number };

export interface Datatype {
  /** in the Open Inference Protocol; in ModelConfig "TYPE_" and the same, but for BYTES */
  readonly oip: string;
  /** in ONNX Runtime */
  readonly ort: string;
  /** of one element; 0 where they differ */
  readonly bytes: number;
  /** absent where elements have no form in JavaScript */
  readonly make?: (elements: number) => Elements;
  readonly view?: (buffer: ArrayBufferLike, offset: number, elements: number) => ArrayLike<Element>;
  /** whole numbers only, within these */
  readonly range?: readonly [bigint, bigint];
}

interface Numbers {
  new (elements: number): Elements;
  new (buffer: ArrayBufferLike, offset: number, elements: number): ArrayLike<Element>;
  readonly BYTES_PER_ELEMENT: number;
}

function numbers(oip: string, ort: string, Numbers: unknown, range?: Datatype['range']): Datatype {
  const Kind = Numbers as Numbers;
  return {
    oip,
    ort,
    bytes: Kind.BYTES_PER_ELEMENT,
    make: (elements) => new Kind(elements),
    view: (buffer, offset, elements) => new Kind(buffer, offset, elements),
    ...(range === undefined ? {} : { range }),
  };
}

const int = (bits: number): readonly [bigint, bigint] => [-(2n ** BigInt(bits - 1)), 2n ** BigInt(bits - 1) - 1n];
const uint = (bits: number): readonly [bigint, bigint] => [0n, 2n ** BigInt(bits) - 1n];

/** FP16 and BF16 travel as bytes only: the protocol has no other form for them. */
const TABLE: readonly Datatype[] = [
  numbers('FP32', 'float32', Float32Array),
  numbers('FP64', 'float64', Float64Array),
  numbers('UINT8', 'uint8', Uint8Array, uint(8)),
  numbers('INT8', 'int8', Int8Array, int(8)),
  numbers('UINT16', 'uint16', Uint16Array, uint(16)),
  numbers('INT16', 'int16', Int16Array, int(16)),
  numbers('UINT32', 'uint32', Uint32Array, uint(32)),
  numbers('INT32', 'int32', Int32Array, int(32)),
  numbers('UINT64', 'uint64', BigUint64Array, uint(64)),
  numbers('INT64', 'int64', BigInt64Array, int(64)),
  numbers('BOOL', 'bool', Uint8Array),
  { oip: 'FP16', ort: 'float16', bytes: 2 },
  { oip: 'BF16', ort: 'bfloat16', bytes: 2 },
  { oip: 'BYTES', ort: 'string', bytes: 0 },
];

const BY_OIP = new Map(TABLE.map((datatype) => [datatype.oip, datatype]));
const BY_ORT = new Map(TABLE.map((datatype) => [datatype.ort, datatype]));

/** @throws BrinkError E_BAD_REQUEST for a datatype that the protocol does not have @param name of the input, for the message */
export function datatypeOf(name: string, datatype: string): Datatype {
  const found = BY_OIP.get(datatype);
  if (found !== undefined) return found;
  const known = [...BY_OIP.keys()].join(', ');
  throw new BrinkError(
    'E_BAD_REQUEST',
    `input "${name}" has datatype "${datatype.slice(0, 40)}"; expected one of ${known}`,
  );
}

/** @param dtype as ONNX Runtime calls it @throws BrinkError E_UNSUPPORTED */
export function datatypeOfTensor(name: string, dtype: string): Datatype {
  const found = BY_ORT.get(dtype);
  if (found !== undefined) return found;
  throw new BrinkError('E_UNSUPPORTED', `"${name}" is ${dtype}, which the protocol has no datatype for`);
}

/** @returns the protocol's name of an ONNX Runtime type; BYTES for one that has none */
export function oipDatatype(dtype: string | undefined): string {
  return BY_ORT.get(dtype ?? '')?.oip ?? 'BYTES';
}

/** @returns the same in ModelConfig */
export function configDatatype(dtype: string | undefined): string {
  const datatype = BY_ORT.get(dtype ?? '');
  if (datatype === undefined) return 'TYPE_INVALID';
  return datatype.oip === 'BYTES' ? 'TYPE_STRING' : `TYPE_${datatype.oip}`;
}

export const elementsOf = (shape: readonly number[]): number => shape.reduce((product, size) => product * size, 1);

/** The elements of a tensor's bytes, without a copy where they lie well. @throws BrinkError E_UNSUPPORTED for FP16, BF16, BYTES */
export function elementsIn(name: string, dtype: string, bytes: Uint8Array): ArrayLike<Element> {
  const type = datatypeOfTensor(name, dtype);
  if (type.view === undefined) {
    throw new BrinkError(
      'E_UNSUPPORTED',
      `output "${name}" is ${type.oip}, which travels as bytes only: ask for it with "binary_data": true`,
    );
  }
  const aligned = bytes.byteOffset % type.bytes === 0 ? bytes : bytes.slice();
  return type.view(aligned.buffer, aligned.byteOffset, aligned.byteLength / type.bytes);
}
