import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { connectAsync, type IClientOptions, type MqttClient } from 'mqtt';
import { generate, type Packet } from 'mqtt-packet';
import { expect, test } from 'vitest';
import {
  as,
  connectPacket,
  gone,
  goodTraffic,
  inbox,
  startBroker,
  type TestBroker,
  USERS,
  until,
} from './broker.testing.ts';

// Too much of what alone would be right, and packets that are nearly right, while good traffic runs beside them.

const LONG = process.env['BRINK_TEST_SIZE'] === 'long';
const publishPacket = (options: object = {}) =>
  generate({
    cmd: 'publish',
    topic: 'brink/cam-7/up/frames/a',
    payload: 'x',
    qos: 1,
    messageId: 1,
    dup: false,
    retain: false,
    ...options,
  });

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

/** Of buffers, without garbage. */
function heldBytes(): number {
  collect();
  return process.memoryUsage().external;
}

async function beside(attack: (fleet: TestBroker) => Promise<void>, config: Parameters<typeof startBroker>[0] = {}) {
  await using fleet = await startBroker({ users: USERS, ...config });
  const ended = await goodTraffic(fleet);
  await attack(fleet);
  await ended();
}

/** The return code of CONNACK. */
async function connack(socket: Socket, packet: Buffer): Promise<number> {
  const answer = once(socket, 'data');
  socket.write(packet);
  return ((await answer)[0] as Buffer)[3] as number;
}

test('2: after 20 wrong passwords a source is refused unheard, even with the right one; others are not', () =>
  beside(async (fleet) => {
    const login = (password: string) =>
      connectPacket({ clientId: 'cam-1', username: 'cam-1', password: Buffer.from(password) });
    for (let attempt = 0; attempt < 20; attempt++) {
      expect(await connack(await fleet.raw('127.0.0.2'), login(`wrong ${attempt}`))).toBe(5);
    }
    expect(await fleet.refused('auth_failed')).toBe(20);
    expect(await connack(await fleet.raw('127.0.0.2'), login('1'))).toBe(5);
    expect(await fleet.refused('auth_throttled')).toBe(1);
    expect(await connack(await fleet.raw('127.0.0.3'), login('1'))).toBe(0);
    // Services of this box come from the same address and are not shut out by one device.
    const service = connectPacket({ clientId: 'control', username: 'control', password: Buffer.from('c') });
    expect(await connack(await fleet.raw('127.0.0.2'), service)).toBe(0);
  }));

// That the gateway makes one decision of it, and counts the other as a duplicate: services/gateway/test/{frames,durable}.test.ts.
test('17: the same QoS 1 packet twice, marked as a duplicate, is acknowledged twice and keeps its name', () =>
  beside(async (fleet) => {
    const gateway = await fleet.connect(as('gateway'));
    const frames = inbox(gateway);
    await gateway.subscribeAsync('brink/cam-7/up/frames/#', { qos: 1 });
    const socket = await fleet.raw();
    expect(await connack(socket, connectPacket())).toBe(0);
    const bytes: number[] = [];
    socket.on('data', (chunk: Buffer) => bytes.push(...chunk));
    const topic = 'brink/cam-7/up/frames/a/boot-1';
    socket.write(Buffer.concat([publishPacket({ topic }), publishPacket({ topic, dup: true })]));
    await until(
      () => bytes.length === 8 && frames.length === 2,
      'two PUBACKs; the gateway knows it by boot and number',
    );
    expect(bytes).toEqual([0x40, 2, 0, 1, 0x40, 2, 0, 1]);
    expect(frames).toEqual([`${topic} x`, `${topic} x`]);
  }));

test('19: a storm of connections is taken up at the rate, and everybody gets in', async () => {
  await using fleet = await startBroker({ users: USERS, limits: { acceptsPerSMax: 40 } });
  const ended = await goodTraffic(fleet);
  const beganMs = performance.now();
  const inAtMs: number[] = [];
  await Promise.all(
    Array.from({ length: 100 }, async (_, i) => {
      const socket = await fleet.raw();
      expect(await connack(socket, connectPacket({ clientId: `storm-${i}` }))).toBe(0);
      inAtMs.push(performance.now() - beganMs);
    }),
  );
  expect(inAtMs.filter((ms) => ms < 950).length).toBeLessThanOrEqual(40);
  expect(await fleet.delayed('accept_rate')).toBeGreaterThanOrEqual(60);
  await ended();
});

