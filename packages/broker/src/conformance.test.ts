import type { MqttClient } from 'mqtt';
import { describe, expect, test } from 'vitest';
import { startBroker, type TestBroker, until } from './broker.testing.ts';
import { SettingsSchema } from './config.ts';

// Each behaviour that the ten MQTT 3.1.1 client tests of Eclipse Paho's suite (github.com/eclipse/paho.mqtt.testing,
// interoperability/client_test.py) check, in our own words, with what its client does without saying so: no keepalive, client ids
// with spaces, connections that are left open. The suite runs without credentials over loopback.

const TOPICS = { a: 'TopicA', ab: 'TopicA/B', c: 'Topic/C', ac: 'TopicA/C', slash: '/TopicA' };
const NO_SUBSCRIBE = 'test/nosubscribe';

interface Arrived {
  topic: string;
  payload: string;
  qos: number;
  retain: boolean;
  dup: boolean;
}

function arrivals(client: MqttClient): Arrived[] {
  const all: Arrived[] = [];
  client.on('message', (topic, payload, { qos, retain, dup }) =>
    all.push({ topic, payload: payload.toString(), qos, retain, dup }),
  );
  return all;
}

/** Everything that was sent to this client before has arrived: a message of its own comes back after it. */
async function settled(client: MqttClient, got: Arrived[]): Promise<Arrived[]> {
  await client.subscribeAsync('settled/x', { qos: 0 });
  await client.publishAsync('settled/x', '');
  await until(() => got.some(({ topic }) => topic === 'settled/x'), 'its own message');
  return got.filter(({ topic }) => topic !== 'settled/x');
}

const connect = (fleet: TestBroker, clientId: string, options: object = {}) =>
  fleet.connect({ clientId, keepalive: 0, ...options });

/** As `brink up` starts it: no credentials over loopback, and a filter that nobody may subscribe to. */
const start = () => startBroker({ noSubscribe: [NO_SUBSCRIBE] });

test('basic: connect, publish at each QoS, disconnect, connect again', async () => {
  await using fleet = await start();
  const once = await connect(fleet, 'my client id');
  await once.endAsync();
  const client = await connect(fleet, 'my client id');
  const got = arrivals(client);
  await client.subscribeAsync(TOPICS.a, { qos: 2 });
  for (const qos of [0, 1, 2] as const) await client.publishAsync(TOPICS.a, `qos ${qos}`, { qos });
  expect((await settled(client, got)).map(({ payload, qos }) => [payload, qos])).toEqual([
    ['qos 0', 0],
    ['qos 1', 1],
    ['qos 2', 2],
  ]);
});

describe('basic: what is no second chance', () => {
  const CONNECT = Buffer.from([0x10, 13, 0, 4, ...Buffer.from('MQTT'), 4, 2, 0, 0, 0, 1, 0x61]);
  const answers = async (fleet: TestBroker, bytes: Buffer, atLeast: number) => {
    const socket = await fleet.raw();
    const got: number[] = [];
    socket.on('data', (chunk: Buffer) => got.push(...chunk));
    socket.write(bytes);
    await until(() => socket.destroyed || (atLeast > 0 && got.length >= atLeast), 'an answer, or the end');
    return { socket, got };
  };

  test('a second CONNECT on the same connection ends it', async () => {
    await using fleet = await start();
    const { socket, got } = await answers(fleet, CONNECT, 4);
    expect(got).toEqual([0x20, 2, 0, 0]);
    socket.write(CONNECT);
    await until(() => socket.destroyed, 'it is closed');
    expect(got).toHaveLength(4);
  });

  test('an unknown protocol name is not let in', async () => {
    await using fleet = await start();
    const { got } = await answers(
      fleet,
      Buffer.from([0x10, 11, 0, 2, ...Buffer.from('hj'), 4, 2, 0, 0, 0, 1, 0x61]),
      0,
    );
    expect(got).toEqual([]);
    expect(await fleet.refused('malformed')).toBe(1);
  });
});

test('retained messages: delivered to a new subscription, gone with an empty payload', async () => {
  await using fleet = await start();
  const client = await connect(fleet, 'a');
  const topics = [TOPICS.ab, TOPICS.c, TOPICS.ac];
  for (const [qos, topic] of topics.entries()) {
    await client.publishAsync(topic, `qos ${qos}`, { qos: qos as 0 | 1 | 2, retain: true });
  }
  const got = arrivals(client);
  await client.subscribeAsync('+/+', { qos: 2 });
  await until(() => got.length >= 3, 'all three');
  expect((await settled(client, got)).map(({ topic, retain }) => [topic, retain]).sort()).toEqual(
    topics.map((topic) => [topic, true]).sort(),
  );
  await client.endAsync();

  const again = await connect(fleet, 'a');
  for (const [qos, topic] of topics.entries()) {
    await again.publishAsync(topic, '', { qos: qos as 0 | 1 | 2, retain: true });
  }
  const none = arrivals(again);
  await again.subscribeAsync('+/+', { qos: 2 });
  expect(await settled(again, none)).toEqual([]);
});

