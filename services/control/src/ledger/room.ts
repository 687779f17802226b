import { existsSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import { BrinkError } from '@brink/protocol';
import { createBallast } from '@brink/runtime/ballast';
import type { Operation } from './messages.ts';
import type { Store } from './store.ts';

/** Bytes that the ledger must be able to take before it is said to have room again. */
const PROBE_BYTES = 128 * 1024;
/** A checkpoint waits so long for readers, which read a page at a time; then it is made the next time. */
const CHECKPOINT_WAIT_MS = 100;
const BUSY_MS = 5000;

/** What a full disk refuses: what brings new rows, and can be asked for again. What settles what is there goes on. */
const TAKES_IN: ReadonlySet<Operation['op']> = new Set(['commit', 'order']);

export const takesIn = ({ op }: Operation) => TAKES_IN.has(op);

const BALLAST = 'ledger.ballast';
/** A log and its index need so many bytes to be opened. */
const OPEN_BYTES = 4 * 1024 * 1024;

/** On a disk that is full the ledger could not even be opened for reading: the room that was kept for that goes first. */
export function makeRoomToOpen(folder: string): void {
  if (!existsSync(join(folder, BALLAST))) return;
  const { bavail, bsize } = statfsSync(folder);
  if (bavail * bsize < OPEN_BYTES) createBallast(join(folder, BALLAST)).release();
}

/**
 * What is done about a full disk: nothing new is taken in, and the ballast goes, so that what is there can be settled and
 * deleted. Runs between transactions.
 * @param truncate empties the WAL, and keeps the checksums of the pages in step
 * @param ballastBytes for tests
 */
export function createRoom(store: Store, folder: string, truncate: () => void, ballastBytes?: number) {
  const ballast = createBallast(join(folder, BALLAST), ballastBytes);
  let short = false;

  function probe(): void {
    // A file that may not grow is as full as a disk.
    store.db.exec('BEGIN IMMEDIATE; CREATE TABLE probe (bytes BLOB)');
    try {
      store.db.prepare('INSERT INTO probe VALUES (zeroblob(?))').run(PROBE_BYTES);
    } finally {
      // SQLite has done it already where there was no room.
      if (store.db.isTransaction) store.db.exec('ROLLBACK');
    }
  }

  /** The WAL becomes empty, where no reader is in the way. */
  function checkpoint(): void {
    store.db.exec(`PRAGMA busy_timeout = ${CHECKPOINT_WAIT_MS}`);
    try {
      truncate();
    } catch {
      // No room for it either, or a reader is at work.
    } finally {
      store.db.exec(`PRAGMA busy_timeout = ${BUSY_MS}`);
    }
  }

  return {
    get short() {
      return short;
    },
    error: () =>
      new BrinkError('E_STORAGE_FULL', `${folder}: no room for decisions; expected 20 MB at the least, send again`),
    /** SQLite said that the disk, or its limit, is full. */
    lost(): void {
      short = true;
      ballast.release();
      checkpoint();
    },
    /** Empties the WAL, keeps room for bad times, and looks whether there is room again. */
    look(): void {
      checkpoint();
      try {
        if (!ballast.make()) throw this.error();
        if (short) probe();
        short = false;
      } catch {
        short = true;
      }
    },
  };
}
