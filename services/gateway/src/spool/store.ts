import { join } from 'node:path';
import { backup, DatabaseSync } from 'node:sqlite';
import { BrinkError, type ErrorCode } from '@brink/protocol';
import { MIGRATIONS } from './migrations.ts';

const FILE = 'spool.db';
/** "Brsp": says whose file it is to `file(1)` and to us. */
const APPLICATION_ID = 0x42727370;

/**
 * Opens or makes `spool.db`, checks it and brings its schema up to date; a copy is made before each step.
 * @throws BrinkError E_STORAGE_READONLY, E_STORAGE_NEWER, E_STORAGE_CORRUPT, E_STORAGE_FULL
 */
export async function openSpoolFile(folder: string, migrations: readonly string[] = MIGRATIONS): Promise<DatabaseSync> {
  const path = join(folder, FILE);
  let db: DatabaseSync | undefined;
  try {
    db = new DatabaseSync(path, { timeout: 5000 });
    // Says something to a new file only: room that is free again can be given back to the disk.
    db.exec('PRAGMA auto_vacuum = INCREMENTAL');
    check(db, path, migrations.length);
    for (let version = versionOf(db); version < migrations.length; version++) {
      // By the backup API: a copy of the file would lack what still stands in the WAL.
      if (version > 0) await backup(db, `${path}.v${version}`);
      migrate(db, version, migrations[version] as string);
    }
    return db;
  } catch (error) {
    db?.close();
    throw spoolError(error, path);
  }
}

function check(db: DatabaseSync, path: string, known: number): void {
  const version = versionOf(db);
  const owner = Number(db.prepare('PRAGMA application_id').get()?.['application_id']);
  const tables = Number(db.prepare("SELECT count(*) AS n FROM sqlite_schema WHERE type = 'table'").get()?.['n']);
  if (tables > 0 && owner !== APPLICATION_ID) {
    throw new BrinkError(
      'E_STORAGE_CORRUPT',
      `${path} is a database, but no spool; expected an empty folder or Brink's`,
    );
  }
  if (version > known) {
    throw new BrinkError(
      'E_STORAGE_NEWER',
      `${path} has schema ${version}, this program knows up to ${known}; expected a newer Brink, or a copy made before (${FILE}.v*)`,
    );
  }
  db.exec('PRAGMA journal_mode = WAL');
  // A PUBACK speaks for what survives a power cut, so each COMMIT waits for the disk.
  db.exec('PRAGMA synchronous = FULL');
  // 8 MB instead of 4: most rows are gone again before they were ever copied from the WAL into the file.
  db.exec('PRAGMA wal_autocheckpoint = 2000');
  // Without it the WAL stays as large as it ever was.
  db.exec(`PRAGMA journal_size_limit = ${64 * 1024 * 1024}`);
  // A write that changes nothing: a folder that cannot be written must be found now, not at the first frame.
  db.exec(`BEGIN IMMEDIATE; PRAGMA application_id = ${APPLICATION_ID}; COMMIT`);
  const said = db.prepare('PRAGMA quick_check(1)').get()?.['quick_check'];
  if (said !== 'ok') throw new BrinkError('E_STORAGE_CORRUPT', `${path}: ${String(said)}; expected an undamaged spool`);
}

function migrate(db: DatabaseSync, version: number, step: string): void {
  db.exec('BEGIN IMMEDIATE');
  try {
    db.exec(step);
    db.exec(`PRAGMA user_version = ${version + 1}`);
    db.exec('COMMIT');
  } catch (error) {
    if (db.isTransaction) db.exec('ROLLBACK');
    throw error;
  }
}

const versionOf = (db: DatabaseSync) => Number(db.prepare('PRAGMA user_version').get()?.['user_version']);

// Primary result codes: https://sqlite.org/rescode.html
const CODES: Record<number, ErrorCode> = {
  3: 'E_STORAGE_READONLY', // SQLITE_PERM
  5: 'E_LOCKED', // SQLITE_BUSY: somebody else writes
  8: 'E_STORAGE_READONLY', // SQLITE_READONLY
  10: 'E_UNAVAILABLE', // SQLITE_IOERR
  11: 'E_STORAGE_CORRUPT', // SQLITE_CORRUPT
  13: 'E_STORAGE_FULL', // SQLITE_FULL
  14: 'E_STORAGE_READONLY', // SQLITE_CANTOPEN
  26: 'E_STORAGE_CORRUPT', // SQLITE_NOTADB
};

/** What SQLite says, in Brink's words. */
export function spoolError(error: unknown, where: string): BrinkError {
  if (error instanceof BrinkError) return error;
  const { errcode, message } = error as { errcode?: number; message?: string };
  const code = errcode === undefined ? undefined : CODES[errcode & 0xff];
  return code === undefined ? BrinkError.from(error) : new BrinkError(code, `${where}: ${message}`, { cause: error });
}
