import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import mqtt from 'mqtt';
import { describe, expect, onTestFinished, test } from 'vitest';
import { soon, startSite, until } from './device.testing.ts';
import type { Device } from './device.ts';
import { Outbox, type OutboxConfig } from './outbox.ts';

const CONTROL = { username: 'control', role: 'control', password: 'c' } as const;
const GATEWAY = { username: 'gateway', role: 'gateway', password: 'g' } as const;

/** A device with an outbox, and somebody who gives receipts by hand. */
async function scene() {
  const folder = mkdtempSync(join(tmpdir(), 'brink-outbox-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const site = await startSite({ users: [CONTROL, GATEWAY] });
  onTestFinished(() => site[Symbol.asyncDispose]());
  const gateway = await mqtt.connectAsync(site.url, { username: 'gateway', password: 'g', reconnectPeriod: 0 });
  onTestFinished(() => gateway.endAsync(true));
  const frames = () => site.up('dev-1', 'frames').map(({ topic }) => topic.split('/').at(-1));
  return {
    site,
    frames,
    device: (o: Partial<OutboxConfig> = {}): Device =>
      site.device({ outbox: { file: join(folder, 'outbox.db'), ...o } }),
    receipt: (boot: string, through: number, rejected: object[] = [], busy_ms = 0) =>
      gateway.publishAsync('brink/dev-1/down/receipts/pump', JSON.stringify({ boot, through, rejected, busy_ms }), {
        qos: 1,
      }),
  };
}
const bytes = (text: string) => Buffer.from(text);

describe('a device with an outbox', () => {
  test('sends a frame again under its name until there is a receipt', async () => {
    const { device: make, frames, receipt } = await scene();
    const device = make();
    await device.start(soon());
    const { boot, seq } = await device.keep('pump', bytes('one'));
    await until(() => frames().length >= 2, 'it comes again');
    expect(new Set(frames())).toEqual(new Set([`${boot}-${seq}`]));
    await receipt(boot, 1);
    await until(() => device.waiting === 0, 'it is gone');
  });

  test('keeps frames over a restart, and sends them under the boot that they had', async () => {
    const { device: make, frames, receipt } = await scene();
    const first = make();
    await first.start(soon());
    await first.keep('pump', bytes('one'));
    await first.keep('pump', bytes('two'));
    await first.stop();
    const before = frames().length;
    const second = make();
    await second.start(soon());
    expect(second.waiting).toBe(2);
    await until(() => frames().length >= before + 2, 'both again');
    expect(frames().slice(before, before + 2)).toEqual([`${first.boot}-1`, `${first.boot}-2`]);
    await receipt(first.boot, 2);
    await until(() => second.waiting === 0, 'both are gone');
  });

  test('is told which frames were refused, and asks again for nothing', async () => {
    const { device: make, receipt } = await scene();
    const device = make();
    const refused: object[] = [];
    device.onRejected((frame) => refused.push(frame));
    await device.start(soon());
    for (const text of ['one', 'two']) await device.keep('pump', bytes(text));
    await receipt(device.boot, 2, [{ seq: 2, code: 'E_TYPE' }]);
    await until(() => device.waiting === 0, 'both are gone');
    expect(refused).toEqual([{ stream: 'pump', boot: device.boot, seq: 2, code: 'E_TYPE' }]);
  });

  test('that is full rejects what is new, or gives up what is oldest and says so', async () => {
    const { device: make, site, receipt } = await scene();
    const strict = make({ framesMax: 2 });
    await strict.start(soon());
    for (const text of ['one', 'two']) await strict.keep('pump', bytes(text));
    await expect(strict.keep('pump', bytes('three'))).rejects.toMatchObject({ code: 'E_STORAGE_FULL' });
    await receipt(strict.boot, 2);
    await until(() => strict.waiting === 0, 'there is room');
    await strict.stop();
    const newest = make({ framesMax: 2, whenFull: 'overwrite-oldest' });
    await newest.start(soon());
    for (const text of ['one', 'two', 'three']) await newest.keep('pump', bytes(text));
    expect(newest.waiting).toBe(2);
    const retired = () => site.up('dev-1', 'retired').map(({ payload }) => payload.toString());
    await until(() => retired().length === 1, 'it is retired');
    expect(JSON.parse(retired()[0] ?? '')).toEqual({ boot: newest.boot, below: 2 });
  });

  test('takes over the file of the first version, and keeps positions from then on', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'brink-outbox-'));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    const file = join(folder, 'outbox.db');
    const old = new DatabaseSync(file);
    old.exec(`CREATE TABLE frame (id INTEGER PRIMARY KEY, stream TEXT NOT NULL, boot TEXT NOT NULL, seq INTEGER NOT NULL,
      type TEXT, payload BLOB NOT NULL) STRICT; PRAGMA user_version = 1`);
    old.prepare('INSERT INTO frame VALUES (1, ?, ?, 7, ?, ?)').run('pump', 'k3v9', 'audio/wav', bytes('one'));
    old.close();
    for (const count of [1, 2]) {
      const outbox = new Outbox({ file });
      await outbox.open();
      const frames = [...outbox.frames('pump')];
      expect(frames).toHaveLength(count);
      expect(outbox.read(frames[0]!)).toEqual({ payload: new Uint8Array(bytes('one')), contentType: 'audio/wav' });
      if (count === 1) outbox.add('pump', { boot: 'k3v9', seq: 8 }, bytes('two'), { at: 160 });
      else expect(outbox.read(frames[1]!)).toEqual({ payload: new Uint8Array(bytes('two')), at: 160 });
      outbox.close();
    }
  });
});
