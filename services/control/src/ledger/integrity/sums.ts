import {
  closeSync,
  existsSync,
  fdatasyncSync,
  fstatSync,
  ftruncateSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import { crc32 } from 'node:zlib';
import { walPages, walSalt } from './wal.ts';

// A checksum for each page of ledger.db, in ledger.sums. SQLite has none of its own: a flipped bit in a row's text passes
// both quick_check and integrity_check. In WAL mode the database changes at a checkpoint and never else, so the sums are
// written there, behind the checkpoint and before the log begins again; until then the log answers for its pages.
//
// The file is blocks of 4096 bytes: 1023 sums and the block's own, so that a damaged sum is not taken for a damaged page.

export const PAGE_BYTES = 4096;
const SUMS = 'ledger.sums';
const BLOCK_BYTES = 4096;
const SUMS_PER_BLOCK = BLOCK_BYTES / 4 - 1;
/** Pages that are read at once. */
const PAGES_AT_ONCE = 256;
/** A checkpoint is due at so many frames: SQLite's own limit, which is off because it knows of no sums. */
const FRAMES_MAX = 1000;
/** Where a long read kept a checkpoint from its end, the next one is tried so many frames later. */
const FRAMES_AGAIN = 250;

type Block = Uint32Array<ArrayBuffer>;

/** What the sums say of the pages that lie in the database and not in the log. */
export interface SumsVerdict {
  /** False: there are no sums, or they are damaged themselves. */
  readonly known: boolean;
  /** Numbers of pages that are not what they were, the first few. */
  readonly damaged: number[];
  readonly pages: number;
}

const DAMAGED_SHOWN_MAX = 8;

/** Compares. Opens and closes ledger.db as a file, so no connection of this process may be open (POSIX locks). */
export function compareSums(folder: string, inLog: ReadonlySet<number>): SumsVerdict {
  const blocks = readBlocks(folder);
  const file = openSync(join(folder, 'ledger.db'), 'r');
  try {
    const pages = Math.floor(fstatSync(file).size / PAGE_BYTES);
    if (blocks === undefined) return { known: false, damaged: [], pages };
    const damaged: number[] = [];
    let known = true;
    eachPage(file, pages, (page, bytes) => {
      if (inLog.has(page) || damaged.length === DAMAGED_SHOWN_MAX) return;
      const sum = sumIn(blocks, page);
      if (sum === NONE) known = false;
      else if (sum !== sumOf(bytes)) damaged.push(page);
    });
    // A file that is shorter than it was: its last pages have sums, and are gone.
    const summed = lastSummed(blocks);
    for (let page = pages + 1; page <= summed && damaged.length < DAMAGED_SHOWN_MAX; page++) {
      if (!inLog.has(page)) damaged.push(page);
    }
    return { known, damaged, pages };
  } finally {
    closeSync(file);
  }
}

/** Keeps the sums in step with ledger.db. One per writer; `close` after the connection. */
export function createSums(folder: string, db: DatabaseSync) {
  // Open as long as the connection is: closing a file drops every lock that the process has on it (fcntl(2)).
  const data = openSync(join(folder, 'ledger.db'), 'r');
  const fresh = readBlocks(folder) === undefined;
  const blocks = readBlocks(folder) ?? [];
  let lost = fresh;
  if (fresh) rmSync(join(folder, SUMS), { force: true });
  const file = openSync(join(folder, SUMS), existsSync(join(folder, SUMS)) ? 'r+' : 'w+');
  const noop = db.prepare('PRAGMA wal_checkpoint(NOOP)');
  /** How far into which log the sums reach. */
  let done = { salt: '', frames: 0 };
  let dueAt = FRAMES_MAX;

  /** @param sums of pages that are in the database now */
  function take(sums: ReadonlyMap<number, number>): void {
    const size = Math.floor(fstatSync(data).size / PAGE_BYTES);
    const touched = new Set<number>();
    for (const [page, sum] of sums) if (page <= size) touched.add(setSum(blocks, page, sum));
    // A vacuum makes the file shorter.
    for (let page = lastSummed(blocks); page > size; page--) touched.add(setSum(blocks, page, NONE));
    writeBlocks(file, blocks, touched);
  }

  /** A checkpoint that reached the end of the log: its pages are in the database now. */
  function cover(frames: number): void {
    try {
      coverPages(frames);
    } catch {
      // A full disk, for one. Sums that lag behind would call sound pages damaged: better none, until they are made anew.
      lost = true;
      ftruncateSync(file);
    }
  }

  function coverPages(frames: number): void {
    const log = openSync(join(folder, 'ledger.db-wal'), 'r');
    try {
      const salt = walSalt(log);
      const from = salt === done.salt ? done.frames : 0;
      // From the log: what should stand in the database, whatever the disk made of it.
      if (frames > from) take(walPages(log, from, frames, PAGE_BYTES, sumOf));
      done = { salt, frames };
    } finally {
      closeSync(log);
    }
  }

  function checkpoint(mode: 'passive' | 'truncate' = 'passive'): boolean {
    const { log, checkpointed } = db.prepare('PRAGMA wal_checkpoint(PASSIVE)').get() as {
      log: number;
      checkpointed: number;
    };
    const whole = log === checkpointed;
    dueAt = whole ? FRAMES_MAX : log + FRAMES_AGAIN;
    if (!whole) return false;
    if (log > 0 && !lost) cover(log);
    if (mode === 'truncate') {
      const { busy } = db.prepare('PRAGMA wal_checkpoint(TRUNCATE)').get() as { busy: number };
      if (busy === 0) done = { salt: '', frames: 0 };
      return busy === 0;
    }
    return true;
  }

  return {
    /** Whether there were sums to go on with; if not, `build` is due. */
    fresh,
    /** All anew, of what is there. */
    build(): void {
      if (!checkpoint()) return;
      lost = false;
      const size = Math.floor(fstatSync(data).size / PAGE_BYTES);
      blocks.length = 0;
      eachPage(data, size, (page, bytes) => void setSum(blocks, page, sumOf(bytes)));
      writeBlocks(file, blocks, blocks.keys());
    },
    /** After a COMMIT. @returns whether the database holds all that was committed now */
    committed(): boolean {
      const { log } = noop.get() as { log: number };
      return log >= dueAt && checkpoint();
    },
    /** The log into the database. `truncate`: and the log empty. @returns false where a reader was in the way */
    checkpoint,
    /**
     * Compares up to `count` pages from `from`, of those that the database answers for.
     * @returns where to go on, 0 at the end
     */
    scrub(from: number, count: number): { next: number; damaged: number[] } {
      const { log } = noop.get() as { log: number };
      const inLog = log > 0 && !checkpoint() ? logPages(folder, log) : new Set<number>();
      if (lost) this.build();
      return lost ? { next: from, damaged: [] } : scrubPages({ data, blocks, inLog }, from, count);
    },
    close(): void {
      closeSync(file);
      closeSync(data);
    },
  };
}
function scrubPages(
  { data, blocks, inLog }: { data: number; blocks: readonly Block[]; inLog: ReadonlySet<number> },
  from: number,
  count: number,
): { next: number; damaged: number[] } {
  const size = Math.floor(fstatSync(data).size / PAGE_BYTES);
  const bytes = Buffer.alloc(PAGE_BYTES);
  const damaged: number[] = [];
  const end = Math.min(size, from + count - 1);
  for (let page = from; page <= end; page++) {
    readSync(data, bytes, 0, PAGE_BYTES, (page - 1) * PAGE_BYTES);
    if (!inLog.has(page) && sumIn(blocks, page) !== sumOf(bytes)) damaged.push(page);
  }
  return { next: end >= size ? 0 : end + 1, damaged };
}

export function removeSums(folder: string): void {
  rmSync(join(folder, SUMS), { force: true });
}

function logPages(folder: string, frames: number): Set<number> {
  const log = openSync(join(folder, 'ledger.db-wal'), 'r');
  try {
    return new Set(walPages(log, 0, frames, PAGE_BYTES, () => 0).keys());
  } finally {
    closeSync(log);
  }
}

function eachPage(file: number, pages: number, use: (page: number, bytes: Buffer) => void): void {
  const chunk = Buffer.alloc(PAGES_AT_ONCE * PAGE_BYTES);
  for (let done = 0; done < pages; done += PAGES_AT_ONCE) {
    const count = Math.min(PAGES_AT_ONCE, pages - done);
    readSync(file, chunk, 0, count * PAGE_BYTES, done * PAGE_BYTES);
    for (let index = 0; index < count; index++) {
      use(done + index + 1, chunk.subarray(index * PAGE_BYTES, (index + 1) * PAGE_BYTES));
    }
  }
}

/** Stands for "no sum": a page whose sum it would be gets 1. */
const NONE = 0;
const sumOf = (bytes: Buffer) => crc32(bytes) || 1;

function setSum(blocks: Block[], page: number, sum: number): number {
  const at = Math.floor((page - 1) / SUMS_PER_BLOCK);
  while (blocks.length <= at) blocks.push(new Uint32Array(SUMS_PER_BLOCK + 1));
  (blocks[at] as Block)[(page - 1) % SUMS_PER_BLOCK] = sum;
  return at;
}

const sumIn = (blocks: readonly Block[], page: number) =>
  blocks[Math.floor((page - 1) / SUMS_PER_BLOCK)]?.[(page - 1) % SUMS_PER_BLOCK] ?? NONE;

function lastSummed(blocks: readonly Block[]): number {
  const last = blocks.at(-1);
  if (last === undefined) return 0;
  return (
    (blocks.length - 1) * SUMS_PER_BLOCK + last.subarray(0, SUMS_PER_BLOCK).findLastIndex((sum) => sum !== NONE) + 1
  );
}

function writeBlocks(file: number, blocks: readonly Block[], touched: Iterable<number>): void {
  for (const at of touched) {
    const block = blocks[at] as Block;
    block[SUMS_PER_BLOCK] = sumOfBlock(block);
    writeSync(file, new Uint8Array(block.buffer), 0, BLOCK_BYTES, at * BLOCK_BYTES);
  }
  // Before the log begins again: after a power cut the sums must not be older than the pages.
  fdatasyncSync(file);
}

const sumOfBlock = (block: Block) => crc32(new Uint8Array(block.buffer, 0, SUMS_PER_BLOCK * 4));

function readBlocks(folder: string): Block[] | undefined {
  const path = join(folder, SUMS);
  if (!existsSync(path)) return undefined;
  const bytes = new Uint8Array(readFileSync(path));
  if (bytes.length === 0 || bytes.length % BLOCK_BYTES !== 0) return undefined;
  const blocks: Block[] = [];
  for (let at = 0; at < bytes.length; at += BLOCK_BYTES) {
    const block = new Uint32Array(bytes.slice(at, at + BLOCK_BYTES).buffer);
    if (block[SUMS_PER_BLOCK] !== sumOfBlock(block)) return undefined;
    blocks.push(block);
  }
  return blocks;
}
