import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { BrinkError, type ErrorCode } from '@brink/protocol';
import type { FrameName } from './frame.ts';

export interface OutboxConfig {
  /** SQLite file; made where there is none. One device per file. */
  file: string;
  /** Default 10,000. */
  framesMax?: number;
  /** Default 64 MiB. */
  bytesMax?: number;
  /** `reject-new` (default): `keep` rejects with E_STORAGE_FULL. `overwrite-oldest`: the oldest frame of the stream is given up. */
  whenFull?: 'reject-new' | 'overwrite-oldest';
}

/** A frame that waits for its receipt. */
export interface KeptFrame extends FrameName {
  readonly id: number;
  readonly stream: string;
  readonly bytes: number;
}

/** What a frame brings along besides its bytes. */
export interface Aside {
  readonly contentType?: string | undefined;
  /** Position of its first sample. */
  readonly at?: number | undefined;
}

const SCHEMA = `
CREATE TABLE IF NOT EXISTS frame (id INTEGER PRIMARY KEY, stream TEXT NOT NULL, boot TEXT NOT NULL, seq INTEGER NOT NULL,
  type TEXT, payload BLOB NOT NULL, at INTEGER) STRICT`;
/** Files of the first version have no positions. */
const SINCE_1 = 'ALTER TABLE frame ADD COLUMN at INTEGER';
const VERSION = 2;
/** "Brob": says whose file it is to `file(1)` and to us. */
const APPLICATION_ID = 0x42726f62;

/** Frames on the disk of the device until the gateway gave a receipt for them. */
export class Outbox {
  readonly #config: Required<OutboxConfig>;
  /** By stream, then by id: in the order in which they were kept. */
  readonly #streams = new Map<string, Map<number, KeptFrame>>();
  #size = 0;
  #db: DatabaseSync | undefined;
  #bytes = 0;
  #lastId = 0;
  #insert: StatementSync | undefined;

  constructor(config: OutboxConfig) {
    this.#config = { framesMax: 10_000, bytesMax: 64 * 1024 * 1024, whenFull: 'reject-new', ...config };
  }

  /** @throws BrinkError E_STORAGE_READONLY, E_STORAGE_NEWER, E_STORAGE_CORRUPT, E_STORAGE_FULL, E_LOCKED */
  async open(): Promise<void> {
    const { file } = this.#config;
    const { DatabaseSync } = await import('node:sqlite');
    try {
      this.#db = new DatabaseSync(file, { timeout: 1000 });
      prepare(this.#db, file);
      this.#insert = this.#db.prepare(
        'INSERT INTO frame (id, stream, boot, seq, type, payload, at) VALUES (?, ?, ?, ?, ?, ?, ?)',
      );
      const all = 'SELECT id, stream, boot, seq, length(payload) AS bytes FROM frame ORDER BY id';
      for (const row of this.#db.prepare(all).iterate()) {
        const [id, seq, bytes] = [Number(row['id']), Number(row['seq']), Number(row['bytes'])];
        this.#remember({ id, stream: String(row['stream']), boot: String(row['boot']), seq, bytes });
      }
    } catch (error) {
      this.close();
      throw outboxError(error, file);
    }
  }

  close(): void {
    this.#db?.close();
    this.#db = undefined;
    this.#insert = undefined;
    this.#streams.clear();
    this.#size = 0;
    this.#bytes = 0;
  }

  get size(): number {
    return this.#size;
  }

