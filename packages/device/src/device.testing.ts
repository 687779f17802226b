import { type BrokerConfig, createBroker } from '@brink/broker';
import { type Ack, AckSchema } from '@brink/protocol';
import { createRegistry, type Part, silentLogger, systemClock } from '@brink/runtime';
import mqtt, { type IPublishPacket, type MqttClient } from 'mqtt';
import { createDevice, type DeviceConfig } from './device.ts';

const CONTROL = { username: 'control', role: 'control', password: 'c' } as const;

/** Waits for a condition, at most 5 s. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  for (const end = performance.now() + 5000; performance.now() < end; ) {
    if (condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  throw new Error(`never happened: ${what}`);
}

/** The real broker, with somebody who speaks as control and hears everything. */
export async function startSite(config: Partial<BrokerConfig> = {}) {
  const broker = createBroker(
    { host: '127.0.0.1', port: 0, anonymous: 'loopback', users: [CONTROL], ...config },
    { logger: silentLogger, clock: systemClock, registry: createRegistry('broker') },
  );
  await broker.start(new AbortController().signal);
  const { url } = broker;
  const { username, password } = CONTROL;
  const control: MqttClient = await mqtt.connectAsync(url, { username, password, reconnectPeriod: 0 });
  const messages: { topic: string; payload: Buffer; retain: boolean }[] = [];
  control.on('message', (topic: string, payload: Buffer, packet: IPublishPacket) => {
    messages.push({ topic, payload, retain: packet.retain });
  });
  await control.subscribeAsync('brink/#', { qos: 1 });
  const parts: Part[] = [];

  return {
    url,
    broker,
    control,
    messages,
    /** Topics and payloads under one device's `up/`. */
    up: (device: string, rest: string) =>
      messages.filter(({ topic }) => topic.startsWith(`brink/${device}/up/${rest}`)),
    acks: (device: string): Ack[] =>
      messages
        .filter(({ topic }) => topic === `brink/${device}/up/acks`)
        .map(({ payload }) => AckSchema.parse(JSON.parse(payload.toString()))),

    device(o: Partial<DeviceConfig> = {}) {
      const device = createDevice({ url, name: 'dev-1', ...o });
      parts.push(device);
      return device;
    },
    manage: (part: Part) => void parts.push(part),

    command: (device: string, name: string, key: string, o: object = {}) =>
      control.publishAsync(
        `brink/${device}/down/commands/${name}`,
        JSON.stringify({ key, expires_ms: 5000, args: {}, because: 'cam-1.front.boot.1.0.pets', ...o }),
        { qos: 1 },
      ),

    async [Symbol.asyncDispose]() {
      for (const part of parts.reverse()) await part.stop();
      await control.endAsync(true);
      await broker.stop();
    },
  };
}

export const soon = () => AbortSignal.timeout(5000);
