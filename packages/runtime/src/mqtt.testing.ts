import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { describe, expect, onTestFinished, test } from 'vitest';
import { systemClock } from './clock.ts';
import { silentLogger } from './logger.ts';
import type { DeferredMessage, Mqtt, MqttOptions } from './mqtt.ts';
import { createMqtt } from './mqtt-connection.ts';

// What mqtt-ack.ts promises although MQTT.js has no words for it. Run against each broker that Brink runs on, so that a change of
// the library, of a broker or of that one file shows.

const PUBACK = 4;
const PINGRESP = 13;

export interface ContractBroker {
  readonly name: string;
  /** Asked inside of a test. */
  readonly url: () => string;
  readonly versions: readonly (4 | 5)[];
  /** First level of topics that its clients may use. */
  readonly root?: string;
}

export function deferredAckContract({ name, url, versions, root = 'contract' }: ContractBroker): void {
  const named = versions.map((version) => [version === 4 ? '3.1.1' : '5', version] as const);
  describe.each(named)(`deferred PUBACKs on ${name}, MQTT %s`, (_, protocolVersion) => {
    const topic = `${root}/acks-${protocolVersion}`;
    let slow = 0;
    const open = async (clientId: string, o: Partial<MqttOptions> = {}): Promise<Mqtt> => {
      const mqtt = createMqtt(
        { url: url(), clientId: `${clientId}-${protocolVersion}`, clean: false, protocolVersion, baseMs: 5, ...o },
        { logger: silentLogger, clock: systemClock, random: Math.random },
      );
      onTestFinished(() => mqtt.stop());
      return mqtt;
    };
    const started = async (mqtt: Mqtt) => {
      await mqtt.start(AbortSignal.timeout(10_000));
      return mqtt;
    };
    const send = async (...payloads: string[]) => {
      const sender = await started(await open('contract-sender', { clean: true }));
      for (const payload of payloads) await sender.publish(topic, payload, { qos: 1 });
    };
    /** Whatever was sent before on this connection is with the broker. */
    const settled = (mqtt: Mqtt) => mqtt.publish(`${root}/other`, '', { qos: 1 });
    const texts = (got: readonly DeferredMessage[]) => got.map(({ payload }) => String(payload));

    test('none before it is told to, then each once, in the order of arrival', async () => {
      const wire = await startTap(url());
      const receiver = await open('contract-order', { url: wire.url, receiveMaximum: 10 });
      const got: DeferredMessage[] = [];
      receiver.subscribe(topic, { qos: 1, manualAck: true }, (message) => got.push(message));
      await started(receiver);
      await send('1', '2', '3', '4');
      await expect.poll(() => texts(got)).toEqual(['1', '2', '3', '4']);
      got[2]!.ack();
      got[1]!.ack();
      await settled(receiver);
      expect(wire.toBroker(PUBACK)).toEqual([]);
      got[0]!.ack();
      got[0]!.ack();
      got[3]!.ack();
      await settled(receiver);
      const ids = wire.toBroker(PUBACK).map((body) => body.readUInt16BE(0));
      expect(ids).toHaveLength(4);
      expect(ids).toEqual([...ids].sort((a, b) => a - b));
    });

    // A machine that is busy for half a second with something else drops such a short keepalive too.
    test('while handlers are slow and none is given, pings are answered, publishes go out, and the connection holds', {
      retry: 2,
    }, async () => {
      const wire = await startTap(url());
      slow += 1;
      const receiver = await open(`contract-slow-${slow}`, { url: wire.url, receiveMaximum: 3, keepaliveS: 1 });
      const got: DeferredMessage[] = [];
      let drops = 0;
      receiver.subscribe(topic, { qos: 1, manualAck: true }, (message) => {
        got.push(message);
        for (const end = performance.now() + 60; performance.now() < end; );
      });
      receiver.onDisconnect(() => (drops += 1));
      await started(receiver);
      await send('1', '2', '3', '4', '5');
      await expect.poll(() => got.length).toBeGreaterThanOrEqual(3);
      // Beyond 1.5 keepalives: whoever heard no answer by then would have left.
      await expect.poll(() => wire.toClient(PINGRESP).length, { timeout: 5000 }).toBeGreaterThanOrEqual(2);
      await settled(receiver);
      for (let acked = 0; acked < 5; acked++) {
        await expect.poll(() => got.length).toBeGreaterThan(acked);
        got[acked]!.ack();
      }
      await settled(receiver);
      expect([drops, receiver.connected, texts(got)]).toEqual([0, true, ['1', '2', '3', '4', '5']]);
    });

    test('what was not acked comes again, what was acked does not, and a late ack of an old connection acks nothing', async () => {
      const receiver = await open('contract-again', { receiveMaximum: 3 });
      const got: DeferredMessage[] = [];
      receiver.subscribe(topic, { qos: 1, manualAck: true }, (message) => got.push(message));
      await started(receiver);
      await send('1', '2', '3', '4', '5');
      await expect.poll(() => got.length).toBe(protocolVersion === 5 ? 3 : 5);
      got[1]!.ack();
      got[0]!.ack();
      await expect.poll(() => texts(got)).toEqual(['1', '2', '3', '4', '5']);
      await settled(receiver);
      receiver.reconnect();
      await expect.poll(() => texts(got).slice(5), { timeout: 5000 }).toEqual(['3', '4', '5']);
      expect(got.slice(5).every(({ dup }) => dup)).toBe(true);
      // The same packet ids now name what was sent again.
      for (const old of got.slice(2, 5)) old.ack();
      await settled(receiver);
      receiver.reconnect();
      await expect.poll(() => texts(got).slice(8), { timeout: 5000 }).toEqual(['3', '4', '5']);
      for (const message of got.slice(8)) message.ack();
      await settled(receiver);
      receiver.reconnect();
      await send('6');
      await expect.poll(() => texts(got).slice(11), { timeout: 5000 }).toEqual(['6']);
      got.at(-1)!.ack();
      await settled(receiver);
    });
  });
}

/** A way to a broker on which every packet is seen. */
async function startTap(to: string) {
  const { hostname, port } = new URL(to);
  const sockets: Socket[] = [];
  const seen = { toBroker: Buffer.alloc(0), toClient: Buffer.alloc(0) };
  const note = (way: keyof typeof seen) => (chunk: Buffer) => {
    seen[way] = Buffer.concat([seen[way], chunk]);
  };
  const server = createServer({ noDelay: true }, (client) => {
    const broker = connect({ host: hostname, port: Number(port), noDelay: true });
    sockets.push(client, broker);
    for (const socket of [client, broker])
      socket.on('error', () => {}).on('close', () => [client.destroy(), broker.destroy()]);
    client.on('data', note('toBroker')).pipe(broker);
    broker.on('data', note('toClient')).pipe(client);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return {
    url: `mqtt://127.0.0.1:${(server.address() as AddressInfo).port}`,
    /** Bodies of the packets of one type. */
    toBroker: (type: number) => bodies(seen.toBroker, type),
    toClient: (type: number) => bodies(seen.toClient, type),
  };
}

/** [MQTT-2.2] Fixed header: the type in the upper half of a byte, then the length, seven bits in a byte. */
function bodies(bytes: Buffer, type: number): Buffer[] {
  const found: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    let length = 0;
    let digits = 0;
    for (let more = true; more; digits++) {
      const digit = bytes[at + 1 + digits] ?? 0;
      length += (digit & 127) * 128 ** digits;
      more = digit > 127;
    }
    const start = at + 1 + digits;
    if (bytes[at]! >> 4 === type) found.push(bytes.subarray(start, start + length));
    at = start + length;
  }
  return found;
}
