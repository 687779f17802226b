import { isUtf8 } from 'node:buffer';
import { BrinkError } from '@brink/protocol';

// Elements of BYTES: each a 4-byte little-endian length and so many bytes, one behind the other (Triton's binary tensor extension).

const LENGTH_BYTES = 4;

/** @returns the tensor's bytes */
export function packBytes(elements: readonly Uint8Array[]): Uint8Array {
  const packed = Buffer.allocUnsafe(elements.reduce((sum, one) => sum + LENGTH_BYTES + one.byteLength, 0));
  let at = 0;
  for (const one of elements) {
    packed.writeUInt32LE(one.byteLength, at);
    packed.set(one, at + LENGTH_BYTES);
    at += LENGTH_BYTES + one.byteLength;
  }
  return packed;
}

export const packStrings = (texts: readonly string[]): Uint8Array => packBytes(texts.map((text) => Buffer.from(text)));

/**
 * @param count elements that its shape needs
 * @returns views of the elements
 * @throws BrinkError E_SHAPE where lengths, count and bytes do not go together, saying at which element
 */
export function unpackBytes(name: string, bytes: Uint8Array, count: number): Uint8Array[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const elements: Uint8Array[] = [];
  let at = 0;
  while (at < bytes.byteLength) {
    const where = `element ${elements.length} of "${name}", at byte ${at},`;
    if (elements.length === count) {
      throw new BrinkError('E_SHAPE', `"${name}" has bytes after element ${count}, at ${at}; its shape needs ${count}`);
    }
    if (at + LENGTH_BYTES > bytes.byteLength) {
      throw new BrinkError('E_SHAPE', `${where} has no whole length; expected 4 bytes before each element`);
    }
    const length = view.getUint32(at, true);
    at += LENGTH_BYTES;
    if (length > bytes.byteLength - at) {
      throw new BrinkError('E_SHAPE', `${where} says that it has ${length} bytes; ${bytes.byteLength - at} are left`);
    }
    elements.push(bytes.subarray(at, at + length));
    at += length;
  }
  if (elements.length !== count) {
    throw new BrinkError('E_SHAPE', `"${name}" has ${elements.length} elements; its shape needs ${count}`);
  }
  return elements;
}

/** @throws BrinkError as `unpackBytes`; E_BAD_REQUEST for what is no UTF-8: a graph's strings are text, and would be changed */
export function checkStrings(name: string, bytes: Uint8Array, count: number): void {
  const at = unpackBytes(name, bytes, count).findIndex((one) => !isUtf8(one));
  if (at >= 0) throw new BrinkError('E_BAD_REQUEST', `element ${at} of input "${name}" is not UTF-8`);
}
