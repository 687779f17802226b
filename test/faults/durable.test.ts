import { randomInt } from 'node:crypto';
import { join } from 'node:path';
import { createDevice } from '@brink/device';
import type { Status } from '@brink/protocol';
import { systemClock, wait } from '@brink/runtime';
import { connectAsync } from 'mqtt';
import { expect, it } from 'vitest';
import { SERVICES, type ServiceName, type Services, startServices } from './fleet.ts';
import { compare, outcomesOf, type Verdict } from './referee.ts';

// Durable streams under `kill -9` of everything: each frame that a device kept has one outcome, none is lost, none is there twice.
// The devices and their ledgers live in this process, that nobody kills; the referee compares them with what control answers.

const long = process.env.BRINK_TEST_SIZE === 'long';
const RUN = long ? { devices: 6, ms: 60_000, kills: 40, everyMs: 50 } : { devices: 3, ms: 7000, kills: 5, everyMs: 50 };
const CONTROL = { devices: 3, ms: 10_000, kills: 8, everyMs: 20 };
/** 32 × 32 × 3, what cifar-net takes. */
const FRAME_BYTES = 3072;
const STREAMS = { shaft: { format: 'tensor', delivery: 'durable', pipelines: { wear: { model: 'cifar-net' } } } };
const SETTLE_MS = 90_000;

type Run = typeof RUN;
const unitOf = (device: string, { boot, seq }: { boot: string; seq: number }) =>
  `${device}.shaft.${boot}.${seq}.0.wear`;
const devicesOf = (run: Run) => Array.from({ length: run.devices }, (_, i) => `pump-${i + 1}`);

it('kill -9 of gateway, inference, control and broker costs no frame of a durable stream and decides none twice', {
  timeout: 400_000,
}, async () => {
  await using services = await startServices({ streams: STREAMS });
  await using devices = await keeping(services, RUN);
  const kills = await killAtRandom(services, RUN);
  await devices.settled();
  const verdict = await judged(services, devices.sent, kills, devices.sent.length);
  expect(verdict).toMatchObject({ lost: [], twice: [], foreign: [] });
  expect(verdict.laws).toEqual({ streams: true, pipelines: true });
});

it.runIf(long)(
  '(skipped without BRINK_TEST_SIZE=long) what the run above would see: a gateway that acknowledges before it commits, and devices that ignore receipts, lose frames',
  { timeout: 400_000 },
  async () => {
    const script = { gateway: ['services/gateway/test/harness/gateway-child.ts', 'none', '1', 'ack-first'] };
    await using services = await startServices({ streams: STREAMS, script });
    await using devices = await publishing(services, CONTROL);
    const kills = await killAtRandom(services, CONTROL);
    await devices.settled();
    const verdict = await judged(services, devices.sent, kills);
    expect(verdict.lost.length).toBeGreaterThan(0);
  },
);

/** Devices of the SDK with outboxes, one frame every so often each. */
async function keeping(services: Services, run: Run) {
  const sent: string[] = [];
  const devices = devicesOf(run).map((name) =>
    createDevice({ url: services.mqtt, name, outbox: { file: join(services.folder, `${name}.db`) } }),
  );
  await Promise.all(devices.map((device) => device.start(AbortSignal.timeout(20_000))));
  const sending = setInterval(() => {
    for (const device of devices)
      void device.keep('shaft', frame(sent.length)).then((name) => sent.push(unitOf(device.name, name)));
  }, run.everyMs);
  return {
    sent,
    async settled(): Promise<void> {
      clearInterval(sending);
      const waiting = () => devices.map((device) => device.waiting);
      await expect.poll(waiting, { timeout: SETTLE_MS }).toEqual(devices.map(() => 0));
    },
    async [Symbol.asyncDispose]() {
      clearInterval(sending);
      await Promise.all(devices.map((device) => device.stop()));
    },
  };
}

/** Plain MQTT clients: what the broker acknowledged counts as sent. */
async function publishing(services: Services, run: Run) {
  const sent: string[] = [];
  const clients = await Promise.all(
    devicesOf(run).map(async (clientId) => ({
      clientId,
      client: await connectAsync(services.mqtt, { clientId, reconnectPeriod: 100, protocolVersion: 4 }),
    })),
  );
  for (const { client } of clients) client.on('error', () => {});
  let seq = 0;
  const sending = setInterval(() => {
    seq += 1;
    for (const { clientId, client } of clients) {
      const name = { boot: 'plain', seq };
      const topic = `brink/${clientId}/up/frames/shaft/plain-${seq}`;
      if (client.connected)
        client.publish(topic, frame(seq), { qos: 1 }, (error) => {
          if (error === undefined || error === null) sent.push(unitOf(clientId, name));
        });
    }
  }, run.everyMs);
  return {
    sent,
    /** Frames of a stream are taken in their order: with the last one it is clear what became of those before. */
    async settled(): Promise<void> {
      clearInterval(sending);
      await services.ready();
      for (const { clientId, client } of clients) {
        const topic = `brink/${clientId}/up/frames/shaft/last-1`;
        const id = unitOf(clientId, { boot: 'last', seq: 1 });
        await expect
          .poll(
            async () => {
              client.publish(topic, frame(1), { qos: 1 });
              return (await services.http.request(`/v1/decisions/${id}`)).status;
            },
            { timeout: SETTLE_MS, interval: 500 },
          )
          .toBe(200);
        sent.push(id);
      }
    },
    async [Symbol.asyncDispose]() {
      clearInterval(sending);
      await Promise.all(clients.map(({ client }) => client.endAsync(true)));
    },
  };
}

const frame = (fill: number) => Buffer.alloc(FRAME_BYTES, fill % 256);

/** Ends services at random moments; each of the four, and at least as many as the run says. */
async function killAtRandom(services: Services, run: Run): Promise<string> {
  const seed = Number(process.env.BRINK_TEST_SEED ?? randomInt(2 ** 31));
  const random = mulberry32(seed);
  const counts = new Map<ServiceName, number>(SERVICES.map((name) => [name, 0]));
  const begin = performance.now();
  let kills = 0;
  const pauseMs = (2 * run.ms) / run.kills / 1.3;
  while (performance.now() - begin < run.ms || kills < run.kills) {
    await wait(random() * pauseMs, systemClock);
    const name = SERVICES[kills < SERVICES.length ? kills : Math.floor(random() * SERVICES.length)] as ServiceName;
    await services.kill(name);
    counts.set(name, (counts.get(name) ?? 0) + 1);
    kills += 1;
  }
  const each = [...counts].map(([name, count]) => `${name} ${count}`).join(', ');
  return `${kills} × kill -9 in ${Math.round((performance.now() - begin) / 1000)} s (${each}), BRINK_TEST_SEED=${seed}`;
}

/** Small, seeded, good enough to choose victims: https://gist.github.com/tommyettinger/46a874533244883189143505d203312c */
function mulberry32(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Waits until nothing is on its way, and compares. @param formed that many units at least, as the gateway counts them over all its lives */
async function judged({ http }: Services, sent: readonly string[], kills: string, formed = 1): Promise<Verdict> {
  const isAtRest = ({ laws: { pipelines } }: Status) =>
    pipelines.items.every(({ pending }) => pending === 0) &&
    pipelines.items.reduce((sum, one) => sum + one.formed, 0) >= formed;
  const { laws } = await http.until<Status>('/v1/status', isAtRest, SETTLE_MS);
  const verdict = compare(sent, await outcomesOf(http), laws);
  process.stdout.write(`${kills}\n${verdict.report}\n`);
  return verdict;
}
