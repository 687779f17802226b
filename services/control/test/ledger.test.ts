import { readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { LinkHandlers } from '@brink/runtime';
import { describe, expect, it } from 'vitest';
import { openInProcess } from '../src/ledger/in-process.testing.ts';
import { outcome, startControl, until } from './harness.ts';

describe('a device that is forgotten', () => {
  it('is gone from the ledger, the gateways and the broker; the audit says who wanted it', {
    timeout: 20_000,
  }, async () => {
    const asked: string[] = [];
    const handlers: LinkHandlers = {
      forget({ device }) {
        asked.push(device);
        return Promise.resolve({ body: { case: 'forgotten', value: { recordings: 2 } } });
      },
    };
    await using control = await startControl({ handlers });
    await control.publish('brink/cam-1/up/status', { state: 'online' }, true);
    await control.commit(outcome(1), outcome(1, { device: 'cam-2' }));
    const heard = await control.listen('brink/+/state');
    await until('both states are there', () => heard.length >= 2);
    await until('its status is known', async () => (await control.get('/v1/devices/cam-1')).body.state === 'online');

    const forgotten = await control.delete('/v1/devices/cam-1?forget=true');
    expect(forgotten.status).toBe(200);
    expect(forgotten.body).toMatchObject({ device: 'cam-1', done: true, recordings: 2, left: [] });
    expect(forgotten.body.rows).toBeGreaterThan(1);
    expect(asked).toEqual(['cam-1']);
    const { items } = (await control.get('/v1/decisions')).body;
    expect(items.map(({ device }: { device: string }) => device)).toEqual(['cam-2']);
    expect((await control.get('/v1/devices/cam-1')).status).toBe(404);
    // Asked again, where a gateway was away, say.
    expect((await control.delete('/v1/devices/cam-1?forget=true')).body).toMatchObject({ rows: 0, recordings: 2 });
    expect((await control.delete('/v1/devices/cam-9?forget=true')).status).toBe(404);

    const retained = await control.listen('brink/+/state', 'late');
    const statuses = await control.listen('brink/+/up/status', 'later');
    await until('what is retained has come', () => retained.length > 0);
    expect(retained.map(({ topic }) => topic)).toEqual(['brink/cam-2/state']);
    expect(statuses).toEqual([]);
    const audit = (await control.get('/v1/audit')).body.items;
    expect(JSON.stringify(audit)).toContain('/v1/devices/cam-1');
  });

  it('that only is removed leaves its decisions', async () => {
    await using control = await startControl();
    await control.commit(outcome(1));
    expect((await control.delete('/v1/devices/cam-1')).status).toBe(204);
    expect((await control.get('/v1/decisions')).body.items).toHaveLength(1);
    expect((await control.delete('/v1/devices/cam-1?forget=maybe')).status).toBe(400);
    expect((await control.delete('/v1/devices/cam-1?forget=true')).status).toBe(200);
    expect((await control.get('/v1/decisions')).body.items).toEqual([]);
  });
});

describe('forgetting a device', () => {
  it('goes on after a restart where control was killed over it', { timeout: 20_000 }, async () => {
    const folder = await mkdtemp(join(tmpdir(), 'brink-control-'));
    try {
      {
        await using control = await startControl({ folder });
        await control.commit(outcome(1));
      }
      {
        // Its first piece, which writes down that it is to be forgotten, and no more.
        using opened = await openInProcess(join(folder, 'data'));
        expect(opened.perform({ op: 'forget', device: 'cam-1', from: 0 })).toMatchObject({ done: false });
      }
      await using control = await startControl({ folder });
      await until('it is gone', async () => (await control.get('/v1/decisions')).body.items.length === 0);
      await until('that is written down', async () => (await control.get('/v1/devices')).body.items.length === 0);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
});

describe('a ledger that was damaged', () => {
  it('stands in /readyz, the status and /v1/ledger until somebody takes note', { timeout: 20_000 }, async () => {
    const folder = await mkdtemp(join(tmpdir(), 'brink-control-'));
    try {
      {
        await using control = await startControl({ folder });
        await control.commit(outcome(1));
        expect((await control.post('/v1/ledger/copies')).body).toMatchObject({ n: 1 });
        await control.commit(outcome(2));
      }
      const path = join(folder, 'data/ledger.db');
      const bytes = readFileSync(path);
      bytes.fill(0, bytes.indexOf('cam-1.front.k3v9.2.0.pets'), bytes.indexOf('cam-1.front.k3v9.2.0.pets') + 4);
      writeFileSync(path, bytes);
      await using control = await startControl({ folder, unready: true });
      const said = /E_STORAGE_CORRUPT: .*the copy of .*after decision 1 is not in it; .*brink damage accept/;
      const readyz = await fetch(`http://127.0.0.1:${control.service.addresses.ops.port}/readyz`);
      expect([readyz.status, await readyz.text()]).toEqual([503, expect.stringMatching(said)]);
      const status = (await control.get('/v1/status')).body;
      expect([status.ready, status.problems]).toEqual([false, expect.arrayContaining([expect.stringMatching(said)])]);
      expect((await control.get('/v1/ledger')).body.damage).toHaveLength(1);
      // It works all the same.
      await control.commit(outcome(3));
      expect((await control.get('/v1/decisions')).body.items.map(({ n }: { n: number }) => n)).toEqual([3, 1]);
      expect((await control.post('/v1/ledger/damage/accept')).body).toEqual({ accepted: 1 });
      await until('it is ready', () => control.service.problems().length === 0);
      expect((await control.get('/v1/ledger')).body.damage).toEqual([]);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
});
