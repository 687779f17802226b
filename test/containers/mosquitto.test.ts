import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { type AddressInfo, connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Transform } from 'node:stream';
import { createDevice } from '@brink/device';
import type { Decision, DecisionExplanation } from '@brink/protocol';
import { createMqtt, type Logger, silentLogger, systemClock, watchBrokerVersion } from '@brink/runtime';
import { deferredAckContract } from '@brink/runtime/testing';
import { GenericContainer, type StartedTestContainer, Wait } from 'testcontainers';
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest';
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
            'listener 1883\nallow_anonymous true\nmax_packet_size 6000000\nset_tcp_nodelay true\npersistence false\nsys_interval 1\n',
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

  it('tells how many messages the broker has dropped: a queue of a client that is away was full', async () => {
    const sleeper = await fleet.client({ clientId: 'sleeper', clean: false, protocolVersion: 4 });
    await sleeper.subscribeAsync('elsewhere/#', { qos: 1 });
    await sleeper.endAsync();
    const { host, port } = fleet.control.addresses.ops;
    const dropped = async () => {
      const metrics = await (await fetch(`http://${host}:${port}/metrics`)).text();
      return Number(/^brink_control_broker_dropped_messages\S* (\d+)$/m.exec(metrics)?.[1]);
    };
    expect(await dropped()).toBe(0);
    const teller = await fleet.client();
    // Mosquitto keeps 1000 for a client that is away.
    await Promise.all(Array.from({ length: 1100 }, () => teller.publishAsync('elsewhere/x', 'x', { qos: 1 })));
    await vi.waitFor(async () => expect(await dropped()).toBe(100), { timeout: 20_000, interval: 100 });
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

  it('carries a trace in as a user property and out with the decision, under a span of its own', async () => {
    const trace = '0af7651916cd43dd8448eb211c80319c';
    const sent = `00-${trace}-b7ad6b7169203331-01`;
    const client = await fleet.client({ protocolVersion: 5 });
    await client.subscribeAsync('brink/cam-traced/down/decisions/front');
    const heard = new Promise<[Buffer, unknown]>((resolve) => {
      client.once('message', (_, payload, { properties }) =>
        resolve([payload, properties?.userProperties?.['traceparent']]),
      );
    });
    const properties = { userProperties: { traceparent: sent } };
    await client.publishAsync('brink/cam-traced/up/frames/front', cat, { qos: 1, properties });
    const [payload, feed] = await heard;
    const { id } = JSON.parse(String(payload)) as Decision;
    const { evidence } = await fleet.api.get<DecisionExplanation>(`/v1/decisions/${id}/explain`);
    for (const hop of [feed, evidence.traceparent]) expect(hop).toMatch(new RegExp(`^00-${trace}-[0-9a-f]{16}-01$`));
    expect(new Set([sent, feed, evidence.traceparent]).size).toBe(3);
  });

  it('goes on by itself when the broker was restarted and has forgotten everything, and tells it all again', async () => {
    const device = createDevice({ url: fleet.mqttUrl, name: 'cam-memory' });
    await device.start(AbortSignal.timeout(10_000));
    onTestFinished(() => device.stop());
    await device.publish('front', cat, { qos: 1 });
    await fleet.api.until<List<Decision>>('/v1/decisions?device=cam-memory', (list) => list.items.length > 0);
    await mosquitto.restart();
    const client = await fleet.client();
    const retained = new Set<string>();
    client.on('message', (topic, payload, { retain }) => void (retain && payload.length > 0 && retained.add(topic)));
    // What was subscribed is subscribed again; until then frames are not seen: send until one is.
    const sending = setInterval(() => client.publish('brink/cam-after/up/frames/front', cat), 250);
    try {
      await fleet.api.until<List<Decision>>('/v1/decisions?device=cam-after', (list) => list.items.length > 0);
      const told = [
        'brink/cam-memory/state',
        'brink/cam-memory/up/status',
        'brink/fleet/config',
        'brink/fleet/control/control-1',
        'brink/fleet/gateway/gateway-1',
        'brink/fleet/inference/inference-1',
      ];
      // A new subscription each time: only what the broker keeps comes with the flag.
      const look = async () => {
        await client.unsubscribeAsync('brink/#');
        await client.subscribeAsync('brink/#');
        return told.filter((topic) => !retained.has(topic));
      };
      await expect.poll(look, { timeout: 15_000, interval: 250 }).toEqual([]);
    } finally {
      clearInterval(sending);
    }
  });

  deferredAckContract({ name: 'Mosquitto', url: () => fleet.mqttUrl, versions: [4, 5] });

  it('a frame that the broker would never take is given up by its device, not sent again for ever', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'brink-giant-'));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    const device = createDevice({
      url: fleet.mqttUrl,
      name: 'cam-giant',
      outbox: { file: join(folder, 'outbox.db'), bytesMax: 32_000_000 },
    });
    const refused: object[] = [];
    device.onRejected((frame) => refused.push(frame));
    await device.start(AbortSignal.timeout(10_000));
    onTestFinished(() => device.stop());
    // max_packet_size above is 6,000,000: Mosquitto says so in its CONNACK, and ends the connection over more.
    await device.keep('front', Buffer.alloc(7_000_000));
    await expect.poll(() => refused).toEqual([{ stream: 'front', boot: device.boot, seq: 1, code: 'E_TOO_LARGE' }]);
    await device.keep('front', cat);
    await fleet.api.until<List<Decision>>('/v1/decisions?device=cam-giant', (list) => list.items.length > 0);
    await expect(device.keep('front', Buffer.alloc(17_000_000))).rejects.toMatchObject({ code: 'E_TOO_LARGE' });
  });

  it.skipIf(process.env['BRINK_TEST_SIZE'] !== 'long').each([
    ['as little on its way as half a keepalive brings is no trouble', 4, 0],
    ['negative control: ten times as much, and the answer to a ping comes too late', 40, 1],
  ])(
    'on a slow network, %s (skipped unless BRINK_TEST_SIZE=long)',
    async (_, receiveMaximum, dropsAtLeast) => {
      const slow = await startSlowNetwork(fleet.mqttUrl, 1_000_000);
      const receiver = createMqtt(
        { url: slow, clientId: `slow-${receiveMaximum}`, clean: false, keepaliveS: 1, receiveMaximum, baseMs: 5 },
        { logger: silentLogger, clock: systemClock, random: Math.random },
      );
      onTestFinished(() => receiver.stop());
      const topic = `slow/${receiveMaximum}`;
      const got = new Set<string>();
      let drops = 0;
      receiver.onDisconnect(() => (drops += 1));
      receiver.subscribe(topic, { qos: 1 }, ({ payload }) => void got.add(payload.toString('latin1', 0, 4)));
      await receiver.start(AbortSignal.timeout(10_000));
      const sender = await fleet.client();
      for (let i = 0; i < 40; i++) {
        await sender.publishAsync(topic, Buffer.alloc(100_000, String(1000 + i)), { qos: 1 });
      }
      await expect.poll(() => got.size === 40 || drops > 0, { timeout: 20_000 }).toBe(true);
      if (dropsAtLeast === 0) expect(drops).toBe(0);
      else expect(drops).toBeGreaterThanOrEqual(dropsAtLeast);
    },
    40_000,
  );

  it('is not asked for a retained giant again and again: the broker leaves it out, and the connection stays', async () => {
    const client = await fleet.client();
    await client.publishAsync('giants/kept', Buffer.alloc(50_000), { qos: 1, retain: true });
    const lines: Line[] = [];
    const mqtt = createMqtt(
      { url: fleet.mqttUrl, clientId: 'small', clean: false, packetBytesMax: 10_000, baseMs: 5 },
      { logger: recorder(lines), clock: systemClock, random: Math.random },
    );
    onTestFinished(() => mqtt.stop());
    const got: string[] = [];
    let drops = 0;
    mqtt.subscribe('giants/#', { qos: 1 }, ({ topic }) => void got.push(topic));
    mqtt.onDisconnect(() => (drops += 1));
    watchBrokerVersion(mqtt, { logger: recorder(lines) });
    await mqtt.start(AbortSignal.timeout(10_000));
    await client.publishAsync('giants/small', 'x', { qos: 1 });
    await expect.poll(() => got).toEqual(['giants/small']);
    expect(drops).toBe(0);
    // And its version is read: new enough for what is relied on.
    await expect
      .poll(() => lines.find(({ text }) => text === 'broker')?.said)
      .toMatchObject({
        version: expect.stringMatching(/^mosquitto version 2\./),
      });
    expect(lines.filter(({ level }) => level === 'warn')).toEqual([]);
  });
});

/** A way to the broker on which what comes back is so slow. */
async function startSlowNetwork(to: string, bytesPerSecond: number): Promise<string> {
  const { hostname, port } = new URL(to);
  const server = createServer((client) => {
    const broker = connect({ host: hostname, port: Number(port) });
    const slow = new Transform({
      highWaterMark: 16 * 1024,
      transform: (chunk: Buffer, _, done) => void setTimeout(done, (chunk.length * 1000) / bytesPerSecond, null, chunk),
    });
    for (const socket of [client, broker]) {
      socket.on('error', () => {}).on('close', () => [client.destroy(), broker.destroy()]);
    }
    client.pipe(broker);
    broker.pipe(slow).pipe(client);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  return `mqtt://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

interface Line {
  readonly level: 'info' | 'warn';
  readonly said: object;
  readonly text: string;
}

/** A logger whose lines can be looked at. */
function recorder(lines: Line[]): Logger {
  const at = (level: Line['level']) => (said: object, text: string) => void lines.push({ level, said, text });
  const logger = { ...silentLogger, info: at('info'), warn: at('warn'), debug: () => {}, error: () => {} };
  return Object.assign(logger, { child: () => logger }) as unknown as Logger;
}
