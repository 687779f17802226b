/** Bytes that come in pieces of any size, read in those that are wanted. */
export interface Pieces {
  /** @returns exactly so many bytes; fewer only at the end, none after it */
  read(length: number): Promise<Buffer>;
  /** Without taking them. */
  peek(length: number): Promise<Buffer>;
}

export function createPieces(source: AsyncIterable<Uint8Array>): Pieces {
  const from = source[Symbol.asyncIterator]();
  let held: Buffer[] = [];
  let bytes = 0;

  async function fill(length: number): Promise<Buffer> {
    while (bytes < length) {
      const { done, value } = await from.next();
      if (done === true) break;
      held.push(Buffer.from(value.buffer, value.byteOffset, value.byteLength));
      bytes += value.byteLength;
    }
    const all = held.length === 1 ? (held[0] as Buffer) : Buffer.concat(held, bytes);
    held = [all];
    return all;
  }

  return {
    async read(length) {
      const all = await fill(length);
      const wanted = all.subarray(0, length);
      held = [all.subarray(wanted.length)];
      bytes -= wanted.length;
      return wanted;
    },
    peek: async (length) => (await fill(length)).subarray(0, length),
  };
}
