import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { silentLogger } from '@brink/runtime';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { SitePlan } from '../ingest/plan.ts';
import { createAppliedConfiguration } from './applied.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'brink-applied-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const published = (approved: string[]) =>
  Buffer.from(
    JSON.stringify({ revision: '0123456789ab', configuration: { version: 1, site: { join: 'approve' } }, approved }),
  );

test('which devices are approved changes without a new revision, and is kept for a start without control', async () => {
  const path = join(folder, 'applied.json');
  const plans: SitePlan[] = [];
  const open = () =>
    createAppliedConfiguration(
      { path, spoolAgeMsMax: 1000 },
      { logger: silentLogger, onApply: (plan) => void plans.push(plan) },
    );
  const first = open();
  first.receive(published(['cam-1']));
  first.receive(published(['cam-1', 'cam-2']));
  await first.saved();
  expect(plans.map(({ approved }) => [...(approved ?? [])])).toEqual([['cam-1'], ['cam-1', 'cam-2']]);
  expect(JSON.parse(await readFile(path, 'utf8')).approved).toEqual(['cam-1', 'cam-2']);

  const second = open();
  await second.load();
  expect(plans.at(-1)?.approved?.has('cam-2')).toBe(true);
  // What the broker kept comes again at each connect; it is not written again.
  const { ino } = await stat(path);
  second.receive(published(['cam-1', 'cam-2']));
  await second.saved();
  expect((await stat(path)).ino).toBe(ino);
  // A site that approves, from a control that told no list: nobody is in, rather than everybody.
  second.receive(
    Buffer.from(JSON.stringify({ revision: 'ba9876543210', configuration: { version: 1, site: { join: 'approve' } } })),
  );
  expect(plans.at(-1)?.approved?.size).toBe(0);
});
