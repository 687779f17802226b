import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createTestClock } from '@brink/runtime';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { listCopies, makeCopy } from '../backup/copies.ts';
import { openInProcess } from '../in-process.testing.ts';
import { items, openLedger, outcome } from '../ledger.testing.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'brink-recovery-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** One bit of a decision's text: SQLite's own checks see nothing of it. */
function flipIn(path: string, text: string): void {
  const bytes = readFileSync(path);
  const at = bytes.indexOf(text);
  expect(at).toBeGreaterThan(0);
  bytes[at] = (bytes[at] as number) ^ 1;
  writeFileSync(path, bytes);
}

async function commitTo(...seqs: number[]): Promise<void> {
  using opened = await openInProcess(folder);
  opened.commit(...seqs);
}

/** What is there, what is said to be lost, and the number that comes next. */
async function found(): Promise<{ ns: number[]; damage: readonly string[]; next: number | undefined }> {
  using opened = await openInProcess(folder);
  const { ns, damage } = opened;
  return { ns, damage, next: opened.commit(900 + ns.length)[0] };
}

describe('a damaged ledger', () => {
  it('moves aside, the newest copy takes its place, and no number is given twice', async () => {
    {
      using opened = await openInProcess(folder);
      opened.commit(1);
      await opened.copy();
      opened.commit(2);
    }
    flipIn(join(folder, 'ledger.db'), 'cam-1.front.k3v9.2.0.pets');
    const { ns, damage, next } = await found();
    expect(ns).toEqual([1]);
    expect(next).toBe(3);
    expect(damage).toEqual([
      expect.stringMatching(
        /pages [\d, ]+ are not what was written; .*damaged\/.* the copy of .* after decision 1 is not/,
      ),
    ]);
    const [aside = ''] = readdirSync(join(folder, 'damaged'));
    expect(existsSync(join(folder, 'damaged', aside, 'ledger.db'))).toBe(true);
  });

  it('whose copy is damaged too goes back to the copy before, and begins anew where there is none', async () => {
    {
      using opened = await openInProcess(folder, Date.now() - 60_000);
      opened.commit(1);
      await opened.copy();
    }
    {
      using opened = await openInProcess(folder);
      opened.commit(2);
      const { file } = await opened.copy();
      flipIn(join(folder, 'backups', file), 'cam-1.front.k3v9.2.0.pets');
    }
    flipIn(join(folder, 'ledger.db'), 'cam-1.front.k3v9.1.0.pets');
    expect((await found()).ns).toEqual([1]);
    rmSync(join(folder, 'backups'), { recursive: true });
    flipIn(join(folder, 'ledger.db'), 'cam-1.front.k3v9.1.0.pets');
    const { ns, damage, next } = await found();
    expect([ns, next]).toEqual([[], 4]);
    expect(damage).toHaveLength(1);
  });

  it('moves aside where the clock was set back since others did', async () => {
    for (const old of ['20990101T000000000Z', '20990102T000000000Z'])
      mkdirSync(join(folder, 'damaged', old), { recursive: true });
    await commitTo(1);
    truncateSync(join(folder, 'ledger.db'), 5000);
    expect((await found()).damage).toHaveLength(1);
    const kept = readdirSync(join(folder, 'damaged')).toSorted();
    expect(kept).toHaveLength(2);
    expect(existsSync(join(folder, 'damaged', kept[0] ?? '', 'ledger.db'))).toBe(true);
  });

  it('says so until somebody has taken note, through restarts', async () => {
    await commitTo(1);
    flipIn(join(folder, 'ledger.db'), 'cam-1.front.k3v9.1.0.pets');
    expect((await found()).damage).toEqual([expect.stringContaining('there is no copy')]);
    {
      using opened = await openInProcess(folder);
      expect(opened.damage).toHaveLength(1);
      expect(opened.perform({ op: 'acceptDamage' })).toBe(1);
    }
    expect((await found()).damage).toEqual([]);
  });

  it('whose newest commits are lost with the end of its log goes on with what is left, and says what is not', async () => {
    const killed = join(folder, 'killed');
    {
      using opened = await openInProcess(folder);
      for (let seq = 1; seq <= 5; seq++) opened.commit(seq);
      for (const name of ['ledger.db', 'ledger.db-wal', 'ledger.head', 'ledger.sums'])
        cpSync(join(folder, name), join(killed, name));
    }
    folder = killed;
    flipIn(join(folder, 'ledger.db-wal'), 'cam-1.front.k3v9.4.0.pets');
    const { ns, damage, next } = await found();
    expect(ns).toEqual([3, 2, 1]);
    expect(damage).toEqual([expect.stringMatching(/commits \d+ to \d+ are not in the ledger.*up to 5 .*up to 3/)]);
    expect(next).toBe(6);
  });

  it('is noticed while it runs, a piece of it at a time, and replaced without a restart of control', async () => {
    const clock = createTestClock(Date.parse('2026-11-22T16:00:00.000Z'));
    await commitTo(1);
    await using opened = await openLedger({ folder, clock });
    flipIn(join(folder, 'ledger.db'), 'cam-1.front.k3v9.1.0.pets');
    expect(opened.ledger.damage).toEqual([]);
    // Ten minutes later every page is read, and the ledger opened anew a second after that.
    await expect
      .poll(
        async () => {
          await clock.advance(300_000);
          return opened.ledger.damage;
        },
        { timeout: 10_000 },
      )
      .toEqual([expect.stringContaining('are not what was written')]);
    await expect.poll(() => opened.ledger.problem, { timeout: 5000 }).toBeUndefined();
    expect(await opened.ledger.commit(items(outcome(2)))).toEqual({ inserted: 1, duplicates: 0 });
  });
});

