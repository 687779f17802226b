import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { type Clock, systemClock } from './clock.ts';
import { silentLogger } from './logger.ts';
import type { Mqtt, MqttMessage, MqttOptions } from './mqtt.ts';
import { createMqtt } from './mqtt-connection.ts';

// The embedded broker stands above this package, so the library under it is looked up by name.
const name = 'aedes';
const { Aedes } = await import(/* @vite-ignore */ name).catch(() => ({ Aedes: undefined }));

type Done = (error: null, value?: unknown) => void;
/** What these tests use of it. */
interface AedesBroker {
  handle: (socket: Socket) => void;
  close(done: () => void): void;
  clients: Record<string, { conn: Socket }>;
  authorizePublish(client: unknown, packet: unknown, done: Done): void;
  authorizeSubscribe(client: unknown, subscription: { topic: string }, done: Done): void;
  authenticate(client: unknown, username: unknown, password: unknown, done: Done): void;
}

const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const fn of undo.splice(0).reverse()) await fn();
});

async function broker(port = 0): Promise<{ url: string; port: number; aedes: AedesBroker; stop(): Promise<void> }> {
  const aedes: AedesBroker = await Aedes.createBroker();
  const server: Server = createServer({ noDelay: true }, aedes.handle);
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  const stop = async () => {
    await new Promise<void>((resolve) => aedes.close(resolve));
    await new Promise<void>((resolve) => server.close(() => resolve()));
  };
  undo.push(stop);
  const address = server.address() as AddressInfo;
  return { url: `mqtt://127.0.0.1:${address.port}`, port: address.port, aedes, stop };
}

function client(o: Partial<MqttOptions> & { url: string }): Mqtt {
  const mqtt = createMqtt(
    { clientId: `c${Math.random().toString(36).slice(2)}`, clean: true, baseMs: 5, capMs: 50, ...o },
    { logger: silentLogger, clock: systemClock, random: Math.random },
  );
  undo.push(() => mqtt.stop());
  return mqtt;
}
const never = new AbortController().signal;

