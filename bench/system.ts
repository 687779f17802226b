import { Socket } from 'node:net';
import { join } from 'node:path';
import { startUp } from '@brink/test/up';
import { connectAsync, type MqttClient } from 'mqtt';
import { createCpuMeter, createCpuSum } from './cpu.ts';
import { framesOf, type Payload } from './site.ts';

/** `latest` streams may drop; a device whose decision never comes sends its next frame after this time. */
const GIVE_UP_MS = 2000;

/** The services as `brink up` runs them, and devices that send their next frame when the last one is decided. */
export async function startSystem(options: { folder: string; payload: Payload; devices: number }) {
  const { folder } = options;
  const up = await startUp({ folder, config: join(folder, 'config'), models: join(folder, 'models') });
  const client = await connectAsync(up.mqtt, { queueQoSZero: false });
  // MQTT.js leaves Nagle's algorithm on, which would measure the kernel's timer.
  if (client.stream instanceof Socket) client.stream.setNoDelay(true);
  const frames = await framesOf(options.payload);
  const devices = createDevices(client, options, frames);
  await client.subscribeAsync('brink/+/down/decisions/+');
  client.on('message', (topic) => devices.decided(topic.split('/')[1] as string));

  const meter = createCpuMeter(up.pids);
  const spent = createCpuSum();

  return {
    /** µs of each process, runners and decode children included, over everything that was measured; {} where it cannot be told */
    get cpuPerFrame() {
      return spent.perFrame;
    },
    /** Closed loop, one frame in flight per device. */
    async framesPerSecond(ms: number): Promise<number> {
      const cpuBefore = meter?.read() ?? {};
      devices.start();
      const [before, start] = [devices.count(), performance.now()];
      await new Promise((resolve) => setTimeout(resolve, ms));
      const fps = ((devices.count() - before) * 1000) / (performance.now() - start);
      await devices.drain();
      spent.add(cpuBefore, meter?.read() ?? {}, devices.count() - before);
      return fps;
    },
    async [Symbol.asyncDispose]() {
      await client.endAsync(true);
      await up[Symbol.asyncDispose]();
    },
  };
}

function createDevices(client: MqttClient, options: { payload: Payload; devices: number }, frames: Uint8Array[]) {
  const sentAt = new Map<string, number>();
  let running = false;
  let decisions = 0;
  let sent = 0;

  function send(device: string): void {
    sentAt.set(device, performance.now());
    client.publish(`brink/${device}/up/frames/${options.payload}`, frames[sent++ % frames.length] as Buffer);
  }

  return {
    count: () => decisions,
    decided(device: string): void {
      decisions++;
      sentAt.delete(device);
      if (running) send(device);
    },
    start(): void {
      running = true;
      for (let i = 0; i < options.devices; i++) send(`dev-${i}`);
    },
    /** Waits until nothing is in flight, so that the raw loop has the machine to itself. */
    async drain(): Promise<void> {
      running = false;
      const late = performance.now() + GIVE_UP_MS;
      while (sentAt.size > 0 && performance.now() < late) await new Promise((resolve) => setTimeout(resolve, 20));
      sentAt.clear();
    },
  };
}
