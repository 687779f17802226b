import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { fileURLToPath } from 'node:url';
import mqtt from 'mqtt';
import { describe, expect, onTestFinished, test } from 'vitest';
import { soon, startSite, until } from './device.testing.ts';
import { Outbox } from './outbox.ts';

const CONTROL = { username: 'control', role: 'control', password: 'c' } as const;
const GATEWAY = { username: 'gateway', role: 'gateway', password: 'g' } as const;
const CHILD = fileURLToPath(new URL('./outbox-child.testing.ts', import.meta.url));
const LONG = process.env['BRINK_TEST_SIZE'] === 'long';
const KILLS = LONG ? 20 : 4;

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'brink-outbox-'));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** Somebody who takes frames as a gateway does, with cumulative receipts; each third frame is lost on its first way. */
async function takingGateway(url: string) {
  const client = await mqtt.connectAsync(url, { username: 'gateway', password: 'g', reconnectPeriod: 0 });
  onTestFinished(() => client.endAsync(true));
  const taken = new Set<string>();
  const lost = new Set<string>();
  const through = new Map<string, number>();
  client.on('message', (topic) => {
    const [, device, , , stream, id = ''] = topic.split('/');
    const [boot = '', seq] = id.split('-');
    if (Number(seq) % 3 === 0 && !lost.has(id)) {
      lost.add(id);
      return;
    }
    taken.add(id);
    let last = through.get(boot) ?? 0;
    while (taken.has(`${boot}-${last + 1}`)) last += 1;
    through.set(boot, last);
    client.publish(
      `brink/${device}/down/receipts/${stream}`,
      JSON.stringify({ boot, through: last, rejected: [], busy_ms: 0 }),
    );
  });
  await client.subscribeAsync('brink/+/up/frames/#', { qos: 1 });
  return { taken, client };
}

/** A device that is killed again and again. @returns the frames of which it said that it keeps them, and those that arrived */
async function killedDevice(file: string): Promise<{ kept: Set<string>; taken: Set<string> }> {
  const site = await startSite({ users: [CONTROL, GATEWAY] });
  onTestFinished(() => site[Symbol.asyncDispose]());
  const { taken } = await takingGateway(site.url);
  const kept = new Set<string>();
  for (let kills = 0; kills < KILLS; kills++) {
    const child = spawn(process.execPath, [
      '--disable-warning=ExperimentalWarning',
      CHILD,
      site.url,
      'dev-9',
      file,
      '2',
    ]);
    const gone = once(child, 'exit');
    const before = kept.size;
    let rest = '';
    child.stdout.on('data', (chunk: Buffer) => {
      const lines = (rest + chunk.toString()).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) kept.add(line);
    });
    await until(() => kept.size >= before + 20 + 7 * kills, 'it keeps frames');
    child.kill('SIGKILL');
    await gone;
  }
  // Whoever starts next on this file sends what is left.
  const last = site.device({ name: 'dev-9', outbox: { file } });
  await last.start(soon());
  await until(() => last.waiting === 0, 'everything has its receipt');
  return { kept, taken };
}

describe('a device that is killed with kill -9, again and again', () => {
  test('loses no frame that it kept', async () => {
    const { kept, taken } = await killedDevice(join(folder(), 'outbox.db'));
    expect([...kept].filter((id) => !taken.has(id))).toEqual([]);
    expect(kept.size).toBeGreaterThan(20 * KILLS);
  });

  test('loses frames where its outbox is not on the disk: what the test above would see', async () => {
    const { kept, taken } = await killedDevice(':memory:');
    expect([...kept].filter((id) => !taken.has(id)).length).toBeGreaterThan(0);
  });
});

