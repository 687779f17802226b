import { join } from 'node:path';
import { backup, DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite';
import { BrinkError, type ErrorCode } from '@brink/protocol';
import { type Head, HeadSchema, NO_HEAD } from './integrity/mirror.ts';
import { MIGRATIONS } from './migrations.ts';

/** One connection with its prepared statements. */
export interface Store {
  readonly db: DatabaseSync;
  /** Prepared once per text. */
  sql(text: string): StatementSync;
  close(): void;
}

export type Row = Record<string, SQLInputValue>;

export const LEDGER = 'ledger.db';
/** "Brnk": says whose file it is to `file(1)` and to us. */
export const APPLICATION_ID = 0x42726e6b;
/** `none`: every page was compared with its checksum. `quick`: structure. `whole`: indexes as well. */
export type Check = 'none' | 'quick' | 'whole';

/**
 * Opens or makes `ledger.db`, checks it and brings its schema up to date; a copy is made before each step.
 * @throws BrinkError E_STORAGE_READONLY, E_STORAGE_NEWER, E_STORAGE_CORRUPT, E_STORAGE_FULL
 */
export async function openStore(
  folder: string,
  migrations: readonly string[] = MIGRATIONS,
  check: Check = 'quick',
): Promise<Store> {
  const path = join(folder, LEDGER);
  const db = translated(path, () => new DatabaseSync(path, { timeout: 5000 }));
  try {
    translated(path, () => prepareFile(db, path, migrations, check));
    await migrate(db, folder, migrations);
    return createStore(db);
  } catch (error) {
    db.close();
    throw error;
  }
}

/** For reads, on a store that a writer has opened before. */
export function openStoreForReading(folder: string): Store {
  const path = join(folder, LEDGER);
  return createStore(translated(path, () => new DatabaseSync(path, { readOnly: true, timeout: 5000 })));
}

function createStore(db: DatabaseSync): Store {
  const statements = new Map<string, StatementSync>();
  return {
    db,
    sql(text) {
      let statement = statements.get(text);
      if (statement === undefined) {
        statement = db.prepare(text);
        statements.set(text, statement);
      }
      return statement;
    },
    close: () => db.close(),
  };
}

function prepareFile(db: DatabaseSync, path: string, migrations: readonly string[], check: Check): void {
  const version = Number(db.prepare('PRAGMA user_version').get()?.user_version);
  const owner = Number(db.prepare('PRAGMA application_id').get()?.application_id);
  const tables = Number(db.prepare("SELECT count(*) AS n FROM sqlite_schema WHERE type = 'table'").get()?.n);
  if (tables > 0 && owner !== APPLICATION_ID) {
    throw new BrinkError(
      'E_STORAGE_CORRUPT',
      `${path} is a database, but not a ledger of Brink; expected an empty folder or Brink's`,
    );
  }
  if (version > migrations.length) {
    throw new BrinkError(
      'E_STORAGE_NEWER',
      `${path} has schema ${version}, this program knows up to ${migrations.length}; expected a newer Brink, or a copy made before (${LEDGER}.v*)`,
    );
  }
  db.exec('PRAGMA journal_mode = WAL');
  // A write that changes nothing: a read-only file or folder must be found now, not at the first decision.
  db.exec('BEGIN IMMEDIATE');
  db.exec(`PRAGMA application_id = ${APPLICATION_ID}`);
  db.exec('COMMIT');
  db.exec('PRAGMA synchronous = FULL');
  // Checkpoints shrink the WAL to this; without it, it stays as large as it ever was (notes of SQLite's WAL users).
  db.exec(`PRAGMA journal_size_limit = ${64 * 1024 * 1024}`);
  db.exec('PRAGMA cache_size = -16384');
  db.exec('PRAGMA temp_store = MEMORY');
  if (check === 'none') return;
  const name = check === 'quick' ? 'quick_check' : 'integrity_check';
  const verdict = db.prepare(`PRAGMA ${name}(1)`).get()?.[name];
  if (verdict !== 'ok')
    throw new BrinkError('E_STORAGE_CORRUPT', `${path}: ${String(verdict)}; expected an undamaged ledger`);
}

/** Where the ledger stands: the transactions that are in it, and a hash over all that they were made of. */
export function readHead(db: DatabaseSync): Head {
  const text = db.prepare("SELECT value FROM meta WHERE key = 'head'").get()?.value;
  return text === undefined ? NO_HEAD : HeadSchema.parse(JSON.parse(String(text)));
}

async function migrate(db: DatabaseSync, folder: string, migrations: readonly string[]): Promise<void> {
  const found = currentVersion(db);
  for (let version = found; version < migrations.length; version++) {
    const path = join(folder, LEDGER);
    // By the backup API: a copy of the files would lack what still stands in the WAL. Of a new file there is nothing to copy.
    if (found > 0) await backup(db, join(folder, `${LEDGER}.v${version}`));
    translated(path, () => {
      db.exec('BEGIN IMMEDIATE');
      try {
        db.exec(migrations[version] as string);
        db.exec(`PRAGMA user_version = ${version + 1}`);
        db.exec('COMMIT');
      } catch (error) {
        if (db.isTransaction) db.exec('ROLLBACK');
        throw error;
      }
    });
  }
}

const currentVersion = (db: DatabaseSync) => Number(db.prepare('PRAGMA user_version').get()?.user_version);

function translated<T>(path: string, run: () => T): T {
  try {
    return run();
  } catch (error) {
    throw storageError(error, path);
  }
}

// Primary result codes: https://sqlite.org/rescode.html
const CODES: Record<number, ErrorCode> = {
  3: 'E_STORAGE_READONLY', // SQLITE_PERM
  8: 'E_STORAGE_READONLY', // SQLITE_READONLY
  14: 'E_STORAGE_READONLY', // SQLITE_CANTOPEN
  5: 'E_LOCKED', // SQLITE_BUSY: another process writes, though one ledger has one writer
  10: 'E_UNAVAILABLE', // SQLITE_IOERR
  11: 'E_STORAGE_CORRUPT', // SQLITE_CORRUPT
  26: 'E_STORAGE_CORRUPT', // SQLITE_NOTADB
  13: 'E_STORAGE_FULL', // SQLITE_FULL
};

/** What SQLite says, in Brink's words. Anything that is not SQLite's stays an internal error. */
export function storageError(error: unknown, where: string): BrinkError {
  if (error instanceof BrinkError) return error;
  const { errcode, message } = error as { errcode?: number; message?: string };
  const code = errcode === undefined ? undefined : CODES[errcode & 0xff];
  if (code === undefined) return BrinkError.from(error);
  return new BrinkError(code, `${where}: ${message}`, { cause: error });
}
