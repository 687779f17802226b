import { BrinkError } from '@brink/protocol';
import { DEPTH_MAX, KEYS_MAX } from './measured.ts';

// CBOR: RFC 8949; packed arrays of numbers: RFC 8746. A reader of its own, because what may lie in a frame is decided
// before anything is allocated: depth, keys, and that each element said to follow has at least a byte.

interface Reader {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  at: number;
  /** Arrays, maps and byte strings so far. */
  made: number;
}

/** An empty one is a byte in the file and a hundred in memory. */
const MADE_MAX = 2 ** 18;

/** The end of an array or map whose length was not said. */
const BREAK = Symbol('break');

/** Tag → how wide an element is, and how it is read. Not there: 64-bit integers and floats of 16 or 128 bits. */
const PACKED: ReadonlyMap<number, readonly [bytes: number, read: (view: DataView, at: number) => number]> = new Map([
  [64, [1, (v, at) => v.getUint8(at)]],
  [65, [2, (v, at) => v.getUint16(at)]],
  [66, [4, (v, at) => v.getUint32(at)]],
  [68, [1, (v, at) => v.getUint8(at)]],
  [69, [2, (v, at) => v.getUint16(at, true)]],
  [70, [4, (v, at) => v.getUint32(at, true)]],
  [72, [1, (v, at) => v.getInt8(at)]],
  [73, [2, (v, at) => v.getInt16(at)]],
  [74, [4, (v, at) => v.getInt32(at)]],
  [77, [2, (v, at) => v.getInt16(at, true)]],
  [78, [4, (v, at) => v.getInt32(at, true)]],
  [81, [4, (v, at) => v.getFloat32(at)]],
  [82, [8, (v, at) => v.getFloat64(at)]],
  [85, [4, (v, at) => v.getFloat32(at, true)]],
  [86, [8, (v, at) => v.getFloat64(at, true)]],
]);

/**
 * @returns maps as objects without a prototype, packed arrays as Float64Array, byte strings as Uint8Array
 * @throws BrinkError E_DECODE what is wrong at which byte; E_DEPTH, E_TOO_LARGE
 */
export function readCbor(bytes: Uint8Array): unknown {
  const reader = { bytes, view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), at: 0, made: 0 };
  const value = readItem(reader, 0);
  if (value === BREAK) return wrong(0, 'a break; expected a value');
  if (reader.at < bytes.length) return wrong(reader.at, `${bytes.length - reader.at} bytes behind the value`);
  return value;
}

function readItem(r: Reader, depth: number): unknown {
  const start = r.at;
  const initial = take(r, 1, () => r.view.getUint8(start));
  const [major, info] = [initial >> 5, initial & 31];
  if (major === 7) return readSimple(r, info);
  if (major >= 4 && depth >= DEPTH_MAX) {
    const detail = `CBOR of a signal at byte ${start}: more than ${DEPTH_MAX} levels deep; expected a signal`;
    throw new BrinkError('E_DEPTH', detail);
  }
  if ((major === 2 || major === 4 || major === 5) && ++r.made > MADE_MAX) {
    throw new BrinkError('E_TOO_LARGE', `CBOR of more than ${MADE_MAX} arrays, maps and byte strings`);
  }
  if (info === 31) {
    if (major !== 4 && major !== 5)
      return wrong(start, 'a string in pieces, or a number without end; expected neither');
    return major === 4 ? readArray(r, undefined, depth) : readMap(r, undefined, depth);
  }
  const argument = readArgument(r, info);
  switch (major) {
    case 0:
      return argument;
    case 1:
      return -1 - argument;
    case 2:
      return readBytes(r, argument);
    case 3:
      return readText(r, argument);
    case 4:
      return readArray(r, fits(r, argument, 1), depth);
    case 5:
      return readMap(r, fits(r, argument, 2), depth);
    default:
      return readTagged(r, argument, depth);
  }
}

