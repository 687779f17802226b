import { type AddressInfo, createServer, Socket } from 'node:net';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { systemClock } from './clock.ts';
import { type Logger, silentLogger } from './logger.ts';
import { Registry } from './metrics.ts';
import type { DeferredMessage, MqttDependencies, MqttMessage, MqttOptions } from './mqtt.ts';
import { createMqtt } from './mqtt-connection.ts';
import { createMqttMetrics } from './mqtt-metrics.ts';
import { brokerVersionProblem, watchBrokerVersion } from './mqtt-version.ts';

// The embedded broker speaks 3.1.1 only; what MQTT 5 adds is tried on a broker of a few lines that shows every packet.
const name = 'mqtt-packet';
const codec = await import(/* @vite-ignore */ name).then((module) => module.default).catch(() => undefined);

interface Packet {
  cmd: string;
  messageId: number;
  qos?: number;
  topic?: string;
  payload?: Buffer;
  properties?: Record<string, unknown>;
  subscriptions?: { topic: string; qos: number; rap?: boolean; rh?: number }[];
  clean?: boolean;
}

const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const fn of undo.splice(0).reverse()) await fn();
});
const never = new AbortController().signal;

/** Answers nothing but CONNECT, SUBSCRIBE and PINGREQ by itself. */
async function broker(connack: object = {}) {
  const packets: Packet[] = [];
  const sockets: Socket[] = [];
  const refused = new Set(['secret']);
  const server = createServer((socket) => {
    sockets.push(socket);
    const parser = codec.parser({ protocolVersion: 5 });
    const send = (packet: object) => socket.write(codec.generate(packet, { protocolVersion: 5 }));
    parser.on('packet', (packet: Packet) => {
      packets.push(packet);
      if (packet.cmd === 'connect') send({ cmd: 'connack', reasonCode: 0, sessionPresent: false, properties: connack });
      if (packet.cmd === 'pingreq') send({ cmd: 'pingresp' });
      if (packet.cmd === 'subscribe') {
        const granted = packet.subscriptions!.map(({ topic }) => (refused.has(topic) ? 0x87 : 1));
        send({ cmd: 'suback', messageId: packet.messageId, granted });
      }
    });
    socket.on('data', (chunk) => parser.parse(chunk)).on('error', () => {});
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  undo.push(() => {
    for (const socket of sockets) socket.destroy();
    return new Promise((resolve) => server.close(resolve));
  });
  const send = (packet: object) => sockets.at(-1)!.write(codec.generate(packet, { protocolVersion: 5 }));
  return {
    url: `mqtt://127.0.0.1:${(server.address() as AddressInfo).port}`,
    refused,
    packets,
    of: (cmd: string) => packets.filter((packet) => packet.cmd === cmd),
    send,
    cut: () => sockets.at(-1)!.destroy(),
    connections: () => sockets.length,
  };
}

function client(
  o: Partial<MqttOptions> & { url: string },
  registry = new Registry(),
  d: Partial<MqttDependencies> = {},
) {
  const mqtt = createMqtt(
    { clientId: 'gateway-1', clean: false, baseMs: 5, capMs: 50, ...o },
    { logger: silentLogger, clock: systemClock, random: Math.random, metrics: createMqttMetrics(registry), ...d },
  );
  undo.push(() => mqtt.stop());
  return mqtt;
}

describe.skipIf(codec === undefined)('an MQTT 5 connection', () => {
  test('states its receive maximum and session expiry, asks for retain as published, and sets TCP_NODELAY', async () => {
    const noDelay = vi.spyOn(Socket.prototype, 'setNoDelay');
    undo.push(() => noDelay.mockRestore());
    const on = await broker();
    const mqtt = client({ url: on.url, receiveMaximum: 77 });
    mqtt.subscribe('a/#', { qos: 1 }, () => {});
    await mqtt.start(never);
    expect(mqtt.protocolVersion).toBe(5);
    expect(on.of('connect')[0]).toMatchObject({
      clean: false,
      properties: { receiveMaximum: 77, sessionExpiryInterval: 86_400 },
    });
    expect(on.of('subscribe')[0]?.subscriptions).toMatchObject([{ topic: 'a/#', qos: 1, rap: true, rh: 0 }]);
    expect(noDelay).toHaveBeenCalledWith(true);
  });

  test('asks for live messages alone where the owner of the topics retains all of them', async () => {
    const on = await broker();
    const mqtt = client({ url: on.url });
    mqtt.subscribe('frigate/+/snapshot', { qos: 1, retained: 'live' }, () => {});
    await mqtt.start(never);
    expect(on.of('subscribe')[0]?.subscriptions).toMatchObject([{ rap: false, rh: 2 }]);
  });

  test('hands over user properties and the retain flag', async () => {
    const on = await broker();
    const mqtt = client({ url: on.url });
    const got: MqttMessage[] = [];
    mqtt.subscribe('a', { qos: 1 }, (message) => got.push(message));
    await mqtt.start(never);
    const properties = { userProperties: { boot: 'k3v9', seq: '7' }, contentType: 'image/jpeg' };
    on.send({ cmd: 'publish', topic: 'a', payload: 'x', qos: 1, messageId: 9, retain: true, properties });
    await expect.poll(() => got.length).toBe(1);
    expect(got[0]).toMatchObject({ retain: true, properties: { contentType: 'image/jpeg' } });
    expect({ ...(got[0]!.properties!.userProperties as object) }).toEqual({ boot: 'k3v9', seq: '7' });
    await expect.poll(() => on.of('puback').map(({ messageId }) => messageId)).toEqual([9]);
  });

  test('has no more QoS 1 messages un-acked than the broker takes, and sends the rest in order', async () => {
    const on = await broker({ receiveMaximum: 2 });
    const mqtt = client({ url: on.url });
    await mqtt.start(never);
    const all = ['1', '2', '3', '4', '5'].map((payload) => mqtt.publish('t', payload, { qos: 1 }));
    for (let acked = 0; acked < 5; acked++) {
      await expect.poll(() => on.of('publish').length).toBe(Math.min(5, acked + 2));
      on.send({ cmd: 'puback', messageId: on.of('publish')[acked]!.messageId, reasonCode: 0 });
    }
    await Promise.all(all);
    expect(on.of('publish').map(({ payload }) => String(payload))).toEqual(['1', '2', '3', '4', '5']);
  });

  test('asks again for what was refused, and has no problem once it is granted; what is optional is none', async () => {
    const on = await broker();
    on.refused.add('$SYS/broker/version');
    const mqtt = client({ url: on.url }, new Registry(), { random: () => 0.01 });
    const got: string[] = [];
    mqtt.subscribe('secret', { qos: 1 }, ({ topic }) => void got.push(topic));
    mqtt.subscribe('$SYS/broker/version', { qos: 0, optional: true }, () => {});
    await mqtt.start(never);
    expect(mqtt.problem).toBe('broker: refused secret (Subscribe error: Not authorized)');
    await expect.poll(() => on.of('subscribe').length).toBeGreaterThanOrEqual(4);
    on.refused.clear();
    await expect.poll(() => mqtt.problem).toBeUndefined();
    on.send({ cmd: 'publish', topic: 'secret', payload: 'x', qos: 0 });
    await expect.poll(() => got).toEqual(['secret']);
    const asked = on.of('subscribe').flatMap(({ subscriptions }) => subscriptions!.map(({ topic }) => topic));
    expect(asked.filter((topic) => topic.startsWith('$SYS'))).toHaveLength(1);
  });

  test('asks how many it may have un-acked, and how large they may be, at each connect', async () => {
    const on = await broker();
    let receiveMaximum = 64;
    const mqtt = client({ url: on.url, receiveMaximum: () => receiveMaximum, packetBytesMax: 10_000 });
    await mqtt.start(never);
    receiveMaximum = 16;
    mqtt.reconnect();
    await expect.poll(() => on.of('connect').length).toBe(2);
    expect(on.of('connect').map(({ properties }) => properties)).toMatchObject([
      { receiveMaximum: 64, maximumPacketSize: 10_000 },
      { receiveMaximum: 16, maximumPacketSize: 10_000 },
    ]);
  });

  test('a broker that sends a larger packet all the same is no reason to leave: what is retained would come again for ever', async () => {
    const on = await broker();
    const mqtt = client({ url: on.url, packetBytesMax: 1000 });
    const got: number[] = [];
    mqtt.subscribe('a', { qos: 1 }, ({ payload }) => void got.push(payload.length));
    await mqtt.start(never);
    on.send({ cmd: 'publish', topic: 'a', payload: Buffer.alloc(5000), qos: 1, messageId: 1, retain: true });
    on.send({ cmd: 'publish', topic: 'a', payload: Buffer.alloc(50), qos: 1, messageId: 2 });
    await expect.poll(() => on.of('puback').length).toBe(2);
    expect([got, on.connections(), mqtt.connected]).toEqual([[5000, 50], 1, true]);
  });

  test('says when the broker is a Mosquitto that ignores its receive maximum', async () => {
    const lines: object[] = [];
    const logger = { warn: (said: object) => void lines.push(said), info: () => {} } as unknown as Logger;
    const on = await broker();
    const mqtt = client({ url: on.url });
    watchBrokerVersion(mqtt, { logger });
    await mqtt.start(never);
    await expect.poll(() => on.of('subscribe')[0]?.subscriptions).toMatchObject([{ topic: '$SYS/broker/version' }]);
    for (const version of ['2.0.22', '2.0.11', '2.0.11']) {
      on.send({ cmd: 'publish', topic: '$SYS/broker/version', payload: `mosquitto version ${version}`, qos: 0 });
    }
    await expect.poll(() => lines.length).toBe(1);
    expect(lines[0]).toMatchObject({ problem: expect.stringContaining('2.0.11 ignores receive-maximum') });
  });

  test.each([
    ['mosquitto version 2.0.12', true],
    ['mosquitto version 2.0.13', false],
    ['mosquitto version 1.6.15', true],
    ['mosquitto version 2.1.0', false],
    ['mosquitto version 3.0.1', false],
    ['EMQX 5.8', false],
  ])('%s is too old: %s', (text, old) => expect(brokerVersionProblem(text) !== undefined).toBe(old));

  test('refuses what the broker would end the connection over, to the byte, and sends the rest', async () => {
    const on = await broker({ maximumPacketSize: 1000 });
    const mqtt = client({ url: on.url });
    await mqtt.start(never);
    const properties = { contentType: 'image/jpeg', userProperties: { at: '9' } };
    const send = (bytes: number) => mqtt.publish('topic', Buffer.alloc(bytes), { qos: 1, properties });
    await expect(send(1000)).rejects.toMatchObject({ code: 'E_TOO_LARGE' });
    const going = [send(950)];
    await expect.poll(() => on.of('publish').length).toBe(1);
    // Its remaining length; type and length before it take three bytes more.
    const { length } = on.of('publish')[0] as unknown as { length: number };
    const most = 950 + 1000 - (length + 3);
    await expect(send(most + 1)).rejects.toMatchObject({ code: 'E_TOO_LARGE' });
    // At most a few bytes too careful: lengths that could be shorter.
    going.push(send(most - 8));
    await expect.poll(() => on.of('publish').length).toBe(2);
    for (const { messageId } of on.of('publish')) on.send({ cmd: 'puback', messageId, reasonCode: 0 });
    await Promise.all(going);
    expect([on.connections(), mqtt.connected]).toEqual([1, true]);
  });

  test('names the filter that was refused, and why', async () => {
    const on = await broker();
    const mqtt = client({ url: on.url });
    mqtt.subscribe('secret', { qos: 1 }, () => {});
    mqtt.subscribe('open', { qos: 1 }, () => {});
    await mqtt.start(never);
    expect(mqtt.problem).toMatch(/secret \(.*[Nn]ot authorized.*\)/);
    expect(mqtt.problem).not.toContain('open');
  });

  test('rejects a publish that the broker refuses', async () => {
    const on = await broker();
    const mqtt = client({ url: on.url });
    await mqtt.start(never);
    const publishing = mqtt.publish('t', 'x', { qos: 1 });
    await expect.poll(() => on.of('publish').length).toBe(1);
    on.send({ cmd: 'puback', messageId: on.of('publish')[0]!.messageId, reasonCode: 0x87 });
    await expect(publishing).rejects.toMatchObject({ code: 'E_BROKER' });
  });

  test('leaves nothing of an old connection to the next: neither messages nor acks', async () => {
    const registry = new Registry();
    const on = await broker();
    const mqtt = client({ url: on.url }, registry);
    mqtt.subscribe('a', { qos: 1 }, () => on.cut());
    await mqtt.start(never);
    const lost = mqtt.publish('t', 'lost', { qos: 1 });
    lost.catch(() => {});
    await expect.poll(() => on.of('publish').length).toBe(1);
    on.send({ cmd: 'publish', topic: 'a', payload: 'x', qos: 1, messageId: 9 });
    await expect(lost).rejects.toMatchObject({ code: 'E_BROKER' });
    await expect.poll(() => on.connections()).toBe(2);
    await expect.poll(() => on.of('subscribe').length).toBe(2);
    await expect.poll(() => mqtt.connected).toBe(true);
    const next = mqtt.publish('t', 'next', { qos: 1 });
    await expect.poll(() => on.of('publish').length).toBe(2);
    on.send({ cmd: 'puback', messageId: on.of('publish')[1]!.messageId, reasonCode: 0 });
    await next;
    expect(on.of('publish').map(({ payload }) => String(payload))).toEqual(['lost', 'next']);
    const text = await registry.metrics();
    expect(text).toContain('brink_mqtt_connects_total 2');
    expect(text).toContain('brink_mqtt_messages_published_total 1');
    expect(text).toContain('brink_mqtt_connected 1');
  });

  test('says DISCONNECT when it stops, also while messages are un-acked', async () => {
    const on = await broker();
    const mqtt = client({ url: on.url });
    await mqtt.start(never);
    const waiting = mqtt.publish('t', 'x', { qos: 1 });
    waiting.catch(() => {});
    await expect.poll(() => on.of('publish').length).toBe(1);
    await mqtt.stop();
    await expect.poll(() => on.of('disconnect').length).toBe(1);
    await expect(waiting).rejects.toMatchObject({ code: 'E_BROKER' });
  });

  describe('with acks that are given later', () => {
    const acked = (on: Awaited<ReturnType<typeof broker>>) => on.of('puback').map(({ messageId }) => messageId);
    const publish = (messageId: number) => ({ cmd: 'publish', topic: 'a', payload: `${messageId}`, qos: 1, messageId });

    test('sends none before it is told to, each once, in the order of arrival; pings and publishes pass', async () => {
      const on = await broker();
      const mqtt = client({ url: on.url, keepaliveS: 1 });
      const got: DeferredMessage[] = [];
      mqtt.subscribe('a', { qos: 1, manualAck: true }, (message) => got.push(message));
      await mqtt.start(never);
      for (const id of [7, 8, 9]) on.send(publish(id));
      await expect.poll(() => got.length).toBe(3);
      await expect.poll(() => on.of('pingreq').length, { timeout: 3000 }).toBeGreaterThan(0);
      const going = mqtt.publish('t', 'x', { qos: 1 });
      await expect.poll(() => on.of('publish').length).toBe(1);
      on.send({ cmd: 'puback', messageId: on.of('publish')[0]!.messageId, reasonCode: 0 });
      await going;
      got[2]!.ack();
      got[1]!.ack();
      expect(acked(on)).toEqual([]);
      got[0]!.ack();
      got[0]!.ack();
      await expect.poll(() => acked(on)).toEqual([7, 8, 9]);
      expect(on.connections()).toBe(1);
    });

    test('sends none on another connection than the one the message came on', async () => {
      const on = await broker();
      const mqtt = client({ url: on.url });
      const got: DeferredMessage[] = [];
      mqtt.subscribe('a', { qos: 1, manualAck: true }, (message) => got.push(message));
      await mqtt.start(never);
      on.send(publish(7));
      await expect.poll(() => got.length).toBe(1);
      mqtt.reconnect();
      await expect.poll(() => on.of('subscribe').length).toBe(2);
      await expect.poll(() => mqtt.connected).toBe(true);
      // The same number, another message.
      on.send(publish(7));
      on.send(publish(8));
      await expect.poll(() => got.length).toBe(3);
      got[0]!.ack();
      got[2]!.ack();
      got[1]!.ack();
      await expect.poll(() => acked(on)).toEqual([7, 8]);
    });

    test('what a handler throws over, and what is abandoned, stays un-acked and holds up nothing', async () => {
      const on = await broker();
      const mqtt = client({ url: on.url });
      mqtt.subscribe('a', { qos: 1, manualAck: true }, (message) => {
        if (String(message.payload) === '7') throw new Error('a bug');
        if (String(message.payload) === '8') message.abandon();
        else message.ack();
      });
      await mqtt.start(never);
      for (const id of [7, 8, 9]) on.send(publish(id));
      await expect.poll(() => acked(on)).toEqual([9]);
    });
  });
});
