import { Socket } from 'node:net';
import { join } from 'node:path';
import { startUp } from '@brink/test/up';
import { connectAsync, type MqttClient } from 'mqtt';
import { createCpuMeter, createCpuSum } from './cpu.ts';
import { createDevices, type Devices } from './devices.ts';
import { framesOf, type Payload } from './site.ts';

/** The services as `brink up` runs them, and devices that send to them over MQTT and hear their decisions. */
export async function startSystem(options: { folder: string; payload: Payload; devices: number }) {
  const { folder } = options;
  const up = await startUp({ folder, config: join(folder, 'config'), models: join(folder, 'models') });
  const { client, devices } = await connectDevices(up.mqtt, options);
  const meter = createCpuMeter(up.pids);
  const spent = createCpuSum();
  const runLoop = createLoop(devices);

  return {
    ops: up.ops,
    pids: up.pids,
    devices,
    /** µs of each process, runners and decode children included, over everything that was measured; {} where it cannot be told */
    get cpuPerFrame() {
      return spent.perFrame;
    },
    /** Closed loop, one frame in flight per device. */
    async framesPerSecond(ms: number): Promise<number> {
      const [cpuBefore, before] = [meter?.read() ?? {}, devices.count];
      const fps = await runLoop(ms);
      spent.add(cpuBefore, meter?.read() ?? {}, devices.count - before);
      return fps;
    },
    async [Symbol.asyncDispose]() {
      await client.endAsync(true);
      await up[Symbol.asyncDispose]();
    },
  };
}

export type System = Awaited<ReturnType<typeof startSystem>>;

/** Closed loop for so many ms, then until nothing is in flight. @returns frames per second */
export function createLoop(devices: Devices): (ms: number) => Promise<number> {
  return async (ms) => {
    devices.start();
    const [before, start] = [devices.count, performance.now()];
    await new Promise((resolve) => setTimeout(resolve, ms));
    const fps = ((devices.count - before) * 1000) / (performance.now() - start);
    await devices.drain();
    return fps;
  };
}

/** Devices behind one connection. */
export async function connectDevices(
  url: string,
  options: { payload: Payload; devices: number },
): Promise<{ client: MqttClient; devices: Devices }> {
  const client = await connectAsync(url, { queueQoSZero: false });
  // MQTT.js leaves Nagle's algorithm on, which would measure the kernel's timer.
  if (client.stream instanceof Socket) client.stream.setNoDelay(true);
  const devices = createDevices(client, options, await framesOf(options.payload));
  await client.subscribeAsync('brink/+/down/decisions/+');
  client.on('message', (topic, payload) => devices.heard(topic, payload));
  return { client, devices };
}