function readArgument(r: Reader, info: number): number {
  const { view, at } = r;
  if (info < 24) return info;
  if (info === 24) return take(r, 1, () => view.getUint8(at));
  if (info === 25) return take(r, 2, () => view.getUint16(at));
  if (info === 26) return take(r, 4, () => view.getUint32(at));
  if (info === 27) return take(r, 8, () => Number(view.getBigUint64(at)));
  return wrong(at - 1, `length ${info} is reserved`);
}

function readSimple(r: Reader, info: number): unknown {
  const { view, at } = r;
  if (info === 20 || info === 21) return info === 21;
  if (info === 22) return null;
  if (info === 23) return undefined;
  if (info === 25) return take(r, 2, () => half(view.getUint16(at)));
  if (info === 26) return take(r, 4, () => view.getFloat32(at));
  if (info === 27) return take(r, 8, () => view.getFloat64(at));
  return info === 31 ? BREAK : wrong(at - 1, `simple value ${info} is unknown`);
}

/** IEEE 754 binary16. */
function half(bits: number): number {
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  const sign = bits >> 15 === 1 ? -1 : 1;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent < 31) return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
}

function readArray(r: Reader, length: number | undefined, depth: number): unknown[] {
  const out: unknown[] = [];
  while (out.length !== length) {
    const at = r.at;
    const value = readItem(r, depth + 1);
    if (value !== BREAK) out.push(value);
    else if (length === undefined) return out;
    else wrong(at, 'a break; expected a value');
  }
  return out;
}

function readMap(r: Reader, length: number | undefined, depth: number): Record<string, unknown> {
  const out: Record<string, unknown> = Object.create(null);
  for (let keys = 0; keys !== length; keys++) {
    const at = r.at;
    if (keys >= KEYS_MAX) wrong(at, `more than ${KEYS_MAX} keys`);
    const key = readItem(r, depth + 1);
    if (key === BREAK && length === undefined) return out;
    if (typeof key !== 'string') return wrong(at, 'a key is no text');
    if (Object.hasOwn(out, key)) wrong(at, `the key ${JSON.stringify(key.slice(0, 64))} is there twice`);
    const value = readItem(r, depth + 1);
    if (value === BREAK) wrong(at, 'a key without a value');
    out[key] = value;
  }
  return out;
}

/** Tags that say nothing about arrays are left out: their value is what it is. */
function readTagged(r: Reader, tag: number, depth: number): unknown {
  const at = r.at;
  const value = readItem(r, depth + 1);
  if (value === BREAK) return wrong(at, 'a tag without a value');
  if (tag < 64 || tag > 87) return value;
  const packed = PACKED.get(tag);
  if (packed === undefined)
    return wrong(at, `packed numbers of tag ${tag}; expected integers to 32 bits or float32, float64`);
  const [width, read] = packed;
  if (!(value instanceof Uint8Array) || value.length % width !== 0) {
    return wrong(at, `tag ${tag} needs a byte string of a multiple of ${width} bytes`);
  }
  const view = new DataView(value.buffer, value.byteOffset, value.byteLength);
  return Float64Array.from({ length: value.length / width }, (_, i) => read(view, i * width));
}

function readBytes(r: Reader, length: number): Uint8Array {
  const { at } = r;
  return take(r, length, () => r.bytes.subarray(at, at + length));
}

function readText(r: Reader, length: number): string {
  const { at } = r;
  const bytes = readBytes(r, length);
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return wrong(at, 'a text is not UTF-8');
  }
}

/** @returns `count`, where so many elements of at least `each` bytes can still follow */
function fits(r: Reader, count: number, each: number): number {
  if (count * each <= r.bytes.length - r.at) return count;
  return wrong(r.at, `${count} elements are said to follow, ${r.bytes.length - r.at} bytes do`);
}

function take<T>(r: Reader, length: number, read: () => T): T {
  if (r.at + length > r.bytes.length) wrong(r.at, `${length} bytes expected, ${r.bytes.length - r.at} follow`);
  const value = read();
  r.at += length;
  return value;
}

function wrong(at: number, detail: string): never {
  throw new BrinkError('E_DECODE', `CBOR of a signal at byte ${at}: ${detail}`);
}
