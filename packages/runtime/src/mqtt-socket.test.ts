import { expect, test } from 'vitest';
import { giveBack } from './link/buffers.ts';
import { PacketReader } from './mqtt-socket.ts';

/** Around each border of the length's bytes, and around what gets a buffer of its own. */
const LENGTHS = [0, 1, 100, 127, 128, 8100, 8190, 8300, 16_383, 16_384, 49_152, 300_000, 2_097_152];

/** [MQTT-2.2.3] Type, length in groups of seven bits, then so many bytes. */
function packetOf(length: number, fill: number): Buffer {
  const head = [0x30];
  for (let rest = length; ; rest >>= 7) {
    head.push((rest & 127) + (rest > 127 ? 128 : 0));
    if (rest <= 127) return Buffer.concat([Buffer.from(head), Buffer.alloc(length, fill)]);
  }
}

const packets = LENGTHS.map(packetOf);
const order = [...LENGTHS.keys(), 0, 1, 2, 0, ...LENGTHS.keys()];
const stream = Buffer.concat(order.map((i) => packets[i] as Buffer));

function read(pieces: Iterable<Buffer>): Buffer[] {
  const out: Buffer[] = [];
  const reader = new PacketReader((bytes) => out.push(bytes));
  for (const piece of pieces) {
    // As the socket does: one buffer, written over by the next read.
    const shared = Buffer.from(piece);
    reader.push(shared);
    shared.fill(0xee);
  }
  return out;
}

function* cut(bytes: Buffer, sizes: readonly number[]): Generator<Buffer> {
  let at = 0;
  for (let i = 0; at < bytes.length; i++) {
    const size = sizes[i % sizes.length] as number;
    yield bytes.subarray(at, at + size);
    at += size;
  }
}

function packetEnds(): number[] {
  const before = (end: number) => order.slice(0, end).reduce((sum, i) => sum + (packets[i] as Buffer).length, 0);
  return order.map((_, i) => before(i + 1));
}

test.each([[[1_000_000]], [[7, 3]], [[65_536]], [[2, 8191, 1, 49_159]]])(
  'whatever is read at once (%j bytes), each packet comes out whole, in order, and in memory of its own',
  (sizes) => {
    const out = read(cut(stream, sizes));
    expect(Buffer.concat(out).equals(stream)).toBe(true);
    const whole = new Set(packetEnds());
    const ends = out.map((_, i) => Buffer.concat(out.slice(0, i + 1)).length);
    expect(ends.filter((end) => !whole.has(end))).toEqual([]);
    for (const bytes of out.filter(({ length }) => length > 40_000)) {
      expect(bytes.buffer.byteLength, 'it keeps nothing else in memory').toBeLessThan(bytes.length * 1.2);
    }
  },
);

test('a length that no packet can have is left to the parser, and what it claims is not allocated', () => {
  const before = process.memoryUsage().arrayBuffers;
  const out = read([Buffer.from([0x30, 0xff, 0xff, 0xff, 0xff, 0x7f, 1, 2]), Buffer.from([3])]);
  expect(Buffer.concat(out).length).toBe(8);
  // 256 MiB less one byte: passed on in pieces.
  expect(read([Buffer.from([0x30, 0xff, 0xff, 0xff, 0x7f, 0, 1]), Buffer.from('x')]).map(String)).toHaveLength(2);
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(16 * 1024 * 1024);
});

test('memory that is given back serves the next packet, once', () => {
  const [first] = read([packets[10] as Buffer]);
  giveBack((first as Buffer).subarray(100));
  giveBack((first as Buffer).subarray(100));
  const [second] = read([packets[10] as Buffer]);
  const [third] = read([packets[10] as Buffer]);
  expect(second?.buffer).toBe(first?.buffer);
  expect(third?.buffer).not.toBe(first?.buffer);
});

test('memory that was not lent stays where it is', () => {
  const own = Buffer.allocUnsafeSlow(49_160);
  giveBack(own);
  const [packet] = read([packets[10] as Buffer]);
  expect(packet?.buffer).not.toBe(own.buffer);
});
