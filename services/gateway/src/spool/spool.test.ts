import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, expect, it } from 'vitest';
import { spoolWith } from '../../test/harness/accidents.ts';
import type { Numbers } from './messages.ts';
import { isTaken, NO_NUMBERS, withNumber, withoutBelow } from './numbers.ts';
import { folder, frame, spoolIn, WHERE } from './spool.testing.ts';

const taking = (...seqs: number[]) => seqs.reduce(withNumber, NO_NUMBERS);

describe('numbers that were taken', () => {
  it('close their gaps in whatever order they come', () => {
    expect(taking(1, 2, 3)).toEqual({ through: 3, above: [] });
    expect(taking(1, 5, 3, 7, 6)).toEqual({
      through: 1,
      above: [
        [3, 3],
        [5, 7],
      ],
    });
    expect(taking(1, 5, 3, 7, 6, 2, 4)).toEqual({ through: 7, above: [] });
    expect(withNumber(taking(1, 3), 3)).toEqual(taking(1, 3));
  });

  it('say the same as a set does', () => {
    let numbers: Numbers = NO_NUMBERS;
    const set = new Set<number>();
    for (let i = 0; i < 500; i++) {
      const seq = 1 + ((i * 7919) % 300);
      expect(isTaken(numbers, seq)).toBe(set.has(seq));
      numbers = withNumber(numbers, seq);
      set.add(seq);
    }
    expect(numbers).toEqual({ through: 300, above: [] });
  });

  it('go on behind what is given up, and never back', () => {
    expect(withoutBelow(taking(1, 5, 6, 9), 5)).toEqual({ through: 6, above: [[9, 9]] });
    expect(withoutBelow(taking(1, 2, 3), 2)).toEqual({ through: 3, above: [] });
  });

  it('remember a bounded number of gaps', () => {
    const odd = Array.from({ length: 3000 }, (_, i) => 2 * i + 3);
    expect(taking(...odd).above.length).toBeLessThanOrEqual(1000);
  });
});

describe('a spool', () => {
  it('gives back, after it was closed and opened, what was committed and not settled', async () => {
    const path = folder();
    const first = spoolIn(path);
    expect(await first.spool.open()).toMatchObject({ lastGroup: 0, lastId: 0, rows: [], boots: [], counters: [] });
    await Promise.all([1, 2, 3].map((id) => first.write(frame(id, ['bits', 'more']))));
    expect(first.groups).toEqual([3]);
    await first.write({ ...WHERE, settled: { frame: 1, pipeline: 'bits' } });
    await first.write({ ...WHERE, settled: { frame: 1, pipeline: 'more' } });
    await first.write({ ...WHERE, settled: { frame: 2, pipeline: 'more' } });
    await first.write({ ...WHERE, attempts: { frame: 2, pipeline: 'bits', attempts: 2 } });
    await first.spool.close();
    const { spool } = spoolIn(path);
    const { rows, boots, counters, lastId } = await spool.open();
    expect(rows.map(({ id, units }) => [id, units])).toEqual([
      [2, [['bits', 2, 0]]],
      [
        3,
        [
          ['bits', 0, 0],
          ['more', 0, 0],
        ],
      ],
    ]);
    expect(lastId).toBe(3);
    expect(boots).toEqual([{ ...WHERE, boot: 'k3v9', through: 3, above: [], rejected: [] }]);
    expect(counters.map(({ name, value }) => [name, value])).toEqual([
      ['accepted', 3],
      ['received', 3],
    ]);
    const loaded = await spool.load({ stream: 'raw', after: 2, rowsMax: 10, bytesMax: 10 });
    expect(loaded).toMatchObject([{ id: 3, device: 'dev-1', seq: 3, payload: new Uint8Array([3]) }]);
  });

  it('takes a group whole or not at all, and fails what was written behind it', async () => {
    const path = folder();
    const { spool, write } = spoolIn(path);
    await spool.open();
    await write(frame(1));
    const results = await Promise.allSettled([write(frame(2)), write(frame(1)), write(frame(3))]);
    expect(results.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected']);
    expect(spool.problem).toContain('spool');
    await write(frame(4));
    expect(spool.problem).toBeUndefined();
    const rows = await spool.load({ stream: 'raw', after: 0, rowsMax: 10, bytesMax: 1000 });
    expect(rows.map(({ id }) => id)).toEqual([1, 4]);
  });

  it('refuses a file that a newer version made, one of somebody else, and one that is damaged', async () => {
    const newer = folder();
    await spoolIn(newer).spool.open();
    const db = new DatabaseSync(join(newer, 'spool.db'));
    db.exec('PRAGMA user_version = 99');
    db.close();
    await expect(spoolIn(newer).spool.open()).rejects.toMatchObject({ code: 'E_STORAGE_NEWER' });
    const foreign = folder();
    const other = new DatabaseSync(join(foreign, 'spool.db'));
    other.exec('CREATE TABLE t (x)');
    other.close();
    await expect(spoolIn(foreign).spool.open()).rejects.toMatchObject({ code: 'E_STORAGE_CORRUPT' });
    const damaged = folder();
    writeFileSync(join(damaged, 'spool.db'), 'this is no database, and longer than its header would be'.repeat(100));
    await expect(spoolIn(damaged).spool.open()).rejects.toMatchObject({ code: 'E_STORAGE_CORRUPT' });
  });

  it('whose thread ends is given another; what was on its way is there, or said not to be, and the rest goes on', async () => {
    for (const [point, outcome] of [
      ['commit.before', 'rejected'],
      ['commit.after', 'fulfilled'],
    ] as const) {
      const worker = spoolWith({ point, n: 2 });
      const { spool, write, restarts } = spoolIn(folder(), worker);
      await spool.open();
      await write(frame(1));
      const [result] = await Promise.allSettled([write(frame(2))]);
      expect([point, result?.status]).toEqual([point, outcome]);
      expect(restarts).toHaveLength(1);
      await write(frame(3));
      const rows = await spool.load({ stream: 'raw', after: 0, rowsMax: 10, bytesMax: 1000 });
      expect(rows.map(({ id }) => id)).toEqual(outcome === 'fulfilled' ? [1, 2, 3] : [1, 3]);
      expect(spool.problem).toBeUndefined();
    }
  });
});