test('a device that floods is slowed down, loses nothing, and holds nobody up', () =>
  beside(
    async (fleet) => {
      const gateway = await fleet.connect(as('gateway'));
      const frames = inbox(gateway);
      await gateway.subscribeAsync('brink/cam-1/up/frames/#');
      const device = await fleet.connect(as('cam-1'));
      const beganMs = performance.now();
      const sent = Array.from({ length: 500 }, (_, i) => `brink/cam-1/up/frames/front/boot-${i}`);
      await Promise.all(sent.map((topic) => device.publishAsync(topic, 'x', { qos: 1 })));
      expect(performance.now() - beganMs).toBeGreaterThan(900);
      await until(() => frames.length === sent.length, 'all of it');
      expect(frames).toEqual(sent.map((topic) => `${topic} x`));
      expect(await fleet.delayed('publish_rate')).toBeGreaterThan(0);
    },
    { limits: { publishesPerSMax: 250 } },
  ));

test('20: a stored session that does not read costs its bound, and finds its first messages when it is back', () =>
  beside(
    async (fleet) => {
      const subscriber = { clientId: 'stopped', clean: false };
      const socket = await fleet.raw();
      expect(await connack(socket, connectPacket(subscriber))).toBe(0);
      socket.write(generate({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'brink/cam-7/#', qos: 1 }] }));
      await once(socket, 'data');
      socket.pause();
      const before = heldBytes();
      const sender = await fleet.connect();
      for (let frame = 0; frame < 300; frame++) {
        await sender.publishAsync(`brink/cam-7/up/frames/front/boot-${frame}`, Buffer.alloc(512 * 1024), { qos: 1 });
      }
      await until(async () => (await fleet.refused('slow_consumer')) === 1, 'it is disconnected');
      // Of 150 MB that passed: the 15 MB that are kept, and what lies in sockets. Buffers are swept some time after they are collected.
      await until(() => heldBytes() - before < 50 * 1024 * 1024, 'no more than that is held');
      expect(await fleet.queued()).toBe(30);
      expect(await fleet.dropped('queue_full')).toBe(270);
      const back = await fleet.connect(subscriber);
      const got = inbox(back);
      await until(() => got.length === 30, 'what was kept');
      expect(got[0]).toBe('brink/cam-7/up/frames/front/boot-0 524288');
      expect(got[29]).toBe('brink/cam-7/up/frames/front/boot-29 524288');
    },
    { limits: { drainTimeoutMs: 300, queueMessagesMax: 30 } },
  ));

test('21: mutated packets are survived, cost no memory, and each is counted once', { timeout: 600_000 }, async () => {
  await using broker = await startProcess();
  const ended = await goodTraffic(broker);
  const random = seeded(42);
  const inputs = LONG ? 100_000 : 2000;
  // V8 fills the room that it gives itself before it collects: some 10,000 connections. What it keeps of each is below 40 bytes.
  const warmUp = LONG ? 10_000 : 500;
  let rssBefore = 0;
  for (let done = 0; done < inputs; done += 20) {
    if (done === warmUp) rssBefore = broker.rssBytes();
    await Promise.all(Array.from({ length: 20 }, () => attack(broker, random)));
  }
  await until(async () => sum(await broker.counts('connections_ended_total')) === inputs, 'each has ended in one way');
  const byHow = await broker.counts('connections_ended_total');
  const refused = await broker.counts('refused_total');
  for (const [how, count] of Object.entries(byHow)) {
    if (how === 'lost' || how === 'disconnect') continue;
    // Refused filters are counted on connections that go on, too.
    if (how === 'acl_subscribe' || how === 'topic_invalid') expect(refused[how]).toBeGreaterThanOrEqual(count);
    else expect([how, refused[how]]).toEqual([how, count]);
  }
  for (const how of ['malformed', 'not_connect', 'acl_publish', 'topic_invalid', 'protocol_version', 'lost']) {
    expect(Object.keys(byHow)).toContain(how);
  }
  const grownMb = (broker.rssBytes() - rssBefore) / 1024 ** 2;
  const said = `${inputs} mutated packets: +${grownMb.toFixed(1)} MB after the first ${warmUp}; ${JSON.stringify(byHow)}`;
  if (LONG) process.stdout.write(`${said}\n`);
  expect(grownMb).toBeLessThan(50);
  await ended();
});

