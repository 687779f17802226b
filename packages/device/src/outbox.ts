import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { BrinkError } from '@brink/protocol';
import type { FrameName } from './frame-name.ts';

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

const SCHEMA = `
CREATE TABLE IF NOT EXISTS frame (id INTEGER PRIMARY KEY, stream TEXT NOT NULL, boot TEXT NOT NULL, seq INTEGER NOT NULL,
  type TEXT, payload BLOB NOT NULL) STRICT`;
const VERSION = 1;

/** Frames on the disk of the device until the gateway gave a receipt for them. */
export class Outbox {
  readonly #config: Required<OutboxConfig>;
  readonly #frames = new Map<number, KeptFrame>();
  #db: DatabaseSync | undefined;
  #bytes = 0;
  #lastId = 0;
  #insert: StatementSync | undefined;

  constructor(config: OutboxConfig) {
    this.#config = { framesMax: 10_000, bytesMax: 64 * 1024 * 1024, whenFull: 'reject-new', ...config };
  }

  /** @throws BrinkError E_STORAGE_READONLY, E_STORAGE_NEWER */
  async open(): Promise<void> {
    const { file } = this.#config;
    const { DatabaseSync } = await import('node:sqlite');
    try {
      this.#db = new DatabaseSync(file, { timeout: 1000 });
      this.#db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL');
      const version = Number(this.#db.prepare('PRAGMA user_version').get()?.['user_version']);
      if (version > VERSION)
        throw new BrinkError('E_STORAGE_NEWER', `${file} has schema ${version}; expected ${VERSION}`);
      this.#db.exec(`${SCHEMA}; PRAGMA user_version = ${VERSION}`);
    } catch (error) {
      this.close();
      throw BrinkError.from(error, 'E_STORAGE_READONLY');
    }
    this.#insert = this.#db.prepare('INSERT INTO frame VALUES (?, ?, ?, ?, ?, ?)');
    for (const row of this.#db
      .prepare('SELECT id, stream, boot, seq, length(payload) AS bytes FROM frame ORDER BY id')
      .iterate()) {
      const [id, seq, bytes] = [Number(row['id']), Number(row['seq']), Number(row['bytes'])];
      this.#remember({ id, stream: String(row['stream']), boot: String(row['boot']), seq, bytes });
    }
  }

  close(): void {
    this.#db?.close();
    this.#db = undefined;
    this.#frames.clear();
    this.#bytes = 0;
  }

  get size(): number {
    return this.#frames.size;
  }

  /** In the order in which they were kept. */
  frames(): Iterable<KeptFrame> {
    return this.#frames.values();
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
  add(stream: string, { boot, seq }: FrameName, payload: Uint8Array, contentType?: string): KeptFrame {
    const id = this.#lastId + 1;
    try {
      if (this.#insert === undefined) throw new BrinkError('E_UNAVAILABLE', 'the device has not been started');
      this.#insert.run(id, stream, boot, seq, contentType ?? null, payload);
    } catch (error) {
      throw BrinkError.from(error, 'E_STORAGE_FULL');
    }
    const frame = { id, stream, boot, seq, bytes: payload.byteLength };
    this.#remember(frame);
    return frame;
  }

  read({ id }: KeptFrame): { payload: Uint8Array; contentType: string | undefined } | undefined {
    const row = this.#db?.prepare('SELECT type, payload FROM frame WHERE id = ?').get(id);
    if (row === undefined) return undefined;
    const type = row['type'];
    return { payload: row['payload'] as Uint8Array, contentType: type === null ? undefined : String(type) };
  }

  remove(frames: readonly KeptFrame[]): void {
    if (frames.length === 0 || this.#db === undefined) return;
    const gone = this.#db.prepare('DELETE FROM frame WHERE id = ?');
    this.#db.exec('BEGIN IMMEDIATE');
    for (const { id } of frames) gone.run(id);
    this.#db.exec('COMMIT');
    for (const { id, bytes } of frames) if (this.#frames.delete(id)) this.#bytes -= bytes;
  }

  #oldest(stream: string): KeptFrame | undefined {
    for (const frame of this.#frames.values()) if (frame.stream === stream) return frame;
    return undefined;
  }

  #remember(frame: KeptFrame): void {
    this.#frames.set(frame.id, frame);
    this.#bytes += frame.bytes;
    this.#lastId = frame.id;
  }
}
