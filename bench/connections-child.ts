// The devices of one broker and the consumer of what they send, in a process of their own. Devices are bare sockets: ten thousand
// clients of a library would measure the library.
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { connectAsync, type MqttClient } from 'mqtt';
import type { DevicesReply, DevicesRequest, DevicesSetup } from './connections.ts';

const AT_ONCE = 100;
const TICK_MS = 10;
const LATE_MS_MAX = 10_000;
const PAYLOAD = Buffer.alloc(512, 7);
/** Messages go to devices far apart from each other in turn; a prime, so that all have theirs. */
const STRIDE = 7919;

interface Device {
  readonly name: string;
  readonly socket: Socket;
  seq: number;
}

process.once('message', async (setup: DevicesSetup) => {
  const consumer = await consumerOf(setup);
  const devices = await connectDevices(setup);
  process.send?.({ connected: devices.length } satisfies DevicesReply);
  process.on('message', async (request: DevicesRequest) => {
    process.send?.(await stretch(devices, consumer, request));
  });
});
process.once('disconnect', () => process.exit(0));

/** As the gateway is: one client with the role of one, QoS 1. */
async function consumerOf({ url }: DevicesSetup): Promise<{ count: () => number }> {
  const client: MqttClient = await connectAsync(url, {
    clientId: 'gateway-1',
    username: 'gateway',
    password: 'gateway',
  });
  let count = 0;
  client.on('message', () => {
    count += 1;
  });
  await client.subscribeAsync('brink/+/up/frames/#', { qos: 1 });
  return { count: () => count };
}

async function connectDevices({ url, devices }: DevicesSetup): Promise<Device[]> {
  const all: Device[] = [];
  for (let first = 0; first < devices; first += AT_ONCE) {
    const names = Array.from({ length: Math.min(AT_ONCE, devices - first) }, (_, i) => `dev-${first + i}`);
    all.push(...(await Promise.all(names.map((name) => connectDevice(new URL(url), name)))));
  }
  return all;
}

/** Connected, and subscribed to what is sent down to it. */
async function connectDevice(url: URL, name: string): Promise<Device> {
  const socket = connect({ host: url.hostname, port: Number(url.port), noDelay: true });
  const dead = (error?: Error) => {
    throw new Error(`${name} lost its connection: ${error?.message ?? 'closed'}`);
  };
  socket.on('error', dead).on('close', () => dead());
  await once(socket, 'connect');
  socket.write(Buffer.concat([connectPacket(name), subscribePacket(`brink/${name}/down/#`)]));
  let answer = Buffer.alloc(0);
  // CONNACK has four bytes, SUBACK five.
  while (answer.length < 9) answer = Buffer.concat([answer, (await once(socket, 'data'))[0] as Buffer]);
  if (answer[3] !== 0 || answer[8] !== 1) throw new Error(`${name} was refused: ${answer.toString('hex')}`);
  socket.resume();
  return { name, socket, seq: 0 };
}

/** Messages at a steady rate, spread over all devices; waits for the last of them to come out at the other end. */
async function stretch(
  devices: readonly Device[],
  consumer: { count: () => number },
  { ms, perSecond }: DevicesRequest,
): Promise<DevicesReply> {
  const before = consumer.count();
  const began = performance.now();
  let sent = 0;
  for (let elapsed = 0; elapsed < ms; elapsed = performance.now() - began) {
    const due = Math.floor((elapsed * perSecond) / 1000);
    for (; sent < due; sent++) send(devices[(sent * STRIDE) % devices.length] as Device);
    await new Promise((resolve) => setTimeout(resolve, TICK_MS));
  }
  const late = performance.now() + LATE_MS_MAX;
  while (consumer.count() - before < sent && performance.now() < late) {
    await new Promise((resolve) => setTimeout(resolve, TICK_MS));
  }
  return { sent, received: consumer.count() - before };
}

function send(device: Device): void {
  device.seq += 1;
  const packetId = Buffer.alloc(2);
  packetId.writeUInt16BE((device.seq % 65_535) + 1);
  const topic = text(`brink/${device.name}/up/frames/s/bench-${device.seq}`);
  device.socket.write(packet(0x32, topic, packetId, PAYLOAD));
}

// [MQTT-3.1] clean session, user name and password, 60 s
const connectPacket = (name: string) =>
  packet(0x10, text('MQTT'), Buffer.from([4, 0xc2, 0, 60]), text(name), text(name), text(name));
// [MQTT-3.8] packet id 1, QoS 1
const subscribePacket = (filter: string) => packet(0x82, Buffer.from([0, 1]), text(filter), Buffer.from([1]));

/** [MQTT-2.2.3] */
function packet(first: number, ...parts: Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  const length: number[] = [];
  for (let left = body.length; left > 0 || length.length === 0; left = Math.floor(left / 128)) {
    length.push((left % 128) + (left >= 128 ? 128 : 0));
  }
  return Buffer.concat([Buffer.from([first, ...length]), body]);
}

function text(value: string): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(Buffer.byteLength(value));
  return Buffer.concat([length, Buffer.from(value)]);
}
