import { BrinkError } from '@brink/protocol';

/** Element types by ONNX's number (onnx.proto, TensorProto.DataType), named as ONNX Runtime names them. */
const NAMES = {
  1: 'float32',
  2: 'uint8',
  3: 'int8',
  4: 'uint16',
  5: 'int16',
  6: 'int32',
  7: 'int64',
  8: 'string',
  9: 'bool',
  10: 'float16',
  11: 'float64',
  12: 'uint32',
  13: 'uint64',
  16: 'bfloat16',
} as const satisfies Record<number, string>;

export type Dtype = (typeof NAMES)[keyof typeof NAMES];

export const DTYPES: readonly Dtype[] = Object.values(NAMES);

const NUMBERS = new Map<string, number>(Object.entries(NAMES).map(([number, name]) => [name, Number(number)]));

/** @returns undefined for element types that no runtime of ours takes (complex, float8, int4 …) */
export function dtypeOf(number: number): Dtype | undefined {
  return (NAMES as Record<number, Dtype>)[number];
}

/** @throws BrinkError E_MODEL_PARSE for a name that ONNX does not have */
export function numberOf(dtype: string): number {
  const number = NUMBERS.get(dtype);
  if (number === undefined)
    throw new BrinkError('E_MODEL_PARSE', `"${dtype}" is no element type; known: ${[...NUMBERS.keys()].join(', ')}`);
  return number;
}
