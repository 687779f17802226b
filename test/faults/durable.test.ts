import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createDevice } from '@brink/device';
import type { Decision, Status } from '@brink/protocol';
import { expect, it, onTestFinished } from 'vitest';
import { type Api, api, type List } from '../harness/api.ts';
import { startUp } from '../harness/up.ts';

// Durable streams while services are killed: each frame that was kept has one outcome, none is lost and none is there twice.

const long = process.env.BRINK_TEST_SIZE === 'long';
const DEVICES = ['pump-1', 'pump-2', 'pump-3'];
const EVERY_MS = 25;
/** In an order of its own each round. `brink up` gives a service up that ends more than five times within a minute. */
const SERVICES = ['gateway', 'inference', 'control', 'broker'];
const ROUNDS = long ? 4 : 1;
/** 32 × 32 × 3, what cifar-net takes. */
const FRAME_BYTES = 3072;
const STREAM = { format: 'tensor', delivery: 'durable', pipelines: { wear: { model: 'cifar-net' } } };
const SETTLE_MS = 60_000;

it('kill -9 of everything costs no frame of a durable stream and decides none twice', {
  timeout: 300_000,
}, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'brink-durable-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const config = join(folder, 'config');
  mkdirSync(config);
  writeFileSync(join(config, 'site.yaml'), JSON.stringify({ version: 1, streams: { shaft: STREAM } }));
  await using up = await startUp({ folder, config });
  const http = api(up.http);
  const devices = DEVICES.map((name) =>
    createDevice({ url: up.mqtt, name, outbox: { file: join(folder, `${name}.db`) } }),
  );
  await Promise.all(devices.map((device) => device.start(AbortSignal.timeout(20_000))));
  onTestFinished(async () => void (await Promise.all(devices.map((device) => device.stop()))));

  const sent: string[] = [];
  const sending = setInterval(() => {
    for (const device of devices) {
      void device
        .keep('shaft', Buffer.alloc(FRAME_BYTES, sent.length))
        .then(({ boot, seq }) => sent.push(`${device.name}.shaft.${boot}.${seq}.0.wear`));
    }
  }, EVERY_MS);
  onTestFinished(() => clearInterval(sending));
  const pids = new Map(Object.entries(up.pids));
  for (const service of Array.from({ length: ROUNDS }, shuffled).flat()) {
    const before = sent.length;
    const seen = up.events.length;
    process.kill(pids.get(service) as number, 'SIGKILL');
    const back = await up.event(
      (event) => event.event === 'started' && event.service === service && up.events.indexOf(event) >= seen,
    );
    pids.set(service, back.pid as number);
    await expect.poll(() => sent.length, { timeout: 10_000 }).toBeGreaterThan(before + 30);
  }
  clearInterval(sending);
  await expect.poll(() => devices.map((device) => device.waiting), { timeout: SETTLE_MS }).toEqual([0, 0, 0]);
  const { laws } = await http.until<Status>(
    '/v1/status',
    (status) => status.laws.pipelines.items.some(({ formed, decided }) => formed === sent.length && decided === formed),
    SETTLE_MS,
  );

  const ids = await idsOf(http);
  expect(ids.toSorted()).toEqual(sent.toSorted());
  expect([laws.streams.holds, laws.pipelines.holds]).toEqual([true, true]);
});

const shuffled = () => SERVICES.toSorted(() => Math.random() - 0.5);

/** Every decision there is. */
async function idsOf(http: Api): Promise<string[]> {
  const ids: string[] = [];
  for (let after = 0; ; ) {
    const { items, next } = await http.get<List<Decision>>(`/v1/decisions?after=${after}&limit=500`);
    ids.push(...items.map(({ id }) => id));
    if (items.length === 0 || next === undefined || next === null) return ids;
    after = next;
  }
}