test('bad inputs of the wire and the broker, 1 to 21: each number has its test', () => {
  const titles = ['attacks.test.ts', 'floods.test.ts'].flatMap((file) => [
    ...readFileSync(join(import.meta.dirname, file), 'utf8').matchAll(/^ *test\('(\d+): /gm),
  ]);
  const numbers = new Set(titles.map(([, number]) => Number(number)));
  expect([...numbers].sort((a, b) => a - b)).toEqual(Array.from({ length: 21 }, (_, i) => i + 1));
});

/** The broker as `brink up` starts it, in a process of its own: its memory is what counts, not that of the attackers. */
async function startProcess() {
  const folder = mkdtempSync(join(tmpdir(), 'brink-floods-'));
  const [port, opsPort] = [await freePort(), await freePort()];
  const usersFile = join(folder, 'users.json');
  writeFileSync(usersFile, JSON.stringify({ users: USERS }));
  const child = spawn(process.execPath, [join(import.meta.dirname, 'main.ts')], {
    env: {
      ...{ PATH: process.env['PATH'] ?? '', BRINK_BROKER_PORT: String(port), BRINK_OPS_PORT: String(opsPort) },
      ...{ BRINK_BROKER_USERS_FILE: usersFile, BRINK_BROKER_ACCEPTS_PER_S_MAX: '100000' },
    },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const exit = once(child, 'exit');
  const metrics = () => fetch(`http://127.0.0.1:${opsPort}/metrics`).then((response) => response.text());
  await until(() => metrics().then(Boolean, () => false), 'it listens');
  const clients: MqttClient[] = [];
  return {
    async connect(options: IClientOptions): Promise<MqttClient> {
      const client = await connectAsync(`mqtt://127.0.0.1:${port}`, { ...options, reconnectPeriod: 0 });
      clients.push(client);
      return client;
    },
    /** From many addresses: a closed connection keeps its port for a while. */
    async raw(host: number): Promise<Socket> {
      const socket = connect({ port, host: '127.0.0.1', localAddress: `127.0.1.${host}`, noDelay: true });
      socket.on('error', () => {}).resume();
      await once(socket, 'connect');
      return socket;
    },
    async counts(metric: string): Promise<Record<string, number>> {
      const lines = (await metrics()).matchAll(
        new RegExp(`^brink_broker_${metric}\\{[^}]*(?:how|reason)="(\\w+)"[^}]*\\} (\\d+)`, 'gm'),
      );
      return Object.fromEntries([...lines].map(([, label, count]) => [label, Number(count)]));
    },
    rssBytes: () => Number(readFileSync(`/proc/${child.pid}/statm`, 'utf8').split(' ')[1]) * 4096,
    async [Symbol.asyncDispose]() {
      await Promise.all(clients.map((client) => client.endAsync(true)));
      child.kill();
      await exit;
      rmSync(folder, { recursive: true });
    },
  };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

const SEEDS: readonly Packet[] = [
  { cmd: 'connect', clientId: 'cam-1', protocolId: 'MQTT', protocolVersion: 4, clean: true, keepalive: 60 },
  {
    ...{ cmd: 'connect', clientId: 'cam-1', protocolId: 'MQTT', protocolVersion: 4, clean: false, keepalive: 60 },
    ...{ username: 'cam-1', password: Buffer.from('1') },
    will: { topic: 'brink/cam-1/up/status', payload: Buffer.from('x'), qos: 1, retain: true },
  },
  { cmd: 'publish', topic: 'brink/a/up/frames/b', payload: 'x', qos: 0, dup: false, retain: false },
  { cmd: 'publish', topic: 'brink/a/up/frames/b', payload: 'x', qos: 1, messageId: 1, dup: false, retain: false },
  { cmd: 'publish', topic: 'brink/a/up/status', payload: 'x', qos: 2, messageId: 2, dup: false, retain: true },
  { cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'brink/#', qos: 1 }] },
  { cmd: 'unsubscribe', messageId: 1, unsubscriptions: ['brink/#', 'a/b'] },
  { cmd: 'puback', messageId: 3 },
  { cmd: 'pubrec', messageId: 4 },
  { cmd: 'pubrel', messageId: 7 },
  { cmd: 'pingreq' },
  { cmd: 'disconnect' },
];
const SEED_BYTES = SEEDS.map((packet) => generate(packet));

/** One mutated packet on a connection of its own: alone where it is a CONNECT, else after a good one. */
async function attack(broker: { raw(host: number): Promise<Socket> }, random: () => number): Promise<void> {
  const pick = (below: number) => Math.floor(random() * below);
  const seed = pick(SEEDS.length);
  const bytes = Buffer.from(SEED_BYTES[seed] as Buffer);
  for (let flip = pick(3); flip >= 0; flip--) bytes[pick(bytes.length)] = pick(256);
  const mutated = bytes.subarray(0, random() < 0.2 ? pick(bytes.length) : bytes.length);
  const alone = SEEDS[seed]?.cmd === 'connect' || random() < 0.1;
  const clientId = `fuzz-${pick(2 ** 31)}`;
  const socket = await broker.raw(1 + pick(200));
  if (!alone) await connack(socket, connectPacket({ clientId }));
  socket.end(mutated);
  await gone(socket);
}

const sum = (counts: Record<string, number>) => Object.values(counts).reduce((a, b) => a + b, 0);

/** mulberry32, https://gist.github.com/tommyettinger/46a874533244883189143505d203312c */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
