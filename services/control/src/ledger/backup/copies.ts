import { createHash } from 'node:crypto';
import {
  closeSync,
  copyFileSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { backup, DatabaseSync } from 'node:sqlite';
import { BrinkError } from '@brink/protocol';
import { z } from 'zod';
import { HeadSchema } from '../integrity/mirror.ts';
import { LEDGER, openStoreForReading, readHead, storageError } from '../store.ts';

// Copies of the ledger that control makes by itself, in backups/ beside it: ledger-<time>.db, and a .json with its hash.

const BACKUPS = 'backups';
/** All pages in one step: a snapshot. In several, every write meanwhile makes SQLite begin again. */
const ONE_STEP = 2 ** 31 - 1;

const CopySchema = HeadSchema.extend({
  file: z.string(),
  made_ms: z.number(),
  schema: z.number().int(),
  bytes: z.number().int(),
  sha256: z.string(),
});
/** One copy, and where the ledger stood. */
export type LedgerCopy = z.infer<typeof CopySchema>;

/**
 * Copies the ledger by SQLite's backup API while others write, checks the copy, and keeps the newest `keep`.
 * @throws BrinkError E_STORAGE_FULL, E_STORAGE_CORRUPT
 */
export async function makeCopy(folder: string, o: { keep: number; nowMs: number }): Promise<LedgerCopy> {
  const place = join(folder, BACKUPS);
  mkdirSync(place, { recursive: true, mode: 0o700 });
  dropHalves(place);
  const name = `ledger-${new Date(o.nowMs).toISOString().replaceAll(/[-:.]/g, '')}`;
  const part = join(place, `${name}.part`);
  try {
    const copied = await copyLedger(folder, part);
    const copy: LedgerCopy = { ...copied, file: `${name}.db`, made_ms: o.nowMs };
    renameSync(part, join(place, copy.file));
    writeFileSync(join(place, `${name}.json`), JSON.stringify(copy), { mode: 0o600 });
    prune(place, name, o.keep);
    return copy;
  } catch (error) {
    for (const end of ['', '-wal', '-shm', '-journal']) rmSync(part + end, { force: true });
    throw storageError(error, place);
  }
}

/** Into one file, checked: what is no good as a ledger must not become a backup. */
export async function copyLedger(folder: string, path: string): Promise<Omit<LedgerCopy, 'file' | 'made_ms'>> {
  rmSync(path, { force: true });
  const source = openStoreForReading(folder);
  try {
    await backup(source.db, path, { rate: ONE_STEP });
  } finally {
    source.close();
  }
  const db = new DatabaseSync(path);
  try {
    // One file, without a log beside it.
    db.exec('PRAGMA journal_mode = DELETE');
    const check = db.prepare('PRAGMA quick_check(1)').get()?.quick_check;
    if (check !== 'ok')
      throw new BrinkError('E_STORAGE_CORRUPT', `the copy of ${LEDGER} is not sound: ${String(check)}`);
    const schema = Number(db.prepare('PRAGMA user_version').get()?.user_version);
    const head = readHead(db);
    db.close();
    syncFile(path);
    return { ...head, schema, bytes: statSync(path).size, sha256: hashFile(path) };
  } finally {
    if (db.isOpen) db.close();
  }
}

/** Newest first, of those that lie there as they were made, as far as that can be told without reading them. */
export function listCopies(folder: string): LedgerCopy[] {
  const place = join(folder, BACKUPS);
  if (!existsSync(place)) return [];
  const copies = readdirSync(place)
    .filter((name) => name.endsWith('.json'))
    .flatMap((name) => readCopy(join(place, name)));
  return copies
    .filter(({ file }) => existsSync(join(place, file)))
    .toSorted((a, b) => b.commits - a.commits || b.made_ms - a.made_ms);
}

/** Puts a copy where the ledger was. @returns false where the copy is not what it was */
export function restoreCopy(folder: string, copy: LedgerCopy): boolean {
  const from = join(folder, BACKUPS, copy.file);
  if (hashFile(from) !== copy.sha256) return false;
  const part = join(folder, `${LEDGER}.part`);
  copyFileSync(from, part);
  syncFile(part);
  renameSync(part, join(folder, LEDGER));
  return true;
}

function readCopy(path: string): LedgerCopy[] {
  try {
    return [CopySchema.parse(JSON.parse(readFileSync(path, 'utf8')))];
  } catch {
    return [];
  }
}

/** The one that was just made stays, whatever the clock said when the others were. */
function prune(place: string, made: string, keep: number): void {
  const names = readdirSync(place)
    .filter((name) => /^ledger-.*\.json$/.test(name) && name !== `${made}.json`)
    .toSorted()
    .map((name) => name.slice(0, -'.json'.length));
  for (const name of names.slice(0, Math.max(0, names.length + 1 - keep))) {
    rmSync(join(place, `${name}.json`), { force: true });
    rmSync(join(place, `${name}.db`), { force: true });
  }
}

/** What a crash left: each may be as large as the ledger, and nobody would ever look at it. */
function dropHalves(place: string): void {
  const names = new Set(readdirSync(place));
  for (const name of names) {
    const [, copy] = /^(ledger-\w+)\.(?:part|db)/.exec(name) ?? [];
    const whole = name === `${copy}.db` && names.has(`${copy}.json`);
    if (copy !== undefined && !whole) rmSync(join(place, name), { force: true });
  }
}

export function hashFile(path: string): string {
  const hash = createHash('sha256');
  const chunk = Buffer.alloc(1024 * 1024);
  const file = openSync(path, 'r');
  try {
    for (let read = readSync(file, chunk); read > 0; read = readSync(file, chunk)) hash.update(chunk.subarray(0, read));
    return hash.digest('hex');
  } finally {
    closeSync(file);
  }
}

function syncFile(path: string): void {
  const file = openSync(path, 'r');
  fsyncSync(file);
  closeSync(file);
}
