import { type Broker, createBroker, type User } from '@brink/broker';
import { ConfigurationSchema, createTopics } from '@brink/protocol';
import { createRegistry, silentLogger, systemClock } from '@brink/runtime';
import { connectAsync, type MqttClient } from 'mqtt';
import { describe, expect, it, onTestFinished } from 'vitest';
import { noMosquitto, startMosquitto } from '../../test/harness/mosquitto.ts';
import { readConfig } from '../config.ts';
import { createBrokerConnections } from '../connections.ts';
import { planOf } from '../ingest/plan.ts';

const topics = createTopics();
const USERS: User[] = [{ username: 'gateway', role: 'gateway', password: 'g' }];
const configuration = ConfigurationSchema.parse({
  version: 1,
  streams: { pump: { format: 'tensor', delivery: 'durable', pipelines: { bits: { model: 'cats' } } } },
});
const PLAN = planOf({ revision: 'aaaaaaaaaaaa', configuration });

async function brokerOn(port: number): Promise<Broker> {
  const broker = createBroker(
    { host: '127.0.0.1', port, anonymous: 'loopback', users: USERS },
    { logger: silentLogger, clock: systemClock, registry: createRegistry('broker') },
  );
  await broker.start(new AbortController().signal);
  return broker;
}

/** A gateway's connections, with a durable stream `pump`, and whoever sends to it. `came` says what is admitted. */
async function scene(other?: { url: string }) {
  let broker = await brokerOn(0);
  const { url } = other ?? broker;
  onTestFinished(() => broker.stop());
  const came: string[] = [];
  /** As a stream that is full: nothing is taken. */
  let isFull = false;
  const settings = readConfig({ BRINK_MQTT_URL: url, BRINK_MQTT_USERNAME: 'gateway', BRINK_OPS_PORT: '0' });
  const status = {
    will: { topic: 'brink/fleet/gateway/gateway-1', payload: '{}', retain: true, qos: 1 as const },
    ...{ connected: async () => {}, refresh: async () => {}, leave: async () => {} },
  };
  const { data, deliveries } = createBrokerConnections(
    { ...settings, mqtt: { ...settings.mqtt, password: 'g' }, topics, status: () => status },
    {
      ...{ logger: silentLogger, clock: systemClock, random: Math.random, registry: createRegistry('gateway') },
      ...{ onConfiguration: () => {}, onRetired: () => {}, onForeign: () => {}, foreignStream: () => undefined },
      onFrame(message) {
        if (isFull) message.abandon?.();
        else {
          came.push(message.payload.toString());
          message.ack?.();
        }
      },
    },
  );
  onTestFinished(() => data.stop());
  onTestFinished(() => deliveries.stop());
  deliveries.apply(PLAN);
  const device = async (): Promise<MqttClient> => {
    const client = await connectAsync(url);
    onTestFinished(() => client.endAsync(true));
    return client;
  };
  const sends = async (...frames: string[]) => {
    const client = await device();
    // Those with a number have it in their topic.
    for (const frame of frames) {
      const number = frame.startsWith('n') ? '' : `/k3v9-${frame}`;
      await client.publishAsync(`brink/dev-1/up/frames/pump${number}`, frame, { qos: 1 });
    }
  };
  return {
    ...{ came, data, deliveries, sends },
    start: { data: () => data.start(soon()), deliveries: () => deliveries.start(new AbortController().signal) },
    full(is: boolean) {
      isFull = is;
    },
    /** The broker loses its memory. */
    async restartBroker() {
      await broker.stop();
      broker = await brokerOn(Number(new URL(url).port));
    },
  };
}
const soon = () => AbortSignal.timeout(5000);

describe('frames of a durable stream that come while its own connection is away', () => {
  const without = `${noMosquitto === undefined ? '' : `(skipped: ${noMosquitto}) `}`;

  async function areTaken(other?: { url: string }): Promise<void> {
    const { start, sends, came, deliveries } = await scene(other);
    await start.data();
    await sends('1', 'n2', '3');
    await expect.poll(() => deliveries.detoured).toBe(3);
    expect(deliveries.problem).toContain('durable stream pump');
    await start.deliveries();
    await expect.poll(() => came).toEqual(['1', 'n2', '3']);
    expect([deliveries.detoured, deliveries.problem]).toEqual([0, undefined]);
    await sends('n4');
    await expect.poll(() => came).toEqual(['1', 'n2', '3', 'n4']);
  }

  it('are taken, with a number and without, where the broker kept no session', () => areTaken());

  it.skipIf(noMosquitto !== undefined)(`${without}the same with Mosquitto`, async () => {
    await using broker = await startMosquitto();
    await areTaken(broker);
  });

  async function comeOnce(other?: { url: string }): Promise<void> {
    const { start, sends, came, deliveries } = await scene(other);
    await start.deliveries();
    await deliveries.stop();
    await sends('1', 'n2');
    await start.data();
    await sends('3', 'n4');
    await expect.poll(() => deliveries.detoured).toBe(2);
    await start.deliveries();
    await expect.poll(() => came).toEqual(['1', 'n2', '3', 'n4']);
    expect(deliveries.detoured).toBe(0);
  }

  it('come once, in their place, where the broker kept it', () => comeOnce());

  it.skipIf(noMosquitto !== undefined)(`${without}come once also with Mosquitto`, async () => {
    await using broker = await startMosquitto();
    await comeOnce(broker);
  });

  it('stay with the broker while the gate is closed; if it loses its memory, they wait here', async () => {
    const { start, sends, came, deliveries, data, full, restartBroker } = await scene();
    await start.deliveries();
    await start.data();
    full(true);
    deliveries.close('pump');
    await sends('1', 'n2');
    expect(deliveries.detoured).toBe(0);
    full(false);
    deliveries.open('pump');
    await expect.poll(() => came).toEqual(['1', 'n2']);
    full(true);
    deliveries.close('pump');
    let back = 0;
    data.onConnect(() => (back += 1));
    await restartBroker();
    await expect.poll(() => back, { timeout: 5000 }).toBe(1);
    await sends('3', 'n4');
    // Its session was made anew though the gate is closed.
    await expect.poll(() => deliveries.detoured).toBe(0);
    await sends('5');
    expect(deliveries.detoured).toBe(0);
    full(false);
    deliveries.open('pump');
    await expect.poll(() => [...new Set(came)].sort()).toEqual(['1', '3', '5', 'n2', 'n4']);
    expect(deliveries.detoured).toBe(0);
  });
});