test('will message: published when a connection ends without DISCONNECT, and only then', async () => {
  await using fleet = await start();
  const will = { topic: TOPICS.c, payload: Buffer.from('client not disconnected'), qos: 2 as const };
  const watcher = await connect(fleet, 'b', { clean: false });
  const got = arrivals(watcher);
  await watcher.subscribeAsync(TOPICS.c, { qos: 2 });
  const orderly = await connect(fleet, 'a', { will });
  await orderly.endAsync();
  const lost = await connect(fleet, 'a', { will });
  lost.stream.destroy();
  await until(() => got.length > 0, 'the will');
  expect((await settled(watcher, got)).map(({ payload, qos }) => [payload, qos])).toEqual([
    ['client not disconnected', 2],
  ]);
});

test('zero length client id: rejected with clean session 0, taken with 1', async () => {
  await using fleet = await start();
  const socket = await fleet.raw();
  const got: number[] = [];
  socket.on('data', (chunk: Buffer) => got.push(...chunk));
  socket.write(Buffer.from([0x10, 12, 0, 4, ...Buffer.from('MQTT'), 4, 0, 0, 0, 0, 0]));
  await until(() => socket.destroyed, 'it is closed');
  expect(got).toEqual([0x20, 2, 0, 2]);
  const clean = await connect(fleet, '', { clean: true });
  expect(clean.connected).toBe(true);
});

test('offline message queueing: what comes while a session resumes comes behind what waited', async () => {
  await using fleet = await start();
  const first = await connect(fleet, 'a', { clean: false });
  await first.subscribeAsync(TOPICS.c, { qos: 1 });
  await first.endAsync();
  const sender = await connect(fleet, 'b');
  const sent: number[] = [];
  const send = async (): Promise<void> => {
    sent.push(sent.length);
    await sender.publishAsync(TOPICS.c, String(sent.length - 1), { qos: 1 });
  };
  for (let i = 0; i < 300; i++) await send();
  const back = connect(fleet, 'a', { clean: false });
  let resuming = true;
  const publishing = (async () => {
    while (resuming || sent.length < 600) await send();
  })();
  const again = await back;
  const got = arrivals(again);
  await until(() => got.length >= 100, 'what waited');
  resuming = false;
  await publishing;
  await until(() => got.length >= sent.length - 100, 'the rest');
  const numbers = (await settled(again, got)).map(({ payload }) => Number(payload));
  expect(numbers).toEqual([...numbers].sort((x, y) => x - y));
  expect(new Set(numbers).size).toBe(numbers.length);
  expect(numbers.at(-1)).toBe(sent.length - 1);
});

test('offline message queueing: a stored session gets what came meanwhile, and CONNACK says that it is there', async () => {
  await using fleet = await start();
  const options = { clean: false };
  const first = await connect(fleet, 'a', options);
  await first.subscribeAsync('+/+', { qos: 2 });
  await first.endAsync();
  const sender = await connect(fleet, 'b');
  for (const [qos, topic] of [TOPICS.ab, TOPICS.c, TOPICS.ac].entries()) {
    await sender.publishAsync(topic, `qos ${qos}`, { qos: qos as 0 | 1 | 2 });
  }
  await sender.endAsync();

  const socket = await fleet.raw();
  const bytes: number[] = [];
  socket.on('data', (chunk: Buffer) => bytes.push(...chunk));
  socket.write(Buffer.from([0x10, 13, 0, 4, ...Buffer.from('MQTT'), 4, 0, 0, 0, 0, 1, 0x61]));
  await until(() => bytes.length >= 4, 'CONNACK');
  expect(bytes.slice(0, 4)).toEqual([0x20, 2, 1, 0]);
  // None of what that connection got was acknowledged; the next one gets it (again) and takes it over.
  const back = await connect(fleet, 'a', options);
  const got = arrivals(back);
  await until(() => got.length >= 2, 'QoS 1 and 2');
  expect((await settled(back, got)).map(({ payload }) => payload)).toEqual(['qos 1', 'qos 2']);
});

test('overlapping subscriptions: one message, at the higher QoS', async () => {
  await using fleet = await start();
  const client = await connect(fleet, 'a');
  const got = arrivals(client);
  await client.subscribeAsync({ 'TopicA/#': { qos: 2 }, 'TopicA/+': { qos: 1 } });
  await client.publishAsync(TOPICS.ac, 'overlapping', { qos: 2 });
  await until(() => got.length > 0, 'the message');
  expect((await settled(client, got)).map(({ payload, qos }) => [payload, qos])).toEqual([['overlapping', 2]]);
});

