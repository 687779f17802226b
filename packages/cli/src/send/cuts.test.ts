import { describe, expect, test } from 'vitest';
import { chunksOf } from './recording.ts';
import { rowsOf } from './rows.ts';

async function* inPieces(bytes: Uint8Array | string, every: number): AsyncGenerator<Uint8Array> {
  const all = Buffer.from(bytes as string);
  for (let at = 0; at < all.length; at += every) yield all.subarray(at, at + every);
}

async function all<T>(source: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = [];
  for await (const item of source) items.push(item);
  return items;
}

/** A WAV of 16-bit samples 0, 1, 2 …, with a chunk that nobody knows before the samples. */
function wave(samples: number, o: { channels?: number; rateHz?: number; dataBytes?: number } = {}): Buffer {
  const { channels = 1, rateHz = 1000 } = o;
  const data = Buffer.from(Int16Array.from({ length: samples * channels }, (_, i) => i).buffer);
  const head = Buffer.alloc(12 + 24 + 8 + 3 + 1 + 8);
  head.write('RIFF', 0);
  head.writeUInt32LE(head.length - 8 + data.length, 4);
  head.write('WAVEfmt ', 8);
  head.writeUInt32LE(16, 16);
  head.writeUInt16LE(1, 20);
  head.writeUInt16LE(channels, 22);
  head.writeUInt32LE(rateHz, 24);
  head.writeUInt32LE(rateHz * channels * 2, 28);
  head.writeUInt16LE(channels * 2, 32);
  head.writeUInt16LE(16, 34);
  head.write('LIST', 36);
  head.writeUInt32LE(3, 40); // odd: padded by one byte
  head.write('data', 48);
  head.writeUInt32LE(o.dataBytes ?? data.length, 52);
  return Buffer.concat([head, data]);
}

describe('a recording', () => {
  test('is cut into WAVs of so many ms, wherever its bytes are cut; together they are the whole', async () => {
    const file = wave(250, { channels: 2 });
    for (const every of [1, 7, 4096]) {
      const chunks = await all(chunksOf(inPieces(file, every), { chunkMs: 100 }));
      expect(chunks.map(({ at, count, ms }) => [at, count, ms])).toEqual([
        [0, 100, 100],
        [100, 100, 100],
        [200, 50, 50],
      ]);
      for (const { bytes, count } of chunks) {
        expect(Buffer.from(bytes).subarray(0, 44)).toEqual(headOf(bytes.length, count * 4));
      }
      const samples = Buffer.concat(chunks.map(({ bytes }) => bytes.subarray(44)));
      expect(samples).toEqual(file.subarray(56));
    }
  });

  const headOf = (bytes: number, data: number) => {
    const plain = wave(0, { channels: 2 });
    const head = Buffer.concat([plain.subarray(0, 36), Buffer.from('data\0\0\0\0')]);
    head.writeUInt32LE(bytes - 8, 4);
    head.writeUInt32LE(data, 40);
    return head;
  };

  test('that is still being written says no length: it ends where its bytes end', async () => {
    for (const dataBytes of [0, 0xffff_ffff]) {
      const chunks = await all(chunksOf(inPieces(wave(150, { dataBytes }), 64), { chunkMs: 100, headerless: true }));
      expect(chunks.map(({ bytes }) => bytes.length)).toEqual([200, 100]);
    }
  });

  test('of raw samples needs to be described; half a sample at the end is left out', async () => {
    const raw = Buffer.alloc(25, 1);
    const pcm = { rateHz: 1000, blockBytes: 4 };
    const chunks = await all(chunksOf(inPieces(raw, 3), { chunkMs: 5, pcm }));
    expect(chunks.map(({ at, bytes }) => [at, bytes.length])).toEqual([
      [0, 20],
      [5, 4],
    ]);
    await expect(all(chunksOf(inPieces(raw, 3), { chunkMs: 5 }))).rejects.toMatchObject({ code: 'E_TYPE' });
  });

  test('whose header is broken is refused', async () => {
    const noFormat = Buffer.concat([Buffer.from('RIFF....WAVEdata'), Buffer.alloc(4)]);
    await expect(all(chunksOf(inPieces(noFormat, 5), { chunkMs: 5 }))).rejects.toThrow(/no chunk "fmt "/);
    await expect(all(chunksOf(inPieces(wave(4, { rateHz: 0 }), 5), { chunkMs: 5 }))).rejects.toThrow(/0 Hz/);
    await expect(all(chunksOf(inPieces('RIFF....WAVE', 5), { chunkMs: 5 }))).rejects.toThrow(/without samples/);
  });
});

describe('a signal', () => {
  const cut = async (text: string, rows: number, every = 5) =>
    (await all(rowsOf(inPieces(text, every), { rows }))).map(({ bytes, ...rest }) => ({
      text: Buffer.from(bytes).toString(),
      ...rest,
    }));

  test('in CSV has its names in every frame', async () => {
    const csv = 'time,ax\r\n1,10\r\n2,20\r\n\r\n3,30\r\n';
    for (const every of [1, 5, 100]) {
      expect(await cut(csv, 2, every)).toEqual([
        { text: 'time,ax\n1,10\n2,20\n', at: 0, count: 2 },
        { text: 'time,ax\n3,30\n', at: 2, count: 1 },
      ]);
    }
    expect(await cut('1\n2\n3\n4', 2)).toMatchObject([{ text: '1\n2\n' }, { text: '3\n4\n' }]);
    expect(await cut('', 2)).toEqual([]);
    await expect(cut('only,names\n', 2)).rejects.toThrow(/taken for the names of columns, and no row follows/);
  });

  test('of JSON lines becomes arrays', async () => {
    expect(await cut('{"ax":1}\n{"ax":2}\n{"ax":3}\n', 2)).toEqual([
      { text: '[{"ax":1},{"ax":2}]', at: 0, count: 2 },
      { text: '[{"ax":3}]', at: 2, count: 1 },
    ]);
  });

  test('in one JSON document keeps its form', async () => {
    expect(await cut('[1,2,3]', 2)).toMatchObject([{ text: '[1,2]' }, { text: '[3]', at: 2 }]);
    expect(await cut('{\n"rate_hz": 50,\n"ax":[1,2,3],"ay":[4,5,6]}', 2)).toEqual([
      { text: '{"rate_hz":50,"ax":[1,2],"ay":[4,5]}', at: 0, count: 2, rateHz: 50 },
      { text: '{"rate_hz":50,"ax":[3],"ay":[6]}', at: 2, count: 1, rateHz: 50 },
    ]);
  });

  test.each([
    ['JSON that breaks off', '[1,2', 'E_DECODE'],
    ['channels of different lengths', '{"ax":[1,2],"ay":[1]}', 'E_SHAPE'],
    ['an object without arrays over two lines', '{"ax":\n1}', 'E_SHAPE'],
    ['a line without end', 'x'.repeat(1_100_000), 'E_TOO_LARGE'],
  ])('is refused as %s', async (_, text, code) => {
    await expect(cut(text, 2, 65_536)).rejects.toMatchObject({ code });
  });
});
