import { cpSync, mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import { BrinkError } from '@brink/protocol';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { items, openLedger, outcome, published, site } from '../ledger.testing.ts';
import { MIGRATIONS } from '../migrations.ts';
import { openStore } from '../store.ts';
import { createIntegrity } from './integrity.ts';
import { openSound } from './recovery.ts';

const PLACES = process.env['BRINK_TEST_SIZE'] === 'long' ? 300 : 30;
const FILES = [
  'ledger.db',
  'ledger.db',
  'ledger.db-wal',
  'ledger.db-wal',
  'ledger.db-shm',
  'ledger.head',
  'ledger.sums',
];
const NOW_MS = Date.parse('2026-11-22T18:00:00.000Z');

let root: string;
/** A ledger that was stopped, and one that was killed: its newest commits stand in the log. */
let stopped: string;
let killed: string;
let made = 0;

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'brink-damage-'));
  stopped = join(root, 'stopped');
  killed = join(root, 'killed');
  const folder = mkdtempSync(join(root, 'made-'));
  const numbers = (from: number, to: number) => Array.from({ length: to - from }, (_, index) => outcome(from + index));
  {
    await using opened = await openLedger({ folder });
    await opened.ledger.configure(published(site()));
    for (let from = 1; from < 300; from += 60) await opened.ledger.commit(items(...numbers(from, from + 60)));
  }
  cpSync(folder, stopped, { recursive: true });
  await using opened = await openLedger({ folder });
  for (let from = 301; from < 340; from += 8) await opened.ledger.commit(items(...numbers(from, from + 8)));
  // What kill -9 leaves behind: the system has all that was written.
  cpSync(folder, killed, { recursive: true });
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** mulberry32: https://gist.github.com/tommyettinger/46a874533244883189143505d203312c */
function createRandom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

function copyOf(folder: string): string {
  made += 1;
  const copy = join(root, `copy-${made}`);
  cpSync(folder, copy, { recursive: true });
  return copy;
}

/** Every row of every table that somebody reads. */
function dump(db: DatabaseSync): string {
  const tables = db.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").all();
  const rows = tables
    .map(({ name }) => String(name))
    .filter((name) => name !== 'meta' && name !== 'event')
    .map((name) => [name, db.prepare(`SELECT * FROM ${name}`).all()]);
  return JSON.stringify(rows);
}

interface Opened {
  readonly rows: string;
  readonly damage: string[];
}

/** As control opens it. */
async function openAsControl(folder: string): Promise<Opened> {
  const opened = await openSound(folder, { nowMs: NOW_MS, deep: false });
  const integrity = createIntegrity(folder, opened, NOW_MS);
  const { damage } = integrity;
  const rows = dump(opened.store.db);
  opened.store.close();
  integrity.close();
  return { rows, damage };
}

/** Without checksums and mirror: SQLite's own check alone. */
async function openPlain(folder: string): Promise<Opened> {
  const store = await openStore(folder, MIGRATIONS, 'quick');
  const rows = dump(store.db);
  store.close();
  return { rows, damage: [] };
}

type Blow = 'flip' | 'zero' | 'cut';

function strike(path: string, blow: Blow, random: (below: number) => number): string {
  const { size } = statSync(path);
  const at = random(size);
  if (blow === 'cut') {
    truncateSync(path, at);
    return `cut at ${at} of ${size}`;
  }
  const bytes = readFileSync(path);
  const bit = random(8);
  if (blow === 'flip') bytes[at] = (bytes[at] as number) ^ (1 << bit);
  else bytes.fill(0, at - (at % 4096), Math.min(size, at - (at % 4096) + 4096));
  writeFileSync(path, bytes);
  return `${blow} at ${at} of ${size}`;
}

/** `silent` is the one that must not be. */
async function verdictOf(folder: string, whole: string, open: (folder: string) => Promise<Opened>): Promise<string> {
  try {
    const { rows, damage } = await open(folder);
    if (rows === whole) return 'identical';
    return damage.length > 0 ? 'detected' : 'silent';
  } catch (error) {
    return BrinkError.from(error).code.startsWith('E_STORAGE') || 'errcode' in (error as object)
      ? 'detected'
      : 'silent';
  }
}

async function sweep(seed: number, open: (folder: string) => Promise<Opened>): Promise<Record<string, string[]>> {
  const random = createRandom(seed);
  const verdicts: Record<string, string[]> = { identical: [], detected: [], silent: [] };
  const whole = {
    stopped: (await openAsControl(copyOf(stopped))).rows,
    killed: (await openAsControl(copyOf(killed))).rows,
  };
  for (let place = 0; place < PLACES; place++) {
    const how = place % 2 === 0 ? 'killed' : 'stopped';
    const folder = copyOf(how === 'killed' ? killed : stopped);
    const present = FILES.filter((name) => (statSync(join(folder, name), { throwIfNoEntry: false })?.size ?? 0) > 0);
    const file = present[random(present.length)] as string;
    const blow = (['flip', 'flip', 'zero', 'cut'] as const)[random(4)] as Blow;
    const done = strike(join(folder, file), blow, random);
    const verdict = await verdictOf(folder, whole[how], open);
    verdicts[verdict]?.push(`${how} ${file} ${done}`);
    rmSync(folder, { recursive: true, force: true });
  }
  return verdicts;
}

describe('a ledger that was damaged', () => {
  it('is what it was, or says that it is not: bits, pages and ends, in each of its files', {
    timeout: 300_000,
  }, async () => {
    const verdicts = await sweep(7, openAsControl);
    expect(verdicts['silent']).toEqual([]);
    expect(verdicts['detected']?.length).toBeGreaterThan(PLACES / 5);
    expect(verdicts['identical']?.length).toBeGreaterThan(0);
  });

  it('negative control: SQLite alone opens some of them with other rows and says nothing', {
    timeout: 300_000,
  }, async () => {
    const verdicts = await sweep(7, openPlain);
    expect(verdicts['silent']?.length).toBeGreaterThan(0);
  });
});
