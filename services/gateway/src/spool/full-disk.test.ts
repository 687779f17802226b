import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { appendFileSync, existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { spoolWith } from '../../test/harness/accidents.ts';
import type { Change } from './messages.ts';
import { folder, frame, spoolIn, WHERE } from './spool.testing.ts';

const MAY_MOUNT = process.getuid?.() === 0 && process.platform === 'linux';
const SKIPPED = MAY_MOUNT ? '' : '(skipped: only root can mount a disk) ';

type Write = (change: Change) => Promise<void>;

/** One by one, until the spool takes no more. @returns those that it took */
async function fillWith(write: Write, bytes: number): Promise<number[]> {
  for (const kept: number[] = []; ; kept.push(kept.length + 1)) {
    const [{ status }] = await Promise.allSettled([write(frame(kept.length + 1, ['bits'], randomBytes(bytes)))]);
    if (status === 'rejected') return kept;
  }
}

const settle = (write: Write, ids: readonly number[]) =>
  Promise.allSettled(ids.map((id) => write({ ...WHERE, settled: { frame: id, pipeline: 'bits' } })));

describe('a spool without room', () => {
  it('says so, lets rows be taken out, and takes frames again when there is room', async () => {
    const path = folder();
    const more = join(path, 'more');
    const { spool, write } = spoolIn(path, spoolWith({ pages: 60, more }));
    await spool.open();
    const kept = await fillWith(write, 20_000);
    expect(kept.length).toBeGreaterThan(5);
    expect(spool.problem).toContain('E_STORAGE_FULL');
    expect((await settle(write, [1, 2])).map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled']);
    expect(spool.problem).toContain('E_STORAGE_FULL');
    await expect(spool.probe()).rejects.toMatchObject({ code: 'E_STORAGE_FULL' });
    await expect(write(frame(900))).rejects.toMatchObject({ code: 'E_STORAGE_FULL' });
    writeFileSync(more, '');
    await spool.probe();
    expect(spool.problem).toBeUndefined();
    await write(frame(901));
    const rows = await spool.load({ stream: 'raw', after: 0, rowsMax: 100, bytesMax: 10_000_000 });
    expect(rows.map(({ id }) => id)).toEqual([...kept.slice(2), 901]);
  });

  it.skipIf(!MAY_MOUNT)(
    `${SKIPPED}on the disk itself can be emptied, and gives back what it took: because of its ballast`,
    async () => {
      const path = disk('40m');
      const { spool, write } = spoolIn(path);
      await spool.open();
      const kept = await fillWith(write, 9000);
      fill(path);
      const fates = await settle(write, kept);
      expect(new Set(fates.map(({ status }) => status))).toEqual(new Set(['fulfilled']));
      expect(existsSync(join(path, 'spool.ballast'))).toBe(false);
      // Its own rows had the room that it needs.
      await spool.probe();
      await write(frame(5000));
    },
  );

  it.skipIf(!MAY_MOUNT)(`${SKIPPED}on the disk itself cannot be emptied without a ballast`, async () => {
    const path = disk('4m');
    const { spool, write } = spoolIn(path, spoolWith({ ballast: 0 }));
    await spool.open();
    const kept = await fillWith(write, 9000);
    fill(path);
    const fates = await settle(write, kept);
    expect(new Set(fates.map(({ status }) => status))).toEqual(new Set(['rejected']));
  });
});

/** A disk of its own, so small that it can be filled. */
function disk(size: string): string {
  const path = folder();
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', path]);
  onTestFinished(() => void execFileSync('umount', ['-l', path]));
  return path;
}

/** Somebody else takes what is left of it. */
function fill(path: string): void {
  const other = join(path, 'other');
  for (let bytes = 4096; bytes >= 1; bytes = Math.floor(bytes / 2)) {
    try {
      for (;;) appendFileSync(other, new Uint8Array(bytes));
    } catch {
      // No more of this size.
    }
  }
}
