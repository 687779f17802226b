import { createBroker, type User } from '@brink/broker';
import { createTopics } from '@brink/protocol';
import { createRegistry, silentLogger, systemClock } from '@brink/runtime';
import { connectAsync } from 'mqtt';
import { expect, onTestFinished, test } from 'vitest';
import { readConfig } from './config.ts';
import { createBrokerConnections, receiveMaximumFor } from './connections.ts';
import type { FrameMessage } from './ingest/arrival.ts';

const topics = createTopics();
const USERS: User[] = [
  { username: 'gateway', role: 'gateway', password: 'g' },
  { username: 'control', role: 'control', password: 'c' },
];

test.each([
  [2048, 512],
  [128 * 1024, 512],
  [1024 * 1024, 64],
  [4 * 1024 * 1024, 16],
  [16 * 1024 * 1024, 4],
])('frames of %i bytes: %i may be on their way at once', (bytes, receiveMaximum) => {
  expect(receiveMaximumFor(bytes)).toBe(receiveMaximum);
});

async function startBroker() {
  const broker = createBroker(
    { host: '127.0.0.1', port: 0, anonymous: 'loopback', users: USERS },
    { logger: silentLogger, clock: systemClock, registry: createRegistry('broker') },
  );
  await broker.start(new AbortController().signal);
  onTestFinished(() => broker.stop());
  return broker;
}

function connectionsTo(url: string, d: { onFrame?: (message: FrameMessage) => void; onConfiguration?: () => void }) {
  const settings = readConfig({ BRINK_MQTT_URL: url, BRINK_MQTT_USERNAME: 'gateway', BRINK_OPS_PORT: '0' });
  const told: string[] = [];
  const status = {
    will: {
      topic: topics.format({ kind: 'fleet', service: 'gateway', instance: 'gateway-1' }),
      payload: '{}',
      retain: true,
      qos: 1 as const,
    },
    connected: async () => void told.push('status'),
    refresh: async () => {},
    leave: async () => {},
  };
  const connections = createBrokerConnections(
    { ...settings, mqtt: { ...settings.mqtt, password: 'g' }, topics, status: () => status },
    {
      logger: silentLogger,
      clock: systemClock,
      random: Math.random,
      registry: createRegistry('gateway'),
      onConfiguration: () => d.onConfiguration?.(),
      onFrame: (message) => d.onFrame?.(message),
      onRetired: () => {},
      onForeign: () => {},
      foreignStream: () => undefined,
    },
  );
  onTestFinished(() => connections.data.stop());
  onTestFinished(() => connections.fleet.stop());
  return { ...connections, told };
}

test('frames that nobody acks, and the end of their connection, are nothing to that of configuration and status', async () => {
  const broker = await startBroker();
  const frames: FrameMessage[] = [];
  let configurations = 0;
  const mine = connectionsTo(broker.url, {
    onFrame: (message) => frames.push(message),
    onConfiguration: () => (configurations += 1),
  });
  await mine.fleet.start(AbortSignal.timeout(5000));
  await mine.data.start(AbortSignal.timeout(5000));
  const control = await connectAsync(broker.url, { clientId: 'control', username: 'control', password: 'c' });
  onTestFinished(() => control.endAsync(true));
  const device = await connectAsync(broker.url);
  onTestFinished(() => device.endAsync(true));
  for (let seq = 1; seq <= 300; seq++) device.publish(`brink/cam-1/up/frames/front/k3v9-${seq}`, 'x', { qos: 1 });
  await expect.poll(() => frames.length).toBe(300);
  // None is acked. What control says, and what the gateway says of itself, passes all the same.
  await control.publishAsync('brink/fleet/config', '{}', { qos: 1, retain: true });
  await expect.poll(() => configurations).toBe(1);
  await mine.fleet.publish('brink/fleet/gateway/gateway-1', '{}', { qos: 1, retain: true });

  let dropped = 0;
  mine.fleet.onDisconnect(() => (dropped += 1));
  let again = 0;
  mine.data.onConnect(() => (again += 1));
  mine.data.reconnect();
  await mine.fleet.publish('brink/fleet/gateway/gateway-1', '{}', { qos: 1, retain: true });
  await expect.poll(() => again).toBe(1);
  expect([dropped, mine.told]).toEqual([0, ['status']]);
});
