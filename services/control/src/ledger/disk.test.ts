import { execFileSync } from 'node:child_process';
import { appendFileSync, existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { BrinkError } from '@brink/protocol';
import { silentLogger, systemClock } from '@brink/runtime';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { createDisk, type DiskUse, stateOf } from './disk.ts';
import { folderForTest, shiftedClock } from './folder.testing.ts';
import { items, openLedger, outcome, published, site } from './ledger.testing.ts';
import type { Ledger } from './ledger.ts';

const MAY_MOUNT = process.getuid?.() === 0 && process.platform === 'linux';
const SKIPPED = MAY_MOUNT ? '' : '(skipped: only root can mount a disk) ';
const MB = 1024 * 1024;
const DAY_MS = 86_400_000;

const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => 'resolved',
    (error: BrinkError) => error.code,
  );

describe('a disk', () => {
  const limits = { lowPercent: 90, fullPercent: 95, spareBytes: 1000 };

  it('is low and full by its share, unless what is free is a lot all the same', () => {
    const state = (percent: number, freeBytes: number) => stateOf({ percent, freeBytes }, limits);
    expect([state(89, 10), state(90, 10), state(94.9, 10), state(95, 10)]).toEqual(['ok', 'low', 'low', 'full']);
    expect([state(99, 1000), state(99, 999), state(99, 2000), state(99, 1999)]).toEqual(['low', 'full', 'ok', 'low']);
  });

  it('that is full is no disk to write to: new rows are refused, what is there is settled and read', async () => {
    let use: DiskUse = { percent: 50, freeBytes: 10 };
    await using opened = await openLedger({ use: async () => use });
    const { ledger } = opened;
    await ledger.configure(published(site()));
    await ledger.commit(items(outcome(1, { received_ms: Date.now() })));
    use = { percent: 96, freeBytes: 10 };
    await vi.waitFor(() => expect(ledger.problem).toContain('E_STORAGE_FULL'), { timeout: 5000 });
    expect(await codeOf(ledger.commit(items(outcome(2))))).toBe('E_STORAGE_FULL');
    const order = { command: { device: 'feeder-1', name: 'open', args: {}, expires_ms: 1000, ack: 'none' as const } };
    expect(await codeOf(ledger.order('by-hand', order, 'somebody'))).toBe('E_STORAGE_FULL');
    const [action] = (await ledger.lease({ limit: 1, leaseMs: 1000 })).actions;
    expect(await codeOf(ledger.settle([{ id: action?.id ?? '', attempt: 1, result: 'sent' }]))).toBe('resolved');
    expect((await ledger.read.decisions({ limit: 1 })).items[0]?.n).toBe(1);
    expect(ledger.stats).toMatchObject({ refusedFull: 2, diskState: 'full' });
    use = { percent: 92, freeBytes: 10 };
    await vi.waitFor(() => expect(ledger.problem).toBeUndefined(), { timeout: 5000 });
    expect(ledger.notes[0]).toContain('92.0 % full');
    expect(await ledger.commit(items(outcome(2)))).toEqual({ inserted: 1, duplicates: 0 });
  });

  it('that cannot be looked at is taken for what it was', async () => {
    const disk = createDisk({ folder: '/nowhere/at/all', ...limits }, { clock: systemClock, logger: silentLogger });
    await disk.start();
    disk.stop();
    expect(disk.state).toBe('ok');
  });
});

