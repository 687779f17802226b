import { statSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { Outcome } from '@brink/protocol';
import { describe, expect, it } from 'vitest';
import { folderForTest } from './folder.testing.ts';
import { deadLetter, items, openLedger, outcome, published, site } from './ledger.testing.ts';
import { createRoom } from './room.ts';
import { openStore } from './store.ts';

const many = (count: number, fields: Partial<Outcome> = {}) =>
  items(...Array.from({ length: count }, (_, at) => outcome(at + 1, { received_ms: Date.now(), ...fields })));

describe('retention', () => {
  it('by rows deletes the oldest decisions beyond, and counts rows, not numbers', async () => {
    await using opened = await openLedger({ retainRows: 100 });
    const { ledger } = opened;
    const quiet = site({});
    if (quiet.streams.front?.pipelines.pets) quiet.streams.front.pipelines.pets.keep = 'changes';
    await ledger.configure(published(quiet));
    await ledger.commit(many(300));
    expect(await ledger.retain(1000)).toEqual({ deleted: 0 });
    await ledger.commit(many(150, { pipeline: 'scene' }));
    expect(await ledger.retain(1000)).toEqual({ deleted: 51 });
    expect(ledger.stats.rows).toBe(100);
    const { items: left } = await ledger.read.decisions({ after: 0, limit: 500 });
    expect([left.length, left[0]?.n, left.at(-1)?.n]).toEqual([100, 351, 450]);
    // What is gone was committed all the same.
    expect(await ledger.commit(many(150, { pipeline: 'scene' }))).toEqual({ inserted: 0, duplicates: 150 });
  });

  it('by rows deletes the oldest refused frames and ended actions beyond too, not what a rule will act on', async () => {
    await using opened = await openLedger({ retainRows: 10 });
    const { ledger } = opened;
    const lamp = [{ mqtt: { topic: 'zigbee2mqtt/lamp', payload: 'ON' } }];
    const held = { does: lamp, when: 'decision.label == "dog"', for: { ms: 3_600_000 } };
    await ledger.configure(published(site({ flap: { does: lamp, stale_ms_max: 1 }, held })));
    const result = { task: 'classification' as const, label: 'dog', score: 0.9 };
    await ledger.commit(items(outcome(1, { result, received_ms: Date.now() })));
    const letters = Array.from({ length: 30 }, (_, at) => deadLetter({ seq: at + 1, received_ms: Date.now() }));
    await ledger.commit(letters);
    // Each of another device, and each suppressed at once: thirty actions that have ended.
    const old = Date.now() - 1000;
    const seen = Array.from({ length: 30 }, (_, at) => outcome(1, { device: `cam-${at + 2}`, received_ms: old }));
    await ledger.commit(items(...seen));
    expect(await ledger.read.actionCounts()).toEqual({ suppressed: 30 });
    for (let round = 0; round < 10 && (await ledger.retain(500)).deleted > 0; round++);
    expect(await ledger.read.actionCounts()).toEqual({ suppressed: 10 });
    expect((await ledger.read.dead({ limit: 100 })).items).toHaveLength(10);
    const left = (await ledger.read.decisions({ after: 0, limit: 100 })).items.map(({ n }) => n);
    expect([left.length, left[0]]).toEqual([11, 1]);
  });

  it('by bytes deletes the oldest decisions until the file holds no more than it may', async () => {
    const retainBytes = 1024 * 1024;
    await using opened = await openLedger({ retainBytes });
    const { ledger } = opened;
    await ledger.commit(many(1500));
    expect(ledger.stats.bytes).toBeGreaterThan(retainBytes * 1.5);
    for (let round = 0; round < 10 && (await ledger.retain(500)).deleted > 0; round++);
    expect(ledger.stats.bytes).toBeLessThanOrEqual(retainBytes);
    expect(ledger.stats.rows).toBeGreaterThan(200);
    const { items: left } = await ledger.read.decisions({ limit: 1 });
    expect(left[0]?.n).toBe(1500);
    // Free pages are used again: the file need not grow.
    const { bytes } = ledger.stats;
    await ledger.commit(many(100, { pipeline: 'scene' }));
    expect(ledger.stats.bytes).toBeLessThan(bytes + 300 * 1024);
  });
});

describe('the write-ahead log', () => {
  it('is emptied when it is looked after; a reader in its way is waited for a moment, not longer', async () => {
    const folder = await folderForTest();
    const store = await openStore(folder);
    const walBytes = () => statSync(join(folder, 'ledger.db-wal')).size;
    const room = createRoom(store, folder, () => store.db.exec('PRAGMA wal_checkpoint(TRUNCATE)'), 4096);
    const write = () => store.db.exec("INSERT INTO meta VALUES ('blob' || random(), zeroblob(1000000))");
    const reader = new DatabaseSync(join(folder, 'ledger.db'), { readOnly: true });
    write();
    reader.exec('BEGIN');
    reader.prepare('SELECT count(*) FROM meta').get();
    write();
    const began = performance.now();
    room.look();
    expect(performance.now() - began).toBeLessThan(3000);
    expect(walBytes()).toBeGreaterThan(1_000_000);
    expect(room.short).toBe(false);
    reader.exec('COMMIT');
    room.look();
    expect(walBytes()).toBe(0);
    reader.close();
    store.close();
  });
});