describe('a sound ledger', () => {
  it('is opened as it is after it was stopped, also where its sums are lost', async () => {
    await commitTo(1);
    expect((await found()).damage).toEqual([]);
    truncateSync(join(folder, 'ledger.sums'), 0);
    expect((await found()).damage).toEqual([]);
  });

  it('without its mirror says that it cannot tell', async () => {
    await commitTo(1);
    rmSync(join(folder, 'ledger.head'));
    const { ns, damage } = await found();
    expect(ns).toEqual([1]);
    expect(damage).toEqual([expect.stringContaining('ledger.head is gone')]);
  });
});

describe('copies', () => {
  it('the newest stays when the clock was set back, and what a crash left goes', async () => {
    const day = 86_400_000;
    using opened = await openInProcess(folder);
    const nowMs = Date.now();
    for (const atMs of [nowMs + day, nowMs + day + 1]) await makeCopy(folder, { keep: 2, nowMs: atMs });
    for (const name of ['ledger-20260101T000000000Z.part', 'ledger-20260101T000000000Z.db', 'notes.txt'])
      writeFileSync(join(folder, 'backups', name), '');
    opened.commit(1);
    const { file } = await makeCopy(folder, { keep: 2, nowMs });
    expect(listCopies(folder)).toMatchObject([{ file, n: 1 }, { n: 0 }]);
    expect(readdirSync(join(folder, 'backups')).length).toBe(5);
    await makeCopy(folder, { keep: 1, nowMs: nowMs - 1 });
    expect(listCopies(folder)).toHaveLength(1);
  });

  it('are made by the hour while others write, checked, and the newest few stay', async () => {
    const clock = createTestClock(Date.parse('2026-11-22T16:00:00.000Z'));
    await using opened = await openLedger({ folder, clock, copyEveryMs: 3_600_000, copiesKept: 2 });
    const made = () => opened.ledger.stats.copies;
    for (let hour = 1; hour <= 3; hour++) {
      await opened.ledger.commit(items(outcome(hour)));
      await expect
        .poll(
          async () => {
            if (made() < hour) await clock.advance(60_000 * 61);
            return made();
          },
          { timeout: 20_000 },
        )
        .toBe(hour);
    }
    const files = readdirSync(join(folder, 'backups')).toSorted();
    expect(files.filter((name) => name.endsWith('.db'))).toHaveLength(2);
    expect(files).toHaveLength(4);
  });
});
