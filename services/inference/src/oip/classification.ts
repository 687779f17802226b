import { BrinkError } from '@brink/protocol';
import { datatypeOfTensor, elementsIn } from './datatypes.ts';
import { packStrings } from './strings.ts';
import type { OipTensor } from './tensor.ts';

/**
 * The highest elements of each row as "score:index[:label]", the highest first, of equal ones the lower index.
 * (Triton, docs/protocol/extension_classification.md; its scores have six decimals.)
 * @param tensor [classes], or with rows [rows, …classes]
 * @param labels used where there is one per class
 * @returns BYTES [rows, n], n at most the number of classes
 * @throws BrinkError E_UNSUPPORTED for strings
 */
export function classify(tensor: OipTensor, most: number, labels: readonly string[]): OipTensor {
  const { name, dtype, shape } = tensor.head;
  if (dtype === 'string') {
    throw new BrinkError('E_UNSUPPORTED', `output "${name}" is BYTES; "classification" is for numbers`);
  }
  const values = numbersOf(tensor);
  const rows = shape.length >= 2 ? (shape[0] ?? 1) : 1;
  const classes = rows === 0 ? 0 : values.length / rows;
  const n = Math.min(most, classes);
  const whole = datatypeOfTensor(name, dtype).range !== undefined;
  const names = labels.length === classes ? labels : [];
  const texts: string[] = [];
  for (let row = 0; row < rows; row++) {
    for (const index of highest(values, row * classes, classes, n)) {
      const value = values[row * classes + index] as number | bigint;
      const score = whole ? String(value) : Number(value).toFixed(6);
      const label = names[index];
      texts.push(label === undefined ? `${score}:${index}` : `${score}:${index}:${label}`);
    }
  }
  const head = { name, dtype: 'string', shape: shape.length >= 2 ? [rows, n] : [n] };
  return { head, bytes: packStrings(texts) };
}

/** Indices within the row. NaN comes last. */
function highest(values: ArrayLike<number | bigint>, from: number, classes: number, n: number): number[] {
  const rank = (index: number) => {
    const value = values[from + index] as number | bigint;
    return Number.isNaN(value) ? Number.NEGATIVE_INFINITY : value;
  };
  const order = Array.from({ length: classes }, (_, index) => index);
  order.sort((a, b) => {
    const [left, right] = [rank(a), rank(b)];
    if (left === right) return a - b;
    return left > right ? -1 : 1;
  });
  return order.slice(0, n);
}

function numbersOf({ head, bytes }: OipTensor): ArrayLike<number | bigint> {
  if (head.dtype !== 'float16' && head.dtype !== 'bfloat16') return elementsIn(head.name, head.dtype, bytes);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const convert = head.dtype === 'float16' ? fromFloat16 : fromBfloat16;
  return Float32Array.from({ length: bytes.byteLength / 2 }, (_, at) => convert(view.getUint16(at * 2, true)));
}

/** IEEE 754 binary16: 1 sign bit, 5 of exponent with bias 15, 10 of fraction. */
function fromFloat16(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 0x1f) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** The upper half of a float32. */
function fromBfloat16(bits: number): number {
  const word = new DataView(new ArrayBuffer(4));
  word.setUint16(0, bits);
  return word.getFloat32(0);
}