  /** Those that have frames. */
  streams(): string[] {
    return [...this.#streams.keys()];
  }

  /** Of one stream, in the order in which they were kept. */
  frames(stream: string): Iterable<KeptFrame> {
    return this.#streams.get(stream)?.values() ?? [];
  }

  /**
   * Makes room, if it has to.
   * @returns the frames that were given up for it
   * @throws BrinkError E_STORAGE_FULL
   */
  makeRoom(stream: string, bytes: number): KeptFrame[] {
    const { framesMax, bytesMax, whenFull } = this.#config;
    const full = () => this.size > 0 && (this.size >= framesMax || this.#bytes + bytes > bytesMax);
    const given: KeptFrame[] = [];
    while (full()) {
      const oldest = whenFull === 'reject-new' ? undefined : this.#oldest(stream);
      if (oldest === undefined) throw new BrinkError('E_STORAGE_FULL', `${this.size} frames wait for their receipts`);
      given.push(oldest);
      this.remove([oldest]);
    }
    return given;
  }

  /** On the disk when it returns. @throws BrinkError E_STORAGE_FULL */
  add(stream: string, { boot, seq }: FrameName, payload: Uint8Array, { contentType, at }: Aside = {}): KeptFrame {
    const id = this.#lastId + 1;
    try {
      if (this.#insert === undefined) throw new BrinkError('E_UNAVAILABLE', 'the device has not been started');
      this.#insert.run(id, stream, boot, seq, contentType ?? null, payload, at ?? null);
    } catch (error) {
      throw outboxError(error, this.#config.file);
    }
    const frame = { id, stream, boot, seq, bytes: payload.byteLength };
    this.#remember(frame);
    return frame;
  }

  read({ id }: KeptFrame): (Aside & { payload: Uint8Array }) | undefined {
    const row = this.#db?.prepare('SELECT type, payload, at FROM frame WHERE id = ?').get(id);
    if (row === undefined) return undefined;
    const { type, at } = row;
    return {
      payload: row['payload'] as Uint8Array,
      ...(type === null ? {} : { contentType: String(type) }),
      ...(at === null ? {} : { at: Number(at) }),
    };
  }

  /** @throws BrinkError E_STORAGE_FULL, and all of them are still there */
  remove(frames: readonly KeptFrame[]): void {
    const db = this.#db;
    if (frames.length === 0 || db === undefined) return;
    try {
      const gone = db.prepare('DELETE FROM frame WHERE id = ?');
      db.exec('BEGIN IMMEDIATE');
      for (const { id } of frames) gone.run(id);
      db.exec('COMMIT');
    } catch (error) {
      if (db.isTransaction) db.exec('ROLLBACK');
      throw outboxError(error, this.#config.file);
    }
    for (const frame of frames) this.#forget(frame);
  }

  #oldest(stream: string): KeptFrame | undefined {
    return this.#streams.get(stream)?.values().next().value;
  }

  #remember(frame: KeptFrame): void {
    const frames = this.#streams.get(frame.stream) ?? new Map<number, KeptFrame>();
    this.#streams.set(frame.stream, frames.set(frame.id, frame));
    this.#size += 1;
    this.#bytes += frame.bytes;
    this.#lastId = frame.id;
  }

  #forget({ id, stream, bytes }: KeptFrame): void {
    const frames = this.#streams.get(stream);
    if (frames?.delete(id) !== true) return;
    if (frames.size === 0) this.#streams.delete(stream);
    this.#size -= 1;
    this.#bytes -= bytes;
  }
}

function prepare(db: DatabaseSync, file: string): void {
  // One process: a second one would send, and number, the same frames.
  db.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL');
  const owner = Number(db.prepare('PRAGMA application_id').get()?.['application_id']);
  const tables = Number(db.prepare("SELECT count(*) AS n FROM sqlite_schema WHERE type = 'table'").get()?.['n']);
  // Files of the first version have no owner.
  if (tables > 0 && owner !== APPLICATION_ID && owner !== 0)
    throw new BrinkError('E_STORAGE_CORRUPT', `${file} is a database, but no outbox; expected a new file or Brink's`);
  const version = Number(db.prepare('PRAGMA user_version').get()?.['user_version']);
  if (version > VERSION) throw new BrinkError('E_STORAGE_NEWER', `${file} has schema ${version}; expected ${VERSION}`);
  const said = db.prepare('PRAGMA quick_check(1)').get()?.['quick_check'];
  if (said !== 'ok') throw new BrinkError('E_STORAGE_CORRUPT', damaged(file, String(said)));
  const change = version === 1 ? SINCE_1 : SCHEMA;
  db.exec(
    `BEGIN IMMEDIATE; PRAGMA application_id = ${APPLICATION_ID}; ${change}; PRAGMA user_version = ${VERSION}; COMMIT`,
  );
}

const damaged = (file: string, why: string) =>
  `${file}: ${why}; expected an undamaged outbox: move the file away, and the device starts with an empty one`;

// Primary result codes: https://sqlite.org/rescode.html
const CODES: Record<number, ErrorCode> = {
  3: 'E_STORAGE_READONLY', // SQLITE_PERM
  5: 'E_LOCKED', // SQLITE_BUSY
  8: 'E_STORAGE_READONLY', // SQLITE_READONLY
  11: 'E_STORAGE_CORRUPT', // SQLITE_CORRUPT
  13: 'E_STORAGE_FULL', // SQLITE_FULL
  14: 'E_STORAGE_READONLY', // SQLITE_CANTOPEN
  26: 'E_STORAGE_CORRUPT', // SQLITE_NOTADB
};

/** What SQLite says, in Brink's words. */
function outboxError(error: unknown, file: string): BrinkError {
  if (error instanceof BrinkError) return error;
  const { errcode, message = '' } = error as { errcode?: number; message?: string };
  const code = errcode === undefined ? undefined : CODES[errcode & 0xff];
  if (code === undefined) return BrinkError.from(error, 'E_STORAGE_FULL');
  if (code === 'E_STORAGE_CORRUPT') return new BrinkError(code, damaged(file, message), { cause: error });
  const what = code === 'E_LOCKED' ? 'another process has it; expected one device per outbox' : message;
  return new BrinkError(code, `${file}: ${what}`, { cause: error });
}
