import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BrinkError } from '@brink/protocol';
import { describe, expect, onTestFinished, test } from 'vitest';
import { soon, startSite, until } from './device.testing.ts';
import { createDevice } from './device.ts';

describe('frames', () => {
  test('are numbered per stream, under a boot that differs from start to start', async () => {
    await using site = await startSite();
    const device = site.device();
    await device.start(soon());
    await device.publish('front', Buffer.from('one'), { qos: 1 });
    await device.publish('front', Buffer.from('two'), { qos: 1, contentType: 'image/jpeg' });
    await device.publish('back', Buffer.from('three'), { qos: 0 });
    await until(() => site.up('dev-1', 'frames').length === 3, 'three frames');
    expect(site.up('dev-1', 'frames').map(({ topic, payload }) => `${topic} ${payload}`)).toEqual([
      `brink/dev-1/up/frames/front/${device.boot}-1 one`,
      `brink/dev-1/up/frames/front/${device.boot}-2 two`,
      `brink/dev-1/up/frames/back/${device.boot}-1 three`,
    ]);
    expect(device.boot).toMatch(/^[0-9a-z]{8}$/);
    expect(site.device().boot).not.toBe(device.boot);
  });

  test('are sent again under the name that they had', async () => {
    await using site = await startSite();
    const device = site.device();
    const name = device.nextFrame('front');
    await expect(device.publish('front', Buffer.from('x'), { as: name })).rejects.toMatchObject({ code: 'E_BROKER' });
    await device.start(soon());
    await device.publish('front', Buffer.from('x'), { as: name, qos: 1 });
    await device.publish('front', Buffer.from('y'), { qos: 1 });
    await until(() => site.up('dev-1', 'frames').length === 2, 'both');
    expect(site.up('dev-1', 'frames').map(({ topic }) => topic.split('-').at(-1))).toEqual(['1', '2']);
  });

  test('beyond the bound are refused, and memory does not grow', async () => {
    await using site = await startSite();
    const device = site.device({ framesWaitingMax: 8 });
    await device.start(soon());
    const sent = await Promise.allSettled(
      Array.from({ length: 20 }, () => device.publish('front', Buffer.alloc(100_000), { qos: 1 })),
    );
    const refused = sent.filter((result) => result.status === 'rejected');
    expect(refused.length).toBeGreaterThan(0);
    for (const { reason } of refused) expect(reason).toMatchObject({ code: 'E_BUSY' });
    await until(() => site.up('dev-1', 'frames').length === 20 - refused.length, 'the others arrive');
  });

  test('names that are none are refused before anything is sent', async () => {
    expect(() => createDevice({ url: 'mqtt://127.0.0.1', name: 'dev/+' })).toThrow(BrinkError);
    await using site = await startSite();
    await expect(site.device().publish('Front', Buffer.from('x'))).rejects.toMatchObject({ code: 'E_NAME' });
  });
});

describe('a program that only sends in the name of a device', () => {
  test('throws nobody out, says nothing of its status and takes no commands', async () => {
    await using site = await startSite();
    const camera = site.device();
    await camera.start(soon());
    const sender = site.device({ clientId: 'sender', sendOnly: true });
    await sender.start(soon());
    await sender.publish('front', Buffer.from('x'), { qos: 1, at: 160 });
    await site.command('dev-1', 'open', 'key-1');
    await until(() => site.acks('dev-1').length > 0, 'the camera answers');
    await sender.stop();
    await camera.publish('front', Buffer.from('y'), { qos: 1 });
    await until(() => site.up('dev-1', 'frames').length === 2, 'frames of both');
    expect(camera.connected).toBe(true);
    expect(site.acks('dev-1')).toHaveLength(1);
    expect(site.up('dev-1', 'status').map(({ payload }) => JSON.parse(payload.toString()).state)).toEqual(['online']);
  });
});

describe('status', () => {
  const states = (site: Awaited<ReturnType<typeof startSite>>) =>
    site.up('dev-1', 'status').map(({ payload }) => JSON.parse(payload.toString()).state);

  test('is online while connected and offline after it has left', async () => {
    await using site = await startSite();
    const device = site.device();
    await device.start(soon());
    await until(() => states(site).length === 1, 'online');
    await device.stop();
    await until(() => states(site).length === 2, 'offline');
    expect(states(site)).toEqual(['online', 'offline']);
  });

  test('is offline by the last will when it vanishes, and online again when it is back, on its own', async () => {
    await using site = await startSite({ anonymous: 'never', users: [...USERS] });
    const device = site.device({ password: 'old' });
    await device.start(soon());
    await until(() => states(site).length === 1, 'online');
    // The broker ends the connection without a DISCONNECT of the device, and lets it in again.
    site.broker.setUsers([USERS[0], { username: 'dev-1', role: 'device', password: 'other' }]);
    await until(() => states(site).at(-1) === 'offline', 'the last will');
    site.broker.setUsers([...USERS]);
    await until(() => states(site).at(-1) === 'online', 'online again');
    expect(device.connected).toBe(true);
  });

  const USERS = [
    { username: 'control', role: 'control', password: 'c' },
    { username: 'dev-1', role: 'device', password: 'old' },
  ] as const;
});

