import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '@brink/runtime';
import { onTestFinished } from 'vitest';
import { FIRST_MS } from './ledger.testing.ts';

/** A folder that is gone after the test. */
export async function folderForTest(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'brink-ledger-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** Real time, moved: so that received_at and the ledger's clock belong together, and days can pass. */
export function shiftedClock(atMs = FIRST_MS + 1000) {
  let shiftMs = atMs - Date.now();
  let passedMs = 0;
  return {
    ...systemClock,
    now: () => Date.now() + shiftMs,
    monotonic: () => performance.now() + passedMs,
    /** Time passes: had only the wall clock moved, it would have been set. */
    shift(ms: number) {
      shiftMs += ms;
      passedMs += ms;
    },
  };
}
