import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { silentLogger, systemClock } from '@brink/runtime';
import { describe, expect, test } from 'vitest';
import { as, closed, inbox, startBroker, USERS, until } from './broker.testing.ts';
import { SettingsSchema } from './config.ts';
import { createService } from './service.ts';

const MOSQUITTO_PUB = 'mosquitto_pub';
const mosquitto = spawnSync(MOSQUITTO_PUB, ['--version']).error === undefined;

describe('anonymous over loopback', () => {
  test('any client id may send frames as any device, and read all of it', async () => {
    await using fleet = await startBroker();
    const watcher = await fleet.connect({ clientId: 'watcher' });
    const seen = inbox(watcher);
    await watcher.subscribeAsync('brink/#');
    for (const clientId of ['mosq-AbC123xYz', 'auto-1F2E-3D', 'laptop', '']) {
      const client = await fleet.connect({ clientId });
      await client.publishAsync('brink/cam-1/up/frames/front', clientId, { qos: 1 });
    }
    await until(() => seen.length === 4, 'all four frames');
  });

  test.skipIf(!mosquitto)(
    'mosquitto_pub sends a picture with no options but the topic (skipped without mosquitto_pub)',
    async () => {
      await using fleet = await startBroker();
      const watcher = await fleet.connect();
      const seen = inbox(watcher);
      await watcher.subscribeAsync('brink/+/up/frames/#');
      const child = spawn(MOSQUITTO_PUB, [
        ...['-h', '127.0.0.1', '-p', String(fleet.broker.address.port), '-t', 'brink/cam-1/up/frames/front', '-s'],
      ]);
      child.stdin.end(Buffer.alloc(300_000, 7));
      expect(await new Promise((resolve) => child.once('exit', resolve))).toBe(0);
      await until(() => seen.length === 1, 'the picture');
      expect(seen).toEqual(['brink/cam-1/up/frames/front 300000']);
    },
  );

  test('never speaks as a service or as the broker', async () => {
    await using fleet = await startBroker();
    for (const topic of [
      'brink/cam-1/down/commands/open',
      'brink/fleet/config',
      '$SYS/x/new/clients',
      'brink/cam-1/state',
    ]) {
      const client = await fleet.connect();
      const end = closed(client);
      client.publish(topic, 'x');
      await end;
    }
    expect(await fleet.refused('acl_publish')).toBe(4);
  });

  test('is not to be had beyond loopback', async () => {
    await expect(startBroker({ host: '0.0.0.0', anonymous: 'loopback' })).rejects.toMatchObject({ code: 'E_SETTING' });
  });
});

test('the loop of a site: frame up, receipt, decision and command down, acknowledgement up', async () => {
  await using fleet = await startBroker({ users: USERS, anonymous: 'never' });
  const device = await fleet.connect(as('cam-1'));
  const gateway = await fleet.connect(as('gateway', { clientId: 'gateway-1', clean: false }));
  const control = await fleet.connect(as('control', { clientId: 'control-1' }));
  const [down, frames, acks] = [inbox(device), inbox(gateway), inbox(control)];
  await device.subscribeAsync('brink/cam-1/down/#', { qos: 1 });
  await gateway.subscribeAsync('brink/+/up/frames/#', { qos: 1 });
  await control.subscribeAsync('brink/+/up/acks', { qos: 1 });

  await device.publishAsync('brink/cam-1/up/frames/front/boot-1', 'frame', { qos: 1 });
  await gateway.publishAsync('brink/cam-1/down/receipts/front', 'receipt');
  await control.publishAsync('brink/cam-1/down/decisions/front', 'decision');
  await control.publishAsync('brink/cam-1/down/commands/open', 'command', { qos: 1 });
  await device.publishAsync('brink/cam-1/up/acks', 'ack', { qos: 1 });
  await until(() => down.length === 3 && frames.length === 1 && acks.length === 1, 'everything arrives');
  expect(down.sort()).toEqual([
    'brink/cam-1/down/commands/open command',
    'brink/cam-1/down/decisions/front decision',
    'brink/cam-1/down/receipts/front receipt',
  ]);
});

