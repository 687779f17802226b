import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createDevice } from '@brink/device';
import type { Decision } from '@brink/protocol';
import { createMqtt, type DeferredMessage, silentLogger, systemClock } from '@brink/runtime';
import { GenericContainer, type StartedTestContainer, Wait } from 'testcontainers';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import type { List } from '../harness/api.ts';
import { noEngine, titled } from '../harness/engine.ts';
import { type Fleet, repository, startFleet } from '../harness/fleet.ts';
import { freePorts } from '../harness/up.ts';

// The same services on Mosquitto, which most people have already.

const reason = noEngine('eclipse-mosquitto:2');
const cat = readFileSync(join(repository, 'packages/device/pictures/chelsea.jpg'));

describe.skipIf(reason !== undefined)(titled('on Mosquitto', reason), () => {
  let mosquitto: StartedTestContainer;
  let fleet: Fleet;

  beforeAll(async () => {
    const [port = 0] = await freePorts(1);
    mosquitto = await new GenericContainer('eclipse-mosquitto:2')
      .withCopyContentToContainer([
        {
          content:
            'listener 1883\nallow_anonymous true\nmax_packet_size 6000000\nset_tcp_nodelay true\npersistence false\n',
          target: '/mosquitto/config/mosquitto.conf',
        },
      ])
      // A port of our choice: one that Docker chose would be another after a restart.
      .withExposedPorts({ container: 1883, host: port })
      .withWaitStrategy(Wait.forListeningPorts())
      .start();
    fleet = await startFleet({ mqtt: { url: `mqtt://${mosquitto.getHost()}:${mosquitto.getMappedPort(1883)}` } });
  });
  afterAll(async () => {
    await fleet?.[Symbol.asyncDispose]();
    await mosquitto?.stop();
  });

  it.each([4, 5] as const)('turns a cat into a command and an ack, for an MQTT %i client', async (protocolVersion) => {
    const device = `cam-v${protocolVersion}`;
    const feeder = createDevice({ url: fleet.mqttUrl, name: 'feeder-1' });
    const keys: string[] = [];
    feeder.onCommand('open', (_, { key }) => void keys.push(key));
    await feeder.start(AbortSignal.timeout(10_000));
    const client = await fleet.client({ protocolVersion });
    await client.publishAsync(`brink/${device}/up/frames/front`, cat, { qos: 1 });
    const { items } = await fleet.api.until<List<Decision>>(
      `/v1/decisions?device=${device}&pipeline=pets`,
      (list) => list.items.length === 1,
    );
    expect(items[0]).toMatchObject({ label: 'cat', label_text: '猫' });
    const action = `${items[0]!.id}~cat-at-the-flap~0`;
    await fleet.api.until<{ state: string }>(
      `/v1/actions/${encodeURIComponent(action)}`,
      (answer) => answer.state === 'acked',
    );
    expect(keys).toEqual([action]);
    await feeder.stop();
  });

  it('goes on by itself when the broker was restarted and has forgotten everything', async () => {
    await mosquitto.restart();
    const client = await fleet.client();
    // What was retained is told again; until the gateway is back, frames are not seen: send until one is.
    const sending = setInterval(() => client.publish('brink/cam-after/up/frames/front', cat), 250);
    try {
      await fleet.api.until<List<Decision>>('/v1/decisions?device=cam-after', (list) => list.items.length > 0);
    } finally {
      clearInterval(sending);
    }
    const retained = new Promise((resolve) => client.once('message', (topic) => resolve(topic)));
    await client.subscribeAsync('brink/fleet/config');
    expect(await retained).toBe('brink/fleet/config');
  });

  it.each([4, 5] as const)(
    'sends again over MQTT %i what was not acked, in order, and no more than asked for',
    async (version) => {
      const topic = `acks/${version}`;
      const open = async (clean: boolean, name: string) => {
        const mqtt = createMqtt(
          {
            url: fleet.mqttUrl,
            clientId: `${name}-${version}`,
            clean,
            protocolVersion: version,
            receiveMaximum: 3,
            baseMs: 5,
          },
          { logger: silentLogger, clock: systemClock, random: Math.random },
        );
        onTestFinished(() => mqtt.stop());
        return mqtt;
      };
      const receiver = await open(false, 'receiver');
      const got: DeferredMessage[] = [];
      receiver.subscribe(topic, { qos: 1, manualAck: true }, (message) => got.push(message));
      await receiver.start(AbortSignal.timeout(10_000));
      const sender = await open(true, 'sender');
      await sender.start(AbortSignal.timeout(10_000));
      for (const payload of ['1', '2', '3', '4', '5']) await sender.publish(topic, payload, { qos: 1 });
      await expect.poll(() => got.length).toBe(version === 5 ? 3 : 5);
      got[1]!.ack(); // its turn comes after the first
      got[0]!.ack();
      await expect.poll(() => got.length).toBe(5);
      // The acks are with the broker when a message that was sent after them is.
      await receiver.publish('acks/other', '', { qos: 1 });
      receiver.reconnect();
      await expect.poll(() => got.length, { timeout: 5000 }).toBe(8);
      expect(got.slice(5).map(({ payload }) => String(payload))).toEqual(['3', '4', '5']);
      for (const message of got) message.ack();
    },
  );
});