describe.skipIf(!MAY_MOUNT)(`${SKIPPED}a disk that somebody else fills`, () => {
  const mounted: string[] = [];
  afterEach(() => {
    for (const path of mounted.splice(0)) execFileSync('umount', ['-l', path]);
  });

  async function smallDisk(size: string): Promise<string> {
    const path = await folderForTest();
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', path]);
    mounted.push(path);
    return path;
  }

  /** To its last byte. */
  function fill(path: string): void {
    for (let bytes = MB; bytes >= 1; bytes = Math.floor(bytes / 2)) {
      try {
        for (;;) appendFileSync(join(path, 'other'), new Uint8Array(bytes));
      } catch {
        // No more of this size.
      }
    }
  }

  /** @returns the last number that it was asked to take, and did not */
  async function writeUntilFull(ledger: Ledger): Promise<number> {
    for (let seq = 1; seq < 30_000; seq += 100) {
      const batch = items(...Array.from({ length: 100 }, (_, at) => outcome(seq + 1 + at, { pipeline: 'quiet' })));
      const code = await codeOf(ledger.commit(batch));
      if (code === 'E_STORAGE_FULL') return seq + 100;
      expect(code).toBe('resolved');
    }
    throw new Error('30,000 outcomes, and the disk is not full');
  }

  it('loses nothing and tells no lie; the ledger settles and deletes, and goes on by itself within 5 s of room', async () => {
    const folder = await smallDisk('40m');
    // As if the shares did not count: the last byte is met.
    const disk = { fullPercent: 100, lowPercent: 100, spareBytes: 0 };
    const clock = shiftedClock();
    await using opened = await openLedger({ folder, disk, clock });
    const { ledger } = opened;
    await ledger.configure(published(site()));
    await ledger.commit(items(outcome(1)));
    await ledger.commit(items(...Array.from({ length: 500 }, (_, at) => outcome(at + 1, { stream: 'before' }))));
    await vi.waitFor(() => expect(existsSync(join(folder, 'ledger.ballast'))).toBe(true), { timeout: 5000 });
    fill(folder);

    const seq = await writeUntilFull(ledger);
    expect(ledger.problem).toContain('E_STORAGE_FULL');
    const committed = seq - 100;
    expect((await ledger.read.decisions({ limit: 1 })).items[0]?.n).toBe(committed + 500);
    // The ballast has gone, so that this can still be written.
    const [action] = (await ledger.lease({ limit: 1, leaseMs: 1000 })).actions;
    expect(await codeOf(ledger.settle([{ id: action?.id ?? '', attempt: 1, result: 'sent' }]))).toBe('resolved');
    clock.shift(31 * DAY_MS);
    expect(await ledger.retain(400)).toEqual({ deleted: 400 });
    expect(await codeOf(ledger.commit(items(outcome(seq + 1, { pipeline: 'quiet' }))))).toBe('E_STORAGE_FULL');

    rmSync(join(folder, 'other'));
    await vi.waitFor(() => expect(ledger.problem).toBeUndefined(), { timeout: 5000, interval: 50 });
    expect(existsSync(join(folder, 'ledger.ballast'))).toBe(true);
    expect(await ledger.commit(items(outcome(committed + 1, { pipeline: 'quiet' })))).toMatchObject({ inserted: 1 });
    expect((await ledger.read.counts()).reduce((sum, { decided }) => sum + decided, 0)).toBe(committed + 501);
  });

  it('while control was down keeps nobody from reading, nor from settling what is there', async () => {
    const folder = await smallDisk('24m');
    const disk = { fullPercent: 100, lowPercent: 100, spareBytes: 0 };
    const { ledger } = await openLedger({ folder, disk });
    await ledger.configure(published(site()));
    await ledger.commit(items(outcome(1, { received_ms: Date.now() })));
    await vi.waitFor(() => expect(existsSync(join(folder, 'ledger.ballast'))).toBe(true), { timeout: 5000 });
    await ledger.stop();
    fill(folder);
    await using opened = await openLedger({ folder, disk });
    expect((await opened.ledger.read.decisions({ limit: 1 })).items[0]?.n).toBe(1);
    expect((await opened.ledger.lease({ limit: 1, leaseMs: 1000 })).actions).toHaveLength(1);
    await vi.waitFor(() => expect(opened.ledger.problem).toContain('E_STORAGE_FULL'), { timeout: 5000 });
    rmSync(join(folder, 'other'));
    await vi.waitFor(() => expect(opened.ledger.problem).toBeUndefined(), { timeout: 5000, interval: 50 });
  });

  it('is not survived without a ballast: the negative control', async () => {
    const folder = await smallDisk('8m');
    const disk = { fullPercent: 100, lowPercent: 100, spareBytes: 0 };
    const clock = shiftedClock();
    await using opened = await openLedger({ folder, disk, clock, testing: { ballastBytes: 0 } });
    const { ledger } = opened;
    await ledger.configure(published(site()));
    await ledger.commit(items(outcome(1)));
    await ledger.commit(items(...Array.from({ length: 500 }, (_, at) => outcome(at + 1, { stream: 'before' }))));
    fill(folder);
    await writeUntilFull(ledger);
    clock.shift(31 * DAY_MS);
    expect(await codeOf(ledger.retain(500))).toBe('E_STORAGE_FULL');
    rmSync(join(folder, 'other'));
  });
});
