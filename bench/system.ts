import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, Socket } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { connectAsync, type MqttClient } from 'mqtt';
import { framesOf, type Payload } from './site.ts';

const READY_MS_MAX = 60_000;
/** `latest` streams may drop; a device whose decision never comes sends its next frame after this time. */
const GIVE_UP_MS = 2000;

/** The services as `brink up` runs them, and devices that send their next frame when the last one is decided. */
export async function startSystem(options: { folder: string; payload: Payload; devices: number }) {
  const up = await startUp(options.folder);
  const client = await connectAsync(up.mqtt, { queueQoSZero: false });
  // MQTT.js leaves Nagle's algorithm on, which would measure the kernel's timer.
  if (client.stream instanceof Socket) client.stream.setNoDelay(true);
  const frames = await framesOf(options.payload);
  const devices = createDevices(client, options, frames);
  await client.subscribeAsync('brink/+/down/decisions/+');
  client.on('message', (topic) => devices.decided(topic.split('/')[1] as string));

  return {
    /** Closed loop, one frame in flight per device. */
    async framesPerSecond(ms: number): Promise<number> {
      devices.start();
      const [before, start] = [devices.count(), performance.now()];
      await new Promise((resolve) => setTimeout(resolve, ms));
      const fps = ((devices.count() - before) * 1000) / (performance.now() - start);
      await devices.drain();
      return fps;
    },
    async [Symbol.asyncDispose]() {
      await client.endAsync(true);
      up.child.kill('SIGTERM');
      if (up.child.exitCode === null) await once(up.child, 'exit');
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

interface Ready {
  readonly event: string;
  readonly mqtt: string;
}

async function startUp(folder: string) {
  const ports = await freePorts(6);
  const args = [
    join(import.meta.dirname, '../packages/cli/bin/brink.js'),
    'up',
    '--no-demo',
    '--json',
    ...['--data', join(folder, 'data'), '--config', join(folder, 'config'), '--models', join(folder, 'models')],
    ...['--port', ports[0], '--mqtt-port', ports[1], '--oip-port', ports[2], '--ops-port', ports[3]].map(String),
  ];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout });
  const timer = setTimeout(() => child.kill('SIGKILL'), READY_MS_MAX);
  for await (const line of lines) {
    const event = JSON.parse(line) as Ready;
    if (event.event !== 'ready') continue;
    clearTimeout(timer);
    child.stdout.resume();
    return { child, mqtt: event.mqtt };
  }
  throw new Error('brink up ended before it was ready; its lines above say why');
}

/** Consecutive ports that were free a moment ago. */
async function freePorts(count: number): Promise<number[]> {
  for (;;) {
    const first = 20_000 + Math.floor(Math.random() * 20_000);
    const ports = Array.from({ length: count }, (_, i) => first + i);
    const free = await Promise.all(ports.map(isFree));
    if (free.every(Boolean)) return ports;
  }
}

function isFree(port: number): Promise<boolean> {
  const server = createServer();
  return new Promise((resolve) => {
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}
