import { type Broker, createBroker, type User } from '@brink/broker';
import { createRegistry, silentLogger, systemClock } from '@brink/runtime';
import mqtt, { type MqttClient } from 'mqtt';
import { describe, expect, it, onTestFinished } from 'vitest';
import { expectLaws, SITE, type Site, startSite, tensor, until } from './harness/site.ts';

const ROUNDS = process.env['BRINK_TEST_SIZE'] === 'long' ? 12 : 2;
const FRAMES = 100;
const USERS: User[] = [
  { username: 'gateway', role: 'gateway', password: 'gateway-password' },
  { username: 'control', role: 'control', password: 'control-password' },
];
const configuration = {
  ...SITE,
  streams: {
    now: { format: 'tensor' as const, frame_age_ms_max: 60_000, pipelines: { a: { model: 'cats' } } },
    kept: { format: 'tensor' as const, delivery: 'durable' as const, pipelines: { b: { model: 'cats' } } },
  },
};

async function brokerOn(port: number): Promise<Broker> {
  const broker = createBroker(
    { host: '127.0.0.1', port, anonymous: 'loopback', users: USERS },
    { logger: silentLogger, clock: systemClock, registry: createRegistry('broker') },
  );
  await broker.start(new AbortController().signal);
  return broker;
}

const connected = (url: string): Promise<MqttClient> => mqtt.connectAsync(url, { clientId: 'x', reconnectPeriod: 0 });

/** Sends to both streams, each frame of one right after that of the other, from the first moment of the broker on. */
async function send(url: string, boot: string, isHeard: () => boolean): Promise<number> {
  const client = await connected(url);
  let seq = 0;
  for (let after = 0; after < FRAMES; after += isHeard() ? 1 : 0) {
    seq += 1;
    for (const stream of ['now', 'kept'])
      await client.publishAsync(`brink/dev-1/up/frames/${stream}/${boot}-${seq}`, tensor(), { qos: 1 });
  }
  await client.endAsync(true);
  return seq;
}

const keptOf = ({ control }: Site, boot: string) =>
  new Set(control.outcomes.filter((one) => one.stream === 'kept' && one.boot === boot).map(({ seq }) => seq));

describe('a broker that loses its memory', () => {
  it('costs no frame of a durable stream that the gateway heard', { timeout: 60_000 }, async () => {
    let broker = await brokerOn(0);
    onTestFinished(() => broker.stop());
    const { url } = broker;
    await using site = await startSite({ configuration, brokerUrl: url });
    await site.ready();
    for (let round = 0; round < ROUNDS; round++) {
      await broker.stop();
      broker = await brokerOn(Number(new URL(url).port));
      const received = () => site.service.counts.frames('dev-1', 'now').received;
      const [boot, before] = [`b00${round}`, received()];
      const last = await send(url, boot, () => received() > before);
      await until(() => keptOf(site, boot).has(last), 'the last');
      await until(() => site.service.counts.units('b').pending === 0);
      // In their order, and none before the connection was there: the last ones.
      const heard = received() - before;
      const all = Array.from({ length: heard }, (_, i) => last - i);
      expect(all.filter((seq) => !keptOf(site, boot).has(seq))).toEqual([]);
      expectLaws(site);
    }
  });
});
