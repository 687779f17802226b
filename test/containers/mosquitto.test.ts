import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createDevice } from '@brink/device';
import type { Decision } from '@brink/protocol';
import { GenericContainer, type StartedTestContainer, Wait } from 'testcontainers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
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
});