describe('commands', () => {
  test('are carried out and acknowledged', async () => {
    await using site = await startSite();
    const device = site.device();
    const seen: unknown[] = [];
    device.onCommand('open', (args, { key, because, name }) => void seen.push({ args, key, because, name }));
    await device.start(soon());
    await site.command('dev-1', 'open', 'key-1', { args: { portion: 2 } });
    await until(() => site.acks('dev-1').length === 1, 'the ack');
    expect(site.acks('dev-1')).toEqual([{ key: 'key-1', status: 200 }]);
    expect(seen).toEqual([{ args: { portion: 2 }, key: 'key-1', because: 'cam-1.front.boot.1.0.pets', name: 'open' }]);
  });

  test('with a key that was seen are not carried out again, and get the answer that they got', async () => {
    await using site = await startSite();
    const device = site.device();
    let opened = 0;
    device.onCommand('open', () => {
      opened += 1;
      throw new BrinkError('E_ACTION_REFUSED', 'the hopper is empty');
    });
    await device.start(soon());
    for (let turn = 1; turn <= 3; turn++) {
      await site.command('dev-1', 'open', 'key-1');
      await until(() => site.acks('dev-1').length === turn, `ack ${turn}`);
    }
    expect(opened).toBe(1);
    expect(new Set(site.acks('dev-1').map((ack) => JSON.stringify(ack)))).toEqual(
      new Set(['{"key":"key-1","status":409,"error":"the hopper is empty"}']),
    );
  });

  test('that come again while they are carried out get one answer', async () => {
    await using site = await startSite();
    const device = site.device();
    const gate = Promise.withResolvers<void>();
    let opened = 0;
    device.onCommand('open', () => {
      opened += 1;
      return gate.promise;
    });
    device.onCommand('mark', () => {});
    await device.start(soon());
    await site.command('dev-1', 'open', 'key-1');
    await site.command('dev-1', 'open', 'key-1');
    await site.command('dev-1', 'mark', 'key-2');
    await until(() => opened === 1, 'it is being carried out');
    gate.resolve();
    await until(() => site.acks('dev-1').length === 2, 'the answers');
    expect(site.acks('dev-1').map(({ key }) => key)).toEqual(['key-1', 'key-2']);
    expect(opened).toBe(1);
  });

  test('that expired while they waited are refused, not carried out', async () => {
    await using site = await startSite();
    const device = site.device();
    const gate = Promise.withResolvers<void>();
    const done: string[] = [];
    device.onCommand('slow', () => gate.promise);
    device.onCommand('open', (_args, { key }) => void done.push(key));
    await device.start(soon());
    await site.command('dev-1', 'slow', 'key-1');
    await site.command('dev-1', 'open', 'key-2', { expires_ms: 1 });
    await site.command('dev-1', 'open', 'key-3', { expires_ms: 60_000 });
    await site.command('dev-1', 'open', 'key-4', { expires_ms: 0 });
    await new Promise((resolve) => setTimeout(resolve, 20));
    gate.resolve();
    await until(() => site.acks('dev-1').length === 4, 'the answers');
    expect(site.acks('dev-1').map(({ key, status }) => `${key} ${status}`)).toEqual([
      'key-1 200',
      'key-2 410',
      'key-3 200',
      'key-4 410',
    ]);
    expect(done).toEqual(['key-3']);
  });

  test('that are unknown, unreadable, fail or hang are answered by what went wrong', async () => {
    await using site = await startSite();
    const device = site.device({ commandMsMax: 50 });
    let aborted = false;
    device.onCommand('fail', () => {
      throw new Error('motor stuck');
    });
    device.onCommand('hang', (_args, { signal }) => {
      signal.addEventListener('abort', () => {
        aborted = true;
      });
      return new Promise(() => {});
    });
    await device.start(soon());
    await site.command('dev-1', 'fly', 'key-1');
    await site.command('dev-1', 'fail', 'key-2');
    await site.command('dev-1', 'hang', 'key-3');
    await site.command('dev-1', 'fail', 'key-4', { expires_ms: 'soon' });
    await site.control.publishAsync('brink/dev-1/down/commands/fail', 'not json', { qos: 1 });
    await site.control.publishAsync('brink/dev-1/down/commands/fail', '[]', { qos: 1 });
    await until(() => site.acks('dev-1').length === 4, 'the answers');
    const byKey = new Map(site.acks('dev-1').map((ack) => [ack.key, ack]));
    expect(byKey.get('key-1')).toMatchObject({ status: 404, error: 'no command "fly"; known: fail, hang' });
    expect(byKey.get('key-2')).toMatchObject({ status: 500, error: 'motor stuck' });
    expect(byKey.get('key-3')).toMatchObject({ status: 504 });
    expect(byKey.get('key-4')).toMatchObject({ status: 400, error: expect.stringContaining('expires_ms') });
    expect(aborted).toBe(true);
  });

  describe('with a file', () => {
    function temporaryFile(): string {
      const folder = mkdtempSync(join(tmpdir(), 'brink-device-'));
      onTestFinished(() => rmSync(folder, { recursive: true }));
      return join(folder, 'keys');
    }

    async function deliver(keysFile: string | undefined, key: string): Promise<{ opened: number; status: number }> {
      await using site = await startSite();
      const device = site.device(keysFile === undefined ? {} : { keysFile });
      let opened = 0;
      device.onCommand('open', () => {
        opened += 1;
      });
      await device.start(soon());
      await site.command('dev-1', 'open', key);
      await until(() => site.acks('dev-1').length === 1, 'the ack');
      return { opened, status: site.acks('dev-1')[0]!.status };
    }

    test('a key is known after a restart', async () => {
      const file = temporaryFile();
      expect(await deliver(file, 'key-1')).toEqual({ opened: 1, status: 200 });
      expect(await deliver(file, 'key-1')).toEqual({ opened: 0, status: 200 });
    });

    test('negative control: without a file it is carried out twice', async () => {
      expect(await deliver(undefined, 'key-1')).toEqual({ opened: 1, status: 200 });
      expect(await deliver(undefined, 'key-1')).toEqual({ opened: 1, status: 200 });
    });

    test('a command that a crash interrupted is not tried again; a line that was cut short is forgotten', async () => {
      const file = temporaryFile();
      writeFileSync(file, '{"key":"key-1"}\n{"key":"key-2","sta');
      expect(await deliver(file, 'key-1')).toEqual({ opened: 0, status: 500 });
      expect(await deliver(file, 'key-2')).toEqual({ opened: 1, status: 200 });
    });

    test('the last 1,024 keys are kept', async () => {
      const file = temporaryFile();
      const line = (i: number) => `${JSON.stringify({ key: `key-${i}`, status: 200 })}\n`;
      writeFileSync(file, Array.from({ length: 3000 }, (_, i) => line(i)).join(''));
      expect(await deliver(file, 'key-2999')).toEqual({ opened: 0, status: 200 });
      expect(readFileSync(file, 'utf8').trim().split('\n')).toHaveLength(1024);
      expect(await deliver(file, 'key-1')).toEqual({ opened: 1, status: 200 });
    });
  });
});

test('decisions on its own frames are handed over; what cannot be read is left out', async () => {
  await using site = await startSite();
  const device = site.device();
  const labels: (string | undefined)[] = [];
  device.onDecision('front', ({ label }) => void labels.push(label));
  await device.start(soon());
  const decision = {
    v: 1,
    id: 'dev-1.front.boot.1.0.pets',
    n: 1,
    device: 'dev-1',
    stream: 'front',
    pipeline: 'pets',
    outcome: 'decided',
    task: 'classification',
    label: 'cat',
    label_text: '猫',
    score: 0.9,
    frames: { boot: 'boot', first: 1, last: 1, received: 1 },
    model: { name: 'cifar-net', version: 1 },
    received_at: '2026-11-22T16:00:00.123Z',
    latency_ms: 8.4,
    revision: 'c7f1a2c7f1a2',
    something_new: true,
  };
  const topic = 'brink/dev-1/down/decisions/front';
  await site.control.publishAsync(topic, 'not json');
  await site.control.publishAsync('brink/dev-1/down/decisions/back', JSON.stringify(decision));
  await site.control.publishAsync(topic, JSON.stringify(decision));
  await until(() => labels.length === 1, 'the decision');
  expect(labels).toEqual(['cat']);
});
