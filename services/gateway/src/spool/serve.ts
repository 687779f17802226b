import { join } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import { parentPort, workerData } from 'node:worker_threads';
import { BrinkError } from '@brink/protocol';
import { createBallast } from '@brink/runtime/ballast';
import type { Failure, Group, Reply, Request } from './messages.ts';
import { openSpoolFile, spoolError } from './store.ts';
import { createWriter } from './writer.ts';

export interface SpoolHooks {
  /** Called in the spool's thread where a crash would hurt most. */
  failpoint?(name: 'commit.before' | 'commit.after'): void;
  /** Called with the open file before anything is done to it, and again before each request. */
  prepare?(db: DatabaseSync): void;
  /** Default 16 MiB. */
  ballastBytes?: number;
}

/** Bytes that a spool must be able to take before it is said to have room again. */
const PROBE_BYTES = 1024 * 1024;

/** Everything that the spool's thread does. @param hooks for tests of crashes and full disks; nothing in Brink gives any */
export async function serveSpool(hooks: SpoolHooks = {}): Promise<void> {
  const { folder } = workerData as { folder: string };
  const tell = (reply: Reply) => parentPort?.postMessage(reply);
  try {
    const db = await openSpoolFile(folder);
    hooks.prepare?.(db);
    const room = createRoom(db, folder, hooks.ballastBytes);
    const writer = createWriter(db);
    const contents = writer.contents();
    parentPort?.on('message', (request: Request) => {
      if (request === 'stop') {
        db.close();
        parentPort?.close();
        return;
      }
      hooks.prepare?.(db);
      tell(answer(request, room, writer, hooks));
    });
    tell({ opened: contents });
  } catch (error) {
    tell({ notOpened: failureOf(error) });
    parentPort?.close();
  }
}

function answer(
  request: Exclude<Request, 'stop'>,
  room: ReturnType<typeof createRoom>,
  writer: ReturnType<typeof createWriter>,
  hooks: SpoolHooks,
): Reply {
  const commit = (group: Group) => {
    hooks.failpoint?.('commit.before');
    writer.commit(group);
    hooks.failpoint?.('commit.after');
  };
  const to = 'write' in request ? { group: request.write.n } : { asked: request.n };
  try {
    if ('write' in request) room.give(() => commit(request.write), request.write);
    else if (request.ask === 'probe') room.find();
    else return { asked: request.n, rows: writer.load(request.ask.load) };
    return to;
  } catch (error) {
    return { ...to, failure: failureOf(error) };
  }
}

/** What is done about a full disk: no more frames; the ballast goes where what is there could not be settled otherwise. */
function createRoom(db: DatabaseSync, folder: string, ballastBytes?: number) {
  const ballast = createBallast(join(folder, 'spool.ballast'), ballastBytes);
  const full = () => new BrinkError('E_STORAGE_FULL', `${folder}: no room for frames; expected 20 MB at the least`);
  let short = !ballast.make();

  return {
    /** @throws what SQLite says; E_STORAGE_FULL for frames until there was found to be room again */
    give(commit: () => void, { changes }: Group): void {
      const takesIn = changes.some(({ frame }) => frame !== undefined);
      if (takesIn && short) throw full();
      try {
        commit();
      } catch (error) {
        if (spoolError(error, folder).code !== 'E_STORAGE_FULL') throw error;
        short = true;
        if (takesIn) throw error;
        ballast.release();
        db.exec('PRAGMA wal_checkpoint(TRUNCATE)');
        commit();
      }
    },

    /** Gives back to the disk what the spool no longer uses, and looks whether there is room. @throws E_STORAGE_FULL */
    find(): void {
      if (short) {
        db.exec('PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE)');
        if (!ballast.make()) throw full();
      }
      // A file that may not grow is as full as a disk.
      db.exec('BEGIN IMMEDIATE; CREATE TABLE probe (bytes BLOB)');
      try {
        db.prepare('INSERT INTO probe VALUES (zeroblob(?))').run(PROBE_BYTES);
      } finally {
        // SQLite has done it already where there was no room.
        if (db.isTransaction) db.exec('ROLLBACK');
      }
      short = false;
    },
  };
}

function failureOf(error: unknown): Failure {
  const { code, detail } = BrinkError.from(spoolError(error, 'spool.db'));
  return { code, detail };
}
