import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ConfigurationSchema } from '@brink/protocol';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { listRevisions, loadFiles, loadPublished, savePublished } from './revisions.ts';
import { openStore, type Store } from './store.ts';

let folder: string;
let store: Store;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'brink-revisions-'));
  store = await openStore(folder);
});
afterEach(async () => {
  store.close();
  await rm(folder, { recursive: true, force: true });
});

const configuration = ConfigurationSchema.parse({ version: 1 });
const named = (n: number) => n.toString(16).padStart(12, '0');
const save = (n: number, nowMs: number, text?: string) =>
  savePublished(
    store,
    { revision: named(n), configuration },
    { nowMs, ...(text === undefined ? {} : { files: [{ name: 'site.yaml', text }] }) },
  );
const kept = () => Number(store.sql('SELECT count(*) AS n FROM config_revision').get()?.n);

test('the newest is the one that was activated last, whatever the clock said; what was active already is no activation', () => {
  save(1, 1_000_000);
  save(2, 2_000_000);
  // The clock was put back by a day.
  save(3, 500_000);
  save(3, 600_000);
  expect(loadPublished(store)?.revision).toBe(named(3));
  save(1, 700_000);
  expect(loadPublished(store)?.revision).toBe(named(1));
  expect(listRevisions(store, 10).map(({ revision, previous }) => [revision, previous])).toEqual([
    [named(1), named(3)],
    [named(3), named(2)],
    [named(2), named(1)],
    [named(1), null],
  ]);
});

test('files stay with their revision when it comes back without them', () => {
  save(1, 1, 'version: 1');
  save(2, 2);
  save(1, 3);
  expect(loadFiles(store, named(1))).toEqual([{ name: 'site.yaml', text: 'version: 1' }]);
  expect(loadFiles(store, named(2))).toBeUndefined();
});

test('as many are kept as there is room for, by number and by bytes', () => {
  store.db.exec('BEGIN');
  for (let n = 0; n < 510; n++) save(n, n);
  store.db.exec('COMMIT');
  expect(listRevisions(store, 1000)).toHaveLength(500);
  expect(kept()).toBe(501);
  expect(loadPublished(store)?.revision).toBe(named(509));
  const large = 'x'.repeat(33 * 1024 * 1024);
  for (let n = 600; n < 602; n++) save(n, n, large);
  save(602, 602);
  expect(listRevisions(store, 10).map(({ revision }) => revision)).toEqual([named(602), named(601)]);
  expect(kept()).toBe(3);
});
