import { ConfigurationSchema } from '@brink/protocol';
import { createMqtt, silentLogger, systemClock } from '@brink/runtime';
import { deferredAckContract } from '@brink/runtime/testing';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { startBroker, type TestBroker, USERS } from './broker.testing.ts';

// The services' own MQTT client on this broker; the same on Mosquitto: test/containers/mosquitto.test.ts.

let fleet: TestBroker;
beforeAll(async () => {
  fleet = await startBroker();
});
afterAll(() => fleet[Symbol.asyncDispose]());

deferredAckContract({ name: 'the embedded broker', url: () => fleet.broker.url, versions: [4] });

test('a broker that was restarted has forgotten the configuration: its gateway asks again until control has told it', async () => {
  const port = await (async () => {
    await using before = await startBroker({ users: USERS });
    return before.broker.address.port;
  })();
  const streams = { front: { format: 'image', topics: ['frigate/{device}/snapshot'], pipelines: {} } };
  const configuration = ConfigurationSchema.parse({ version: 1, streams });
  const seen: string[] = [];
  const client = (username: 'gateway' | 'control') => {
    const password = USERS.find((user) => user.username === username)?.password ?? '';
    const o = { clientId: username, username, password, clean: true, baseMs: 5, capMs: 50, keepaliveS: 60 };
    const mqtt = createMqtt(
      { url: `mqtt://127.0.0.1:${port}`, ...o },
      { logger: silentLogger, clock: systemClock, random: () => 0.1 },
    );
    onTestFinished(() => mqtt.stop());
    return mqtt;
  };
  const [gateway, control] = [client('gateway'), client('control')];
  gateway.subscribe('frigate/+/snapshot', { qos: 1 }, ({ topic }) => void seen.push(topic));
  const tell = () =>
    control.publish('brink/fleet/config', JSON.stringify({ revision: 'c7f1a2b3d4e5', configuration }), { qos: 1 });
  for (let life = 1; life <= 2; life++) {
    await using fleet = await startBroker({ users: USERS, port });
    if (life === 1) await Promise.all([gateway, control].map((mqtt) => mqtt.start(AbortSignal.timeout(5000))));
    await expect.poll(() => gateway.connected && control.connected).toBe(true);
    await expect.poll(() => gateway.problem).toContain('frigate/+/snapshot');
    await tell();
    await expect.poll(() => gateway.problem).toBeUndefined();
    await control.publish('frigate/front/snapshot', 'x', { qos: 1 });
    await expect.poll(() => seen.length).toBe(life);
    expect(await fleet.refused('acl_subscribe')).toBeGreaterThan(0);
  }
});
