import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { silentLogger, systemClock } from '@brink/runtime';
import { expect, onTestFinished, test } from 'vitest';
import { createCamera } from './camera.ts';
import { soon, startSite, until } from './device.testing.ts';
import { createFeeder } from './feeder.ts';

const d = { clock: systemClock, logger: silentLogger, random: Math.random };

test('a camera sends its pictures in turn, round and round', async () => {
  await using site = await startSite();
  const device = site.device({ name: 'cam-1' });
  const pictures = ['a', 'b', 'c'].map((text) => Buffer.from(text));
  const camera = createCamera({ device, streams: ['front'], pictures, everyMs: 2, times: 2 }, d);
  await device.start(soon());
  await camera.start(soon());
  await until(() => site.up('cam-1', 'frames').length >= 14, 'twice around');
  await camera.stop();
  const sent = site.up('cam-1', 'frames').map(({ payload }) => payload.toString());
  expect(sent.slice(0, 14).join('')).toBe('aabbccaabbccaa');
});

test('a camera that cannot send leaves frames out and goes on when it can', async () => {
  await using site = await startSite();
  const device = site.device({ name: 'cam-1' });
  const camera = createCamera({ device, streams: ['front'], pictures: [Buffer.from('a')], everyMs: 2 }, d);
  await camera.start(soon());
  site.manage(camera);
  await device.start(soon());
  await until(() => site.up('cam-1', 'frames').length > 2, 'frames');
});

test('a feeder opens once per command, after its motor has turned, and refuses a foolish portion', async () => {
  await using site = await startSite();
  const device = site.device({ name: 'feeder-1' });
  const feeder = createFeeder({ device, motorMs: 20 }, d);
  await device.start(soon());
  const startMs = performance.now();
  await site.command('feeder-1', 'open', 'key-1');
  await until(() => site.acks('feeder-1').length === 1, 'the ack');
  expect(performance.now() - startMs).toBeGreaterThanOrEqual(19);
  await site.command('feeder-1', 'open', 'key-1');
  await site.command('feeder-1', 'open', 'key-2', { args: { portion: 99 } });
  await until(() => site.acks('feeder-1').length === 3, 'the other acks');
  expect(site.acks('feeder-1').map(({ status }) => status)).toEqual([200, 200, 409]);
  expect(feeder.opened).toBe(1);
});

test('as a process it sends the shipped pictures, obeys commands, and ends with 0 at SIGTERM', async () => {
  await using site = await startSite();
  const child = spawn(process.execPath, [join(import.meta.dirname, 'simulate.ts')], {
    env: {
      PATH: process.env['PATH'] ?? '',
      BRINK_MQTT_URL: site.url,
      BRINK_SIMULATE_EVERY_MS: '5',
      BRINK_SIMULATE_MOTOR_MS: '5',
    },
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  const exit = new Promise((resolve) => child.once('exit', resolve));
  await until(() => site.up('cam-1', 'frames').length >= 20, 'every picture');
  const picture = (name: string) => readFileSync(join(import.meta.dirname, '..', 'pictures', `${name}.jpg`));
  const sent = site.up('cam-1', 'frames').map(({ payload }) => payload);
  for (const name of ['astronaut', 'camera', 'chelsea', 'coffee', 'rocket']) {
    expect(sent.some((payload) => payload.equals(picture(name)))).toBe(true);
  }
  await site.command('feeder-1', 'open', 'key-1');
  await until(() => site.acks('feeder-1').length === 1, 'the ack');
  child.kill('SIGTERM');
  expect(await exit).toBe(0);
  const states = site.up('cam-1', 'status').map(({ payload }) => JSON.parse(payload.toString()).state);
  expect(states).toEqual(['online', 'offline']);
});
