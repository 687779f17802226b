import { BrinkError } from '@brink/protocol';

/** Puts the tensors of a batch one behind the other. */
export interface Stack {
  /** @returns a view that is good until the next call */
  join(parts: readonly Uint8Array[]): Uint8Array;
}

/**
 * One buffer, reused: a new one per batch costs more than the copy. Parts that lie one behind the other already, as those of a
 * frame do whose sizes are multiples of 64, are not copied at all.
 */
export function createStack(): Stack {
  let buffer = new Uint8Array(0);
  return {
    join(parts) {
      const [first] = parts;
      if (first === undefined) throw new BrinkError('E_SHAPE', 'a batch without tensors');
      let bytes = 0;
      for (const part of parts) bytes += part.byteLength;
      if (inOnePiece(parts)) return new Uint8Array(first.buffer, first.byteOffset, bytes);
      if (buffer.byteLength < bytes) buffer = new Uint8Array(bytes);
      let at = 0;
      for (const part of parts) {
        buffer.set(part, at);
        at += part.byteLength;
      }
      return buffer.subarray(0, bytes);
    },
  };
}

function inOnePiece(parts: readonly Uint8Array[]): boolean {
  for (let i = 1; i < parts.length; i++) {
    const [before, part] = [parts[i - 1], parts[i]];
    if (before === undefined || part === undefined) return false;
    if (part.buffer !== before.buffer || part.byteOffset !== before.byteOffset + before.byteLength) return false;
  }
  return true;
}
