import { copyFileSync, existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { LEDGER } from '../store.ts';
import { MIRROR } from './mirror.ts';

/** Damaged ledgers are kept here, for whoever wants to look at them. */
const DAMAGED = 'damaged';
/** Each is as large as the ledger: the oldest goes. */
const KEPT_MAX = 2;
const MOVED = [LEDGER, `${LEDGER}-wal`, `${LEDGER}-shm`, 'ledger.sums'];

/** Moves the ledger's files out of the way. @returns where they are, as seen from the data folder */
export function moveAside(folder: string, atMs: number): string {
  const place = newPlace(folder, atMs);
  for (const name of MOVED)
    if (existsSync(join(folder, name))) renameSync(join(folder, name), join(folder, place, name));
  // It stays, too: it says which number was given last.
  if (existsSync(join(folder, MIRROR))) copyFileSync(join(folder, MIRROR), join(folder, place, MIRROR));
  return place;
}

/** Keeps the log as it was found: SQLite goes on writing where it thinks that the log ends. */
export function copyLogAside(folder: string, atMs: number): string {
  const place = newPlace(folder, atMs);
  for (const name of [`${LEDGER}-wal`, MIRROR]) {
    if (existsSync(join(folder, name))) copyFileSync(join(folder, name), join(folder, place, name));
  }
  return place;
}

export function dropAside(folder: string, place: string): void {
  rmSync(join(folder, place), { recursive: true, force: true });
}

function newPlace(folder: string, atMs: number): string {
  const parent = join(folder, DAMAGED);
  mkdirSync(parent, { recursive: true, mode: 0o700 });
  const stamp = new Date(atMs).toISOString().replaceAll(/[-:.]/g, '');
  let name = stamp;
  for (let again = 2; existsSync(join(parent, name)); again++) name = `${stamp}-${again}`;
  mkdirSync(join(parent, name), { mode: 0o700 });
  // Whatever the clock said when the others were made.
  const others = readdirSync(parent)
    .filter((other) => other !== name)
    .toSorted();
  for (const old of others.slice(0, Math.max(0, others.length + 1 - KEPT_MAX)))
    rmSync(join(parent, old), { recursive: true, force: true });
  return join(DAMAGED, name);
}