describe('the file of an outbox', () => {
  const opened = async (file: string, o: object = {}) => {
    const outbox = new Outbox({ file, ...o });
    onTestFinished(() => outbox.close());
    await outbox.open();
    return outbox;
  };

  test('that is no database, one of somebody else, or damaged is refused with what to do about it', async () => {
    const file = join(folder(), 'outbox.db');
    writeFileSync(file, 'this is no database, and longer than its header would be'.repeat(100));
    const expected = { code: 'E_STORAGE_CORRUPT', detail: expect.stringContaining('move the file away') };
    await expect(opened(file)).rejects.toMatchObject(expected);
    const foreign = join(folder(), 'foreign.db');
    const db = new DatabaseSync(foreign);
    db.exec('PRAGMA application_id = 7; CREATE TABLE t (x)');
    db.close();
    await expect(opened(foreign)).rejects.toMatchObject({ code: 'E_STORAGE_CORRUPT' });
    const damaged = join(folder(), 'damaged.db');
    const outbox = await opened(damaged);
    for (let seq = 1; seq <= 50; seq++) outbox.add('pump', { boot: 'k3v9', seq }, new Uint8Array(3000));
    outbox.close();
    const bytes = readFileSync(damaged);
    bytes.fill(0xff, 4096, 3 * 4096);
    writeFileSync(damaged, bytes);
    await expect(opened(damaged)).rejects.toMatchObject(expected);
  });

  test('belongs to one process', async () => {
    const file = join(folder(), 'outbox.db');
    (await opened(file)).add('pump', { boot: 'k3v9', seq: 1 }, new Uint8Array(1));
    await expect(opened(file)).rejects.toMatchObject({
      code: 'E_LOCKED',
      detail: expect.stringContaining('one device per outbox'),
    });
  });

  test('is bounded in bytes, too', async () => {
    const outbox = await opened(join(folder(), 'outbox.db'), { bytesMax: 1000, whenFull: 'overwrite-oldest' });
    for (let seq = 1; seq <= 10; seq++) {
      const given = outbox.makeRoom('pump', 300);
      expect(given.map((frame) => frame.seq)).toEqual(seq <= 3 ? [] : [seq - 3]);
      outbox.add('pump', { boot: 'k3v9', seq }, new Uint8Array(300));
    }
    expect(outbox.size).toBe(3);
    expect(() => outbox.makeRoom('other', 900)).toThrow('E_STORAGE_FULL');
  });
});

test('a gateway that is busy gets no frame until the time that it asked for is over', async () => {
  const site = await startSite({ users: [CONTROL, GATEWAY] });
  onTestFinished(() => site[Symbol.asyncDispose]());
  const gateway = await mqtt.connectAsync(site.url, { username: 'gateway', password: 'g', reconnectPeriod: 0 });
  onTestFinished(() => gateway.endAsync(true));
  const device = site.device({ outbox: { file: join(folder(), 'outbox.db') } });
  await device.start(soon());
  const { boot } = await device.keep('pump', Buffer.from('one'));
  const frames = () => site.up('dev-1', 'frames');
  await until(() => frames().length === 1, 'it is sent');
  const busy = { boot, through: 0, rejected: [], busy_ms: 700 };
  const since = performance.now();
  await gateway.publishAsync('brink/dev-1/down/receipts/pump', JSON.stringify(busy), { qos: 1 });
  // Heard by the device when its next message comes back to us.
  await site.command('dev-1', 'none', 'k-1');
  await until(() => site.acks('dev-1').length === 1, 'it heard us');
  await device.keep('pump', Buffer.from('two'));
  await until(() => frames().length >= 2, 'it goes on');
  expect(performance.now() - since).toBeGreaterThan(650);
});

test('a stream that nobody gives receipts for keeps no other one from being sent', async () => {
  const site = await startSite({ users: [CONTROL, GATEWAY] });
  onTestFinished(() => site[Symbol.asyncDispose]());
  const device = site.device({ outbox: { file: join(folder(), 'outbox.db') } });
  await device.start(soon());
  for (let i = 0; i < 200; i++) await device.keep('misspelt', Buffer.from('one'));
  await device.keep('pump', Buffer.from('two'));
  await until(() => site.up('dev-1', 'frames/pump').length > 0, 'the other stream is sent');
});
