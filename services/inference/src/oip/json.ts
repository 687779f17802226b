import { BrinkError } from '@brink/protocol';
import { type Datatype, datatypeOf, datatypeOfTensor, type Elements, elementsIn, elementsOf } from './datatypes.ts';
import { packStrings, unpackBytes } from './strings.ts';

const FLOAT32_MAX = (2 - 2 ** -23) * 2 ** 127;
/** Of 64 bits; beyond ±(2^53 − 1) JSON.parse has rounded before anybody saw the number. */
const WHOLE = 'a whole number within ±(2^53 − 1); larger ones travel as binary data';

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
  const type = datatypeOf(name, datatype);
  if (!Array.isArray(data)) throw new BrinkError('E_BAD_REQUEST', `input "${name}" has no array in "data"`);
  const elements = elementsOf(shape);
  // Before anything is allocated: the shape is only what somebody says.
  const given = count(name, shape, data);
  if (given !== elements) {
    const many = given > elements ? 'more elements than' : `${given} elements;`;
    throw new BrinkError('E_SHAPE', `input "${name}" has ${many} its shape [${shape}] needs ${elements}`);
  }
  if (type.oip === 'BYTES') {
    const texts: string[] = [];
    eachElement(name, shape, data, (item) => texts.push(textOf(name, item)));
    return { dtype: type.ort, bytes: packStrings(texts) };
  }
  if (type.make === undefined) {
    throw new BrinkError(
      'E_UNSUPPORTED',
      `input "${name}" is ${datatype}, which travels as binary data only: give binary_data_size and the bytes`,
    );
  }
  const target: Elements = type.make(elements);
  const convert = converterOf(type, name);
  let at = 0;
  eachElement(name, shape, data, (item) => {
    target[at++] = convert(item);
  });
  return { dtype: type.ort, bytes: new Uint8Array(target.buffer) };
}

function count(name: string, shape: readonly number[], data: readonly unknown[]): number {
  let elements = 0;
  eachElement(name, shape, data, () => {
    elements += 1;
  });
  return elements;
}

/** @throws BrinkError E_SHAPE before the stack ends: JSON may be nested a million deep */
function eachElement(
  name: string,
  shape: readonly number[],
  data: readonly unknown[],
  take: (item: unknown) => void,
): void {
  const deepest = Math.max(1, shape.length);
  const walk = (list: readonly unknown[], depth: number): void => {
    if (depth > deepest) {
      throw new BrinkError('E_SHAPE', `"data" of input "${name}" is nested deeper than its shape [${shape}]`);
    }
    for (const item of list) {
      if (Array.isArray(item)) walk(item, depth + 1);
      else take(item);
    }
  };
  walk(data, 1);
}

function wrong(name: string, item: unknown, expected: string): BrinkError {
  return new BrinkError('E_BAD_REQUEST', `input "${name}" contains ${shown(item)}; expected ${expected}`);
}

/** Not what is in an object, which may be nested as deep as it likes. */
function shown(item: unknown): string {
  return typeof item === 'object' && item !== null ? 'an object' : JSON.stringify(item).slice(0, 40);
}

function textOf(name: string, item: unknown): string {
  if (typeof item !== 'string') throw wrong(name, item, 'a string');
  // Half a surrogate pair has no UTF-8.
  if (!item.isWellFormed()) throw wrong(name, item, 'text that is valid Unicode');
  return item;
}

function converterOf(type: Datatype, name: string): (item: unknown) => number | bigint {
  if (type.oip === 'BOOL') {
    return (item) => {
      if (item === true || item === 1) return 1;
      if (item === false || item === 0) return 0;
      throw wrong(name, item, 'true or false');
    };
  }
  const { range } = type;
  if (range === undefined) {
    const largest = type.bytes === 4 ? FLOAT32_MAX : Number.MAX_VALUE;
    return (item) => {
      if (typeof item !== 'number') throw wrong(name, item, 'a number');
      if (Math.abs(item) > largest) throw wrong(name, item, `a number of ${type.oip}`);
      return item;
    };
  }
  const [low, high] = [Number(range[0]), Number(range[1])];
  return (item) => {
    if (!Number.isSafeInteger(item)) throw wrong(name, item, WHOLE);
    const number = item as number;
    if (number < low || number > high) throw wrong(name, item, `a number of ${type.oip}`);
    return type.bytes === 8 ? BigInt(number) : number;
  };
}

/**
 * A tensor as JSON, flat.
 * @throws BrinkError E_MODEL_OUTPUT (NaN and infinity have no JSON), E_UNSUPPORTED (FP16, beyond 2^53), each with what to ask for
 */
export function jsonFromBytes(
  name: string,
  dtype: string,
  shape: readonly number[],
  bytes: Uint8Array,
): (number | boolean | string)[] {
  const type = datatypeOfTensor(name, dtype);
  if (type.oip === 'BYTES') {
    return unpackBytes(name, bytes, elementsOf(shape)).map((one) => Buffer.from(one).toString('utf8'));
  }
  return Array.from(elementsIn(name, dtype, bytes), (element) => {
    if (type.oip === 'BOOL') return element !== 0;
    const number = Number(element);
    if (!Number.isFinite(number)) {
      throw new BrinkError(
        'E_MODEL_OUTPUT',
        `output "${name}" contains ${number}, which has no JSON: ask for it with "binary_data": true`,
      );
    }
    if (typeof element === 'bigint' && !Number.isSafeInteger(number)) {
      throw new BrinkError(
        'E_UNSUPPORTED',
        `output "${name}" contains ${element}, which JSON would round: ask for it with "binary_data": true`,
      );
    }
    return number;
  });
}
