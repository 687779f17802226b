import { closeSync, openSync, readSync } from 'node:fs';

// SQLite's write-ahead log, read as bytes. https://sqlite.org/fileformat2.html#walformat

const HEADER_BYTES = 32;
const FRAME_HEADER_BYTES = 24;
const MAGIC = 0x377f0682;
/** Frames that are read at once: about a megabyte. */
const FRAMES_AT_ONCE = 256;

/** What a write-ahead log holds that counts: frames up to the last one that ends a transaction. */
export interface WalContent {
  /** Pages whose newest bytes stand in the log, not in the database. */
  readonly pages: Set<number>;
  readonly frames: number;
  /** Frames of this generation follow that are not whole: a write that was cut off, or damage. */
  readonly torn: boolean;
}

/**
 * Walks the log as SQLite does after a crash: it ends at the first frame whose salt or checksum is not right. What lies
 * behind that is lost, and no reading of the log alone tells whether it was ever committed: the mirror does.
 */
export function readWal(path: string, pageBytes: number): WalContent {
  const none = { pages: new Set<number>(), frames: 0, torn: false };
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch {
    return none;
  }
  try {
    const header = Buffer.alloc(HEADER_BYTES);
    if (readSync(file, header, 0, HEADER_BYTES, 0) < HEADER_BYTES) return none;
    const sum = readHeader(header, pageBytes);
    return sum === undefined ? none : readFrames(file, header, sum, pageBytes);
  } finally {
    closeSync(file);
  }
}

/** The running checksum: two words, summed crosswise, in the byte order that the magic number says. */
interface Sum {
  readonly little: boolean;
  s0: number;
  s1: number;
}

function readHeader(header: Buffer, pageBytes: number): Sum | undefined {
  const magic = header.readUInt32BE(0);
  if ((magic & ~1) !== MAGIC || header.readUInt32BE(8) !== pageBytes) return undefined;
  const sum: Sum = { little: (magic & 1) === 0, s0: 0, s1: 0 };
  add(sum, header.subarray(0, 24));
  return sum.s0 === header.readUInt32BE(24) && sum.s1 === header.readUInt32BE(28) ? sum : undefined;
}

function readFrames(file: number, header: Buffer, sum: Sum, pageBytes: number): WalContent {
  const pages = new Set<number>();
  const open: number[] = [];
  let frames = 0;
  let walked = 0;
  for (const frame of framesOf(file, pageBytes)) {
    if (!isOfGeneration(frame, header)) break;
    if (!isWhole(frame, sum)) return { pages, frames, torn: true };
    walked += 1;
    open.push(frame.readUInt32BE(0));
    // Not 0: the size of the database after this transaction, which ends here.
    if (frame.readUInt32BE(4) === 0) continue;
    for (const page of open.splice(0)) pages.add(page);
    frames = walked;
  }
  return { pages, frames, torn: false };
}

/** Frame by frame, its header with it; each is only good until the next. */
function* framesOf(file: number, pageBytes: number): Generator<Buffer> {
  const stride = FRAME_HEADER_BYTES + pageBytes;
  const chunk = Buffer.alloc(stride * FRAMES_AT_ONCE);
  for (let at = HEADER_BYTES; ; at += chunk.length) {
    const read = readSync(file, chunk, 0, chunk.length, at);
    for (let begin = 0; begin + stride <= read; begin += stride) yield chunk.subarray(begin, begin + stride);
    if (read < chunk.length) return;
  }
}

/** Frames behind the end of a log that began again carry the salt of the one before. */
const isOfGeneration = (frame: Buffer, header: Buffer) => frame.compare(header, 16, 24, 8, 16) === 0;

function isWhole(frame: Buffer, sum: Sum): boolean {
  add(sum, frame.subarray(0, 8));
  add(sum, frame.subarray(FRAME_HEADER_BYTES));
  return sum.s0 === frame.readUInt32BE(16) && sum.s1 === frame.readUInt32BE(20);
}

function add(sum: Sum, bytes: Buffer): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  let { s0, s1 } = sum;
  for (let at = 0; at < bytes.length; at += 8) {
    s0 = (s0 + view.getUint32(at, sum.little) + s1) >>> 0;
    s1 = (s1 + view.getUint32(at + 4, sum.little) + s0) >>> 0;
  }
  sum.s0 = s0;
  sum.s1 = s1;
}

/** Which generation of the log this is: it changes each time that the log begins again. Empty: there is none. */
export function walSalt(file: number): string {
  const salt = Buffer.alloc(8);
  return readSync(file, salt, 0, 8, 16) === 8 ? salt.toString('hex') : '';
}

/**
 * The pages of frames `from` (inclusive) to `to` (exclusive), taken as they stand: they are SQLite's own, of now.
 * @returns for each page what `of` makes of its newest bytes
 */
export function walPages<T>(
  file: number,
  from: number,
  to: number,
  pageBytes: number,
  of: (bytes: Buffer) => T,
): Map<number, T> {
  const stride = FRAME_HEADER_BYTES + pageBytes;
  const chunk = Buffer.alloc(stride * FRAMES_AT_ONCE);
  const pages = new Map<number, T>();
  for (let frame = from; frame < to; frame += FRAMES_AT_ONCE) {
    const count = Math.min(FRAMES_AT_ONCE, to - frame);
    readSync(file, chunk, 0, count * stride, HEADER_BYTES + frame * stride);
    for (let index = 0; index < count; index++) {
      const begin = index * stride;
      const bytes = chunk.subarray(begin + FRAME_HEADER_BYTES, begin + stride);
      pages.set(chunk.readUInt32BE(begin), of(bytes));
    }
  }
  return pages;
}
