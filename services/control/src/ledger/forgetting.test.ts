import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { systemClock } from '@brink/runtime';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { deadLetter, items, openLedger, outcome, published, site } from './ledger.testing.ts';
import type { Ledger } from './ledger.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'brink-forget-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const reboot = { command: { device: 'cam-1', name: 'reboot', args: {}, expires_ms: 10_000, ack: 'none' as const } };

/** Of two cameras, and of a siren that both of them switch: decisions, actions, states of rules, dead letters. */
async function fill(ledger: Ledger): Promise<void> {
  const siren = [{ command: { device: 'siren-1', name: 'sound' } }];
  await ledger.configure(published(site({ flap: {}, alarm: { does: siren, for: { at_least: 2, of: 3 } } })));
  const nowMs = Date.now();
  for (const device of ['cam-1', 'cam-2']) {
    await ledger.deviceStatus(device, 'online');
    for (let seq = 1; seq <= 3; seq++) await ledger.commit(items(outcome(seq, { device, received_ms: nowMs + seq })));
    await ledger.commit([deadLetter({ device, received_ms: nowMs })]);
  }
  await ledger.order('http.cam-1.xyz', reboot, 'somebody');
  await ledger.retain(100);
}

/** Where in the store a name stands: tables, and bytes of its files. */
function placesOf(name: string): { tables: string[]; files: string[] } {
  const db = new DatabaseSync(join(folder, 'ledger.db'), { readOnly: true });
  const tables = db
    .prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")
    .all()
    .map((row) => String(row.name))
    .filter((table) => JSON.stringify(db.prepare(`SELECT * FROM ${table}`).all()).includes(name));
  db.close();
  const files = ['ledger.db', 'ledger.db-wal'].filter((file) => readFileSync(join(folder, file)).includes(name));
  return { tables: tables.toSorted(), files };
}

describe('a device that is forgotten', () => {
  it('leaves nothing in the ledger but a line that it was forgotten, and others keep all of theirs', async () => {
    await using opened = await openLedger({ folder, clock: systemClock });
    const { ledger } = opened;
    await fill(ledger);
    const others = async () => ({
      decisions: (await ledger.read.decisions({ device: 'cam-2', limit: 10 })).items,
      actions: (await ledger.read.actions({ limit: 50 })).items.filter(({ id }) => id.startsWith('cam-2.')),
      dead: (await ledger.read.dead({ device: 'cam-2', limit: 10 })).items,
      keys: (await ledger.read.ruleStates()).map(({ keys }) => keys.filter(({ key }) => key === 'cam-2')),
    });
    const before = await others();
    expect(before.decisions).toHaveLength(3);
    expect(before.actions.length).toBeGreaterThan(1);
    expect(await ledger.forget('cam-1')).toBeGreaterThan(8);
    expect(await ledger.read.unforgotten()).toEqual(['cam-1']);
    await ledger.forgot('cam-1');
    expect([await ledger.read.unforgotten(), await ledger.read.hasTraces('cam-1')]).toEqual([[], true]);
    await ledger.look();
    expect(placesOf('cam-1')).toEqual({ tables: ['forgotten'], files: ['ledger.db'] });
    expect(placesOf('cam-1.front')).toEqual({ tables: [], files: [] });
    expect(await others()).toEqual(before);
    expect((await ledger.read.counts()).map(({ device }) => device)).toEqual(['cam-2']);
  });

  it('is not taken up again by what a gateway sends late, and begins anew when it comes back', async () => {
    await using opened = await openLedger({ folder, clock: systemClock });
    const { ledger } = opened;
    await fill(ledger);
    await ledger.forget('cam-1');
    const late = outcome(9, { device: 'cam-1', received_ms: Date.now() - 1000 });
    expect(await ledger.commit([...items(late), deadLetter({ received_ms: Date.now() - 1000 })])).toEqual({
      inserted: 0,
      duplicates: 2,
    });
    await ledger.deviceStatus('cam-1', 'offline');
    expect(await ledger.read.device('cam-1')).toBeUndefined();
    const fresh = outcome(10, { device: 'cam-1', received_ms: Date.now() + 1000 });
    expect(await ledger.commit(items(fresh))).toEqual({ inserted: 1, duplicates: 0 });
    expect((await ledger.read.decisions({ device: 'cam-1', limit: 10 })).items).toHaveLength(1);
  });

  it('that left much goes in pieces, and its rules begin anew', async () => {
    await using opened = await openLedger({ folder, clock: systemClock });
    const { ledger } = opened;
    const nowMs = Date.now();
    for (let from = 1; from < 2300; from += 400) {
      const seqs = Array.from({ length: 400 }, (_, index) => from + index);
      await ledger.commit(items(...seqs.map((seq) => outcome(seq, { received_ms: nowMs }))));
    }
    const groups = ledger.stats.groups;
    expect(await ledger.forget('cam-1')).toBeGreaterThan(2300);
    expect(ledger.stats.groups - groups).toBeGreaterThan(2);
    expect(ledger.stats.rows).toBe(0);
  });

  it('negative control: one that is only removed leaves everything', async () => {
    await using opened = await openLedger({ folder, clock: systemClock });
    await fill(opened.ledger);
    await opened.ledger.deleteDevice('cam-1');
    await opened.ledger.look();
    expect(placesOf('cam-1').tables).toEqual(expect.arrayContaining(['action', 'decision', 'lane', 'rule_state']));
    expect(placesOf('cam-1.front').files).toContain('ledger.db');
  });
});
