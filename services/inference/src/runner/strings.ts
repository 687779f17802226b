import { BrinkError } from '@brink/protocol/link';

// Strings on the link and in the Open Inference Protocol: each element 4 bytes of length, little-endian, then its bytes.
// https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/protocol/extension_binary_data.html

const LENGTH_BYTES = 4;
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * @param name of the tensor, for the error
 * @throws BrinkError E_SHAPE where the bytes are not `count` strings of UTF-8, and nothing else
 */
export function stringsOf(name: string, count: number, bytes: Uint8Array): string[] {
  const refuse = (what: string) =>
    new BrinkError('E_SHAPE', `tensor "${name}": ${what}; expected ${count} × (4-byte length, UTF-8)`);
  // Before memory is taken for as many as a shape can say.
  if (count * LENGTH_BYTES > bytes.byteLength) throw refuse(`${bytes.byteLength} bytes`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const strings: string[] = [];
  let at = 0;
  while (strings.length < count) {
    if (at + LENGTH_BYTES > bytes.byteLength) throw refuse(`ends within string ${strings.length}`);
    const start = at + LENGTH_BYTES;
    at = start + view.getUint32(start - LENGTH_BYTES, true);
    if (at > bytes.byteLength) throw refuse(`ends within string ${strings.length}`);
    try {
      strings.push(decoder.decode(bytes.subarray(start, at)));
    } catch {
      throw refuse(`string ${strings.length} is no UTF-8`);
    }
  }
  if (at !== bytes.byteLength) throw refuse(`${bytes.byteLength - at} bytes behind the last string`);
  return strings;
}

export function bytesOfStrings(strings: readonly string[]): Uint8Array {
  const lengths = strings.map((text) => Buffer.byteLength(text));
  const bytes = Buffer.allocUnsafeSlow(lengths.reduce((sum, length) => sum + LENGTH_BYTES + length, 0));
  let at = 0;
  for (const [index, text] of strings.entries()) {
    at = bytes.writeUInt32LE(lengths[index] ?? 0, at);
    at += bytes.write(text, at);
  }
  return bytes;
}