test('keepalive: whoever says nothing for one and a half of it is disconnected, and its will published', async () => {
  await using fleet = await start();
  const watcher = await connect(fleet, 'b');
  const got = arrivals(watcher);
  await watcher.subscribeAsync(TOPICS.slash, { qos: 2 });
  const socket = await fleet.raw();
  const will = Buffer.concat([
    Buffer.from([0, 7]),
    Buffer.from(TOPICS.slash),
    Buffer.from([0, 6]),
    Buffer.from('silent'),
  ]);
  // keepalive 1 s, last will at QoS 2
  const variable = Buffer.from([0, 4, ...Buffer.from('MQTT'), 4, 0x16, 0, 1, 0, 1, 0x61]);
  socket.write(Buffer.concat([Buffer.from([0x10, variable.length + will.length]), variable, will]));
  const beganMs = performance.now();
  await until(() => got.length > 0, 'the will');
  expect(performance.now() - beganMs).toBeGreaterThanOrEqual(1400);
  expect(got.map(({ payload }) => payload)).toEqual(['silent']);
  expect(await fleet.refused('keepalive_timeout')).toBe(1);
  expect(watcher.connected).toBe(true);
});

test('redelivery on reconnect: what was not acknowledged comes again', async () => {
  await using fleet = await start();
  const connectB = Buffer.from([0x10, 13, 0, 4, ...Buffer.from('MQTT'), 4, 0, 0, 0, 0, 1, 0x62]);
  const socket = await fleet.raw();
  const bytes: number[] = [];
  socket.on('data', (chunk: Buffer) => bytes.push(...chunk));
  socket.write(connectB);
  socket.write(Buffer.from([0x82, 13, 0, 1, 0, 8, ...Buffer.from('TopicA/#'), 2]));
  await until(() => bytes.length >= 4 + 5, 'SUBACK');
  // It publishes to itself and answers nothing.
  const sender = await connect(fleet, 'c');
  await sender.publishAsync(TOPICS.ab, 'one', { qos: 1 });
  await sender.publishAsync(TOPICS.ac, 'two', { qos: 2 });
  await until(
    () => Buffer.from(bytes).includes('one') && Buffer.from(bytes).includes('two'),
    'both, for the first time',
  );
  socket.end(Buffer.from([0xe0, 0]));
  await until(() => socket.destroyed, 'it is closed');

  const back = await connect(fleet, 'b', { clean: false });
  const got = arrivals(back);
  await until(() => got.length >= 2, 'both again');
  expect((await settled(back, got)).map(({ payload, qos, dup }) => [payload, qos, dup])).toEqual([
    ['one', 1, true],
    ['two', 2, true],
  ]);
});

test('unsubscribe: nothing more of that topic, the others go on', async () => {
  await using fleet = await start();
  const client = await connect(fleet, 'b');
  const got = arrivals(client);
  for (const topic of [TOPICS.a, TOPICS.ab, TOPICS.c]) await client.subscribeAsync(topic, { qos: 2 });
  await client.unsubscribeAsync(TOPICS.a);
  const sender = await connect(fleet, 'a');
  for (const topic of [TOPICS.a, TOPICS.ab, TOPICS.c]) await sender.publishAsync(topic, '', { qos: 1 });
  await until(() => got.length >= 2, 'the two');
  expect((await settled(client, got)).map(({ topic }) => topic)).toEqual([TOPICS.ab, TOPICS.c]);
});

test('$ topics: no wildcard at the start reaches them, and publishing to one ends nothing', async () => {
  await using fleet = await start();
  const client = await connect(fleet, 'b');
  const got = arrivals(client);
  await client.subscribeAsync('+/+', { qos: 2 });
  await client.subscribeAsync('#', { qos: 2 });
  await client.publishAsync('$TopicA/B', 'nobody hears', { qos: 1 });
  expect(await settled(client, got)).toEqual([]);
  expect(client.connected).toBe(true);
});

test('subscribe failure: SUBACK says 0x80, and the client may stay', async () => {
  expect(SettingsSchema.parse({}).BRINK_BROKER_NO_SUBSCRIBE).toContain(NO_SUBSCRIBE);
  await using fleet = await start();
  const client = await connect(fleet, 'a');
  await expect(client.subscribeAsync(NO_SUBSCRIBE, { qos: 2 })).rejects.toThrow(/Unspecified error|0x80|128/);
  expect(await fleet.refused('acl_subscribe')).toBe(1);
  // The suite leaves this connection open and connects again under its name.
  const again = await connect(fleet, 'a');
  expect(again.connected).toBe(true);
});