describe.skipIf(Aedes === undefined)('an MQTT connection', () => {
  test('falls back to 3.1.1 where the broker refuses 5, and carries messages', async () => {
    const { url } = await broker();
    const mqtt = client({ url });
    const got: MqttMessage[] = [];
    mqtt.subscribe('brink/+/up/#', { qos: 1 }, (message) => got.push(message));
    await mqtt.start(never);
    expect(mqtt.protocolVersion).toBe(4);
    expect(mqtt.problem).toBeUndefined();
    await mqtt.publish('brink/cam-1/up/frames/front', new Uint8Array([1, 2]), { qos: 1 });
    await mqtt.publish('brink/cam-1/up/status', 'online', { retain: true });
    await expect.poll(() => got.length).toBe(2);
    expect(got[0]).toMatchObject({ topic: 'brink/cam-1/up/frames/front', qos: 1, retain: false });
    expect([...got[0]!.payload]).toEqual([1, 2]);
  });

  test('comes back by itself after the broker was gone, with its subscriptions, and tells so', async () => {
    const first = await broker();
    const mqtt = client({ url: first.url });
    const events: string[] = [];
    let got = 0;
    mqtt.subscribe('t', { qos: 0 }, () => {
      got += 1;
    });
    mqtt.onConnect(() => events.push('up'));
    mqtt.onDisconnect((error) => events.push(error.code));
    await mqtt.start(never);
    await first.stop();
    await expect.poll(() => mqtt.connected).toBe(false);
    await expect(mqtt.publish('t', 'x')).rejects.toMatchObject({ code: 'E_BROKER' });
    expect(mqtt.problem).toContain('ECONNREFUSED');
    await broker(first.port);
    await expect.poll(() => mqtt.connected, { timeout: 5000 }).toBe(true);
    await expect.poll(() => events).toEqual(['up', 'E_BROKER', 'up']);
    await mqtt.publish('t', 'x', { qos: 1 });
    await expect.poll(() => got).toBe(1);
  });

  test('takes a subscription back, in the session too, where it was taken back without a connection', async () => {
    const { url, aedes } = await broker();
    const clientId = 'gateway-1-data';
    const got: string[] = [];
    const hear = ({ topic }: MqttMessage) => got.push(topic);
    const before = client({ url, clientId, clean: false });
    for (const filter of ['a', 'b', 'c']) before.subscribe(filter, { qos: 1 }, hear);
    await before.start(never);
    before.unsubscribe('a');
    await before.publish('u', '', { qos: 1 });
    await before.stop();
    const after = client({ url, clientId, clean: false });
    for (const filter of ['b', 'c']) after.subscribe(filter, { qos: 1 }, hear);
    after.unsubscribe('b');
    await after.start(never);
    const sender = client({ url });
    await sender.start(never);
    for (const topic of ['a', 'b', 'c']) await sender.publish(topic, 'x', { qos: 1 });
    await expect.poll(() => got).toEqual(['c']);
    const { subscriptions } = aedes.clients[clientId] as unknown as { subscriptions: object };
    expect(Object.keys(subscriptions)).toEqual(['c']);
  });

  test('rejects publishes that the broker never acknowledged when the connection ends', async () => {
    const { url, aedes } = await broker();
    aedes.authorizePublish = () => {};
    const mqtt = client({ url });
    await mqtt.start(never);
    const publishing = mqtt.publish('t', 'x', { qos: 1 });
    publishing.catch(() => {});
    await expect.poll(() => Object.keys(aedes.clients).length).toBe(1);
    for (const { conn } of Object.values(aedes.clients)) conn.destroy();
    await expect(publishing).rejects.toMatchObject({ code: 'E_BROKER' });
  });

  test('refuses with E_BUSY what its bounded queue cannot take, and the rest still goes', async () => {
    const { url, aedes } = await broker();
    const held: (() => void)[] = [];
    aedes.authorizePublish = (_client, _packet, done) => void held.push(() => done(null));
    const mqtt = client({ url, outgoingMax: 3 });
    await mqtt.start(never);
    const three = [1, 2, 3].map(() => mqtt.publish('t', 'x', { qos: 1 }));
    await expect(mqtt.publish('t', 'x', { qos: 1 })).rejects.toMatchObject({ code: 'E_BUSY' });
    for (let released = 0; released < 3; released++) {
      await expect.poll(() => held.length).toBeGreaterThan(released);
      held[released]!();
    }
    await Promise.all(three);
    aedes.authorizePublish = (_client, _packet, done) => done(null);
    await mqtt.publish('t', 'x', { qos: 1 });
  });

  test('goes on when a handler throws', async () => {
    const { url } = await broker();
    const mqtt = client({ url });
    let got = 0;
    mqtt.subscribe('t', { qos: 1 }, () => {
      got += 1;
      throw new Error('handler');
    });
    await mqtt.start(never);
    await mqtt.publish('t', 'x', { qos: 1 });
    await mqtt.publish('t', 'y', { qos: 1 });
    await expect.poll(() => got).toBe(2);
    expect(mqtt.connected).toBe(true);
  });

  test('reports a refused subscription as a problem and stays connected', async () => {
    const { url, aedes } = await broker();
    aedes.authorizeSubscribe = (_client, sub, done) => done(null, sub.topic === 'secret' ? null : sub);
    const mqtt = client({ url });
    mqtt.subscribe('secret', { qos: 1 }, () => {});
    mqtt.subscribe('open', { qos: 1 }, () => {});
    await mqtt.start(never);
    expect(mqtt.connected).toBe(true);
    expect(mqtt.problem).toContain('secret');
    expect(mqtt.problem).not.toContain('open');
  });

  test('keeps trying when its credentials are refused, and says so', async () => {
    const { url, aedes } = await broker();
    let right = false;
    aedes.authenticate = (_client, _user, _password, done) => done(null, right);
    const mqtt = client({ url, username: 'u', password: 'p' });
    const started = mqtt.start(never);
    await expect.poll(() => mqtt.problem).toMatch(/refused/i);
    right = true;
    await started;
    expect(mqtt.connected).toBe(true);
  });

  test('waits between attempts by a timer of its own, longer each time, at random up to the cap', async () => {
    const waits: number[] = [];
    const clock: Clock = {
      ...systemClock,
      setTimeout(fn, ms) {
        waits.push(ms);
        return systemClock.setTimeout(fn, 0);
      },
    };
    const mqtt = createMqtt(
      { url: 'mqtt://127.0.0.1:1', clientId: 'c', clean: true, baseMs: 100, capMs: 5000 },
      { logger: silentLogger, clock, random: () => 0.5 },
    );
    undo.push(() => mqtt.stop());
    mqtt.start(never).catch(() => {});
    await expect.poll(() => waits.length).toBeGreaterThanOrEqual(8);
    expect(waits.slice(0, 8)).toEqual([50, 100, 200, 400, 800, 1600, 2500, 2500]);
  });

  test('rejects start with E_BROKER when the signal aborts, and then stops', async () => {
    const mqtt = client({ url: 'mqtt://127.0.0.1:1' });
    const giveUp = new AbortController();
    const started = mqtt.start(giveUp.signal);
    await expect.poll(() => mqtt.problem).toContain('ECONNREFUSED');
    giveUp.abort();
    await expect(started).rejects.toMatchObject({ code: 'E_BROKER' });
    await mqtt.stop();
  });

  test('leaves its will when it is cut, and none when it stops', async () => {
    const { url, aedes } = await broker();
    const watcher = client({ url });
    const wills: string[] = [];
    watcher.subscribe('will/+', { qos: 0 }, ({ topic }) => wills.push(topic));
    await watcher.start(never);
    const polite = client({
      url,
      clientId: 'polite',
      will: { topic: 'will/polite', payload: 'x', retain: false, qos: 0 },
    });
    const cut = client({ url, clientId: 'cut', will: { topic: 'will/cut', payload: 'x', retain: false, qos: 0 } });
    await polite.start(never);
    await cut.start(never);
    await polite.stop();
    aedes.clients['cut']?.conn.destroy();
    await expect.poll(() => wills).toEqual(['will/cut']);
  });
});