test('a user whose password changes, or who is removed, is disconnected; others stay', async () => {
  await using fleet = await startBroker({ users: USERS, anonymous: 'never' });
  const [one, two, control] = [
    await fleet.connect(as('cam-1')),
    await fleet.connect(as('cam-2')),
    await fleet.connect(as('control')),
  ];
  const ends = Promise.all([closed(one), closed(two)]);
  fleet.broker.setUsers([
    { username: 'control', role: 'control', password: 'c' },
    { username: 'cam-1', role: 'device', password: 'other' },
  ]);
  await ends;
  expect(control.connected).toBe(true);
  expect(await fleet.refused('user_revoked')).toBe(2);
  await expect(fleet.connect(as('cam-1'))).rejects.toThrow();
  await fleet.connect(as('cam-1', { password: 'other' }));
});

test('a port that is taken is E_PORT, naming the address', async () => {
  await using fleet = await startBroker();
  const { port } = fleet.broker.address;
  await expect(startBroker({ port })).rejects.toMatchObject({
    code: 'E_PORT',
    detail: expect.stringContaining(`:${port}`),
  });
});

test('the users file is read again when it changes, and a broken one changes nothing', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'brink-broker-'));
  const file = join(folder, 'users.json');
  const write = (users: unknown) => writeFileSync(file, JSON.stringify({ users }));
  write([USERS[2]]);
  const settings = SettingsSchema.parse({
    BRINK_BROKER_PORT: '0',
    BRINK_OPS_PORT: '0',
    BRINK_BROKER_USERS_FILE: file,
    BRINK_BROKER_ANONYMOUS: 'never',
  });
  const service = createService(settings, { logger: silentLogger, clock: systemClock });
  await service.start(new AbortController().signal);
  try {
    const { connectAsync } = await import('mqtt');
    const enters = async (username: string) => {
      const client = await connectAsync(service.broker.url, { ...as(username), reconnectPeriod: 0 }).catch(
        () => undefined,
      );
      await client?.endAsync(true);
      return client !== undefined;
    };
    expect(await enters('cam-1')).toBe(true);
    expect(await enters('cam-2')).toBe(false);
    writeFileSync(file, '{"users": [');
    expect(await enters('cam-1')).toBe(true);
    write([USERS[2], USERS[3]]);
    await until(() => enters('cam-2'), 'cam-2 is known');
    const device = await connectAsync(service.broker.url, { ...as('cam-1'), reconnectPeriod: 0 });
    const revokedAtMs = performance.now();
    const end = closed(device);
    write([USERS[3]]);
    await end;
    expect(performance.now() - revokedAtMs).toBeLessThan(1000);
    expect(await enters('cam-1')).toBe(false);
  } finally {
    await service.stop();
    rmSync(folder, { recursive: true });
  }
});

describe('as a process', () => {
  const run = (env: Record<string, string>) => {
    const child = spawn(process.execPath, [join(import.meta.dirname, 'main.ts')], {
      env: { PATH: process.env['PATH'] ?? '', BRINK_OPS_PORT: '0', BRINK_BROKER_PORT: '0', ...env },
    });
    let [out, err] = ['', ''];
    child.stdout.on('data', (chunk) => (out += chunk));
    child.stderr.on('data', (chunk) => (err += chunk));
    const exit = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)));
    return { child, exit, out: () => out, err: () => err };
  };

  test('starts, and ends with 0 at SIGTERM', async () => {
    const broker = run({});
    await until(() => broker.out().includes('broker is listening'), 'it listens');
    broker.child.kill('SIGTERM');
    expect(await broker.exit).toBe(0);
  });

  test('a port that is taken is one clear line and exit status 69', async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const port = (server.address() as { port: number }).port;
    const broker = run({ BRINK_BROKER_PORT: String(port) });
    expect(await broker.exit).toBe(69);
    expect(broker.err()).toMatch(/^brink broker: E_PORT: 127\.0\.0\.1:\d+ is already in use[^\n]*\n$/);
    await new Promise((resolve) => server.close(resolve));
  });

  test('a wrong setting is one clear line and exit status 78', async () => {
    const broker = run({ BRINK_BROKER_HOST: '0.0.0.0' });
    expect(await broker.exit).toBe(78);
    expect(broker.err()).toMatch(/^brink broker: E_SETTING: anonymous access[^\n]*\n$/);
  });
});
