import { closeSync, existsSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { BrinkError } from '@brink/protocol';
import { APPLICATION_ID, LEDGER } from '../store.ts';
import { MIRROR, type Mirrored, readMirror } from './mirror.ts';
import { compareSums, PAGE_BYTES } from './sums.ts';
import { readWal } from './wal.ts';

/** What the files say before SQLite has touched them. */
export interface Findings {
  /** Why the ledger must not be opened as it is. */
  readonly damage: string | undefined;
  /** Odd, but nothing is lost by it. */
  readonly warnings: readonly string[];
  /** Every page is what it was when it was written: SQLite's own check would say nothing more. */
  readonly verified: boolean;
  /** The log ends with frames that are not whole. */
  readonly torn: boolean;
  readonly mirror: Mirrored | undefined;
}

/**
 * Reads ledger.db, its log, its sums and its mirror as bytes. No connection of this process may be open meanwhile.
 * @throws BrinkError E_STORAGE_CORRUPT where it is none of Brink's, E_STORAGE_NEWER where a newer Brink wrote it
 */
export function examine(folder: string, schema: number): Findings {
  const path = join(folder, LEDGER);
  const { mirror, damage: mirrorDamage } = readMirror(folder);
  const warnings = mirrorDamage === undefined ? [] : [`${mirrorDamage}; it is written anew`];
  const findings = { damage: undefined, warnings, verified: false, torn: false, mirror };
  if (!existsSync(path)) {
    const known = (mirror?.commits ?? 0) > 0;
    return known
      ? { ...findings, damage: `${LEDGER} is gone; ${MIRROR} knows of ${mirror?.commits} commits` }
      : findings;
  }
  const header = headerOf(path);
  if (header === undefined) return findings;
  const { pages, frames, torn } = readWal(`${path}-wal`, PAGE_BYTES);
  const ours = mirror !== undefined || mirrorDamage !== undefined;
  const wrong = wrongHeader(path, header, { ours, schema, inLog: pages.has(1) });
  if (wrong !== undefined) return { ...findings, torn, damage: wrong };
  if (frames === 0 && mirror !== undefined && mirror.covered < mirror.commits) {
    // Somebody else's program opened it and put the log into the database: the sums know nothing of that.
    return { ...findings, warnings: [...warnings, `${LEDGER} was opened by another program; its sums are made anew`] };
  }
  const { known, damaged } = compareSums(folder, pages);
  if (damaged.length > 0) {
    const detail = `${LEDGER}: pages ${damaged.join(', ')} are not what was written`;
    return { ...findings, torn, damage: detail };
  }
  return { ...findings, verified: known, torn };
}

/** The first hundred bytes: https://sqlite.org/fileformat2.html#the_database_header. Undefined: the file is empty. */
function headerOf(path: string): Buffer | undefined {
  const header = Buffer.alloc(100);
  const file = openSync(path, 'r');
  try {
    return readSync(file, header, 0, 100, 0) === 0 ? undefined : header;
  } finally {
    closeSync(file);
  }
}

function wrongHeader(
  path: string,
  header: Buffer,
  o: { ours: boolean; schema: number; inLog: boolean },
): string | undefined {
  const isDatabase = header.toString('latin1', 0, 16) === 'SQLite format 3\0';
  const isLedger = isDatabase && header.readUInt32BE(68) === APPLICATION_ID;
  if (!isDatabase && !o.ours) {
    throw new BrinkError('E_STORAGE_CORRUPT', `${path} is no database; expected an empty folder or Brink's`);
  }
  if (!isLedger && !o.ours && !o.inLog) {
    const detail = `${path} is a database, but not a ledger of Brink; expected an empty folder or Brink's`;
    throw new BrinkError('E_STORAGE_CORRUPT', detail);
  }
  // The log has a newer first page, which SQLite will read.
  if (o.inLog && isDatabase) return undefined;
  if (!isLedger || header.readUInt16BE(16) !== PAGE_BYTES) return `${LEDGER}: its header is damaged`;
  const version = header.readUInt32BE(60);
  if (version > o.schema) {
    throw new BrinkError(
      'E_STORAGE_NEWER',
      `${path} has schema ${version}, this program knows up to ${o.schema}; expected a newer Brink, or a copy made before (${LEDGER}.v*)`,
    );
  }
  return undefined;
}
