import { once } from 'node:events';
import { connect as connectTcp, type Socket } from 'node:net';
import { type Clock, createRegistry, type Registry, silentLogger, systemClock } from '@brink/runtime';
import mqtt, { type IClientOptions, type MqttClient } from 'mqtt';
import { generate } from 'mqtt-packet';
import { type Broker, type BrokerConfig, createBroker } from './broker.ts';
import type { Reason } from './metrics.ts';

/** A started broker on a free port, with clients that end with it. */
export async function startBroker(config: Partial<BrokerConfig> = {}, clock: Clock = systemClock) {
  const registry = createRegistry('broker');
  const broker: Broker = createBroker(
    {
      host: '127.0.0.1',
      port: 0,
      anonymous: 'loopback',
      ...config,
      // The tests connect faster than a site does; the one about this limit sets it.
      limits: { acceptsPerSMax: 100_000, ...config.limits },
    },
    { logger: silentLogger, clock, registry },
  );
  await broker.start(new AbortController().signal);
  const clients: MqttClient[] = [];
  const sockets = new Set<Socket>();

  return {
    broker,
    registry,

    /** @returns the client once it is connected; rejects with the CONNACK's error */
    async connect(options: IClientOptions = {}): Promise<MqttClient> {
      const client = mqtt.connect(broker.url, { reconnectPeriod: 0, connectTimeout: 5000, ...options });
      clients.push(client);
      await new Promise<void>((resolve, reject) => {
        client.once('connect', () => resolve());
        client.once('error', reject);
        client.once('close', () => reject(new Error('closed')));
      });
      client.on('error', () => {});
      return client;
    },

    /** @param localAddress any of 127.0.0.0/8 (Linux), to come from another source */
    async raw(localAddress?: string): Promise<Socket> {
      const socket = connectTcp({
        host: '127.0.0.1',
        port: broker.address.port,
        noDelay: true,
        ...(localAddress === undefined ? {} : { localAddress }),
      });
      sockets.add(socket);
      socket.once('close', () => sockets.delete(socket));
      socket.on('error', () => {});
      socket.resume();
      await once(socket, 'connect');
      return socket;
    },

    async refused(reason: Reason): Promise<number> {
      return labelled(registry, 'brink_broker_refused_total', reason);
    },
    queued: () => gauge(registry, 'brink_broker_queued_messages'),
    queuedBytes: () => gauge(registry, 'brink_broker_queued_bytes'),
    dropped: (reason: string) => labelled(registry, 'brink_broker_dropped_total', reason),
    delayed: (reason: string) => labelled(registry, 'brink_broker_delayed_total', reason),

    /** Connections that have ended, by how. */
    async ended(): Promise<Record<string, number>> {
      const metric = await registry.getSingleMetric('brink_broker_connections_ended_total')?.get();
      return Object.fromEntries((metric?.values ?? []).map(({ labels, value }) => [labels['how'], value]));
    },

    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await Promise.all(clients.map((client) => client.endAsync(true)));
      await broker.stop();
    },
  };
}
export type TestBroker = Awaited<ReturnType<typeof startBroker>>;

async function gauge(registry: Registry, name: string): Promise<number> {
  const metric = await registry.getSingleMetric(name)?.get();
  return metric?.values[0]?.value ?? 0;
}

async function labelled(registry: Registry, name: string, reason: string): Promise<number> {
  const metric = await registry.getSingleMetric(name)?.get();
  return metric?.values.find((value) => value.labels['reason'] === reason)?.value ?? 0;
}

/** Waits for a condition, at most 5 s. */
export async function until(condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
  for (const end = performance.now() + 5000; performance.now() < end; ) {
    if (await condition()) return;
    await new Promise((resolve) => setImmediate(resolve));
  }
  throw new Error(`never happened: ${what}`);
}

/** Collects what a client receives, as `topic payload`. */
export function inbox(client: MqttClient): string[] {
  const messages: string[] = [];
  client.on('message', (topic, payload) =>
    messages.push(`${topic} ${payload.length < 100 ? payload.toString() : payload.length}`),
  );
  return messages;
}

/** Not `once`, which rejects at the error that may come first. */
export const closed = (client: MqttClient) =>
  new Promise<void>((resolve) => (client.connected ? client.once('close', () => resolve()) : resolve()));

export const USERS = [
  { username: 'gateway', role: 'gateway', password: 'g' },
  { username: 'control', role: 'control', password: 'c' },
  { username: 'cam-1', role: 'device', password: '1' },
  { username: 'cam-2', role: 'device', password: '2' },
] as const;

export const as = (username: string, options: IClientOptions = {}): IClientOptions => ({
  clientId: username,
  username,
  password: USERS.find((user) => user.username === username)?.password ?? 'wrong',
  ...options,
});

/**
 * A device and a gateway that go on with their work while something bad happens beside them.
 * @returns a function that ends it, and checks that nothing was lost and nobody was disconnected
 */
export async function goodTraffic(fleet: Pick<TestBroker, 'connect'>): Promise<() => Promise<void>> {
  const device = await fleet.connect(as('cam-2'));
  const gateway = await fleet.connect(as('gateway', { clientId: 'good-gateway' }));
  const received = inbox(gateway);
  await gateway.subscribeAsync('brink/cam-2/up/frames/#', { qos: 1 });
  const sent: string[] = [];
  let going = true;
  const sending = (async () => {
    while (going || sent.length < 20) {
      sent.push(`brink/cam-2/up/frames/front/good-${sent.length + 1} frame`);
      await device.publishAsync(`brink/cam-2/up/frames/front/good-${sent.length}`, 'frame', { qos: 1 });
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  })();
  // Looked at when it is awaited; a test that fails earlier must not fail twice.
  sending.catch(() => {});
  return async () => {
    going = false;
    await sending;
    await until(() => received.length >= sent.length, 'the last good frame arrives');
    if (received.join() !== sent.join()) throw new Error('good traffic was lost or reordered');
    if (!device.connected || !gateway.connected) throw new Error('a good client was disconnected');
  };
}

/** When a bare socket is closed. */
export const gone = (socket: Socket) =>
  new Promise<void>((resolve) => (socket.destroyed ? resolve() : socket.once('close', () => resolve())));
/** A CONNECT for a bare socket. */
export const connectPacket = (options: object = {}) =>
  generate({
    cmd: 'connect',
    clientId: 'raw-1',
    protocolId: 'MQTT',
    protocolVersion: 4,
    clean: true,
    keepalive: 60,
    ...options,
  });
