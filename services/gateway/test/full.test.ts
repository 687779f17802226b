import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ReceiptSchema } from '@brink/protocol';
import { describe, expect, it, onTestFinished } from 'vitest';
import { spoolWith } from './harness/accidents.ts';
import { noMosquitto, startMosquitto } from './harness/mosquitto.ts';
import { writePassport } from './harness/neighbours.ts';
import { expectLaws, SITE, type Site, startSite, tensor, until } from './harness/site.ts';

// Durable streams without room: in their part of the spool, or on the disk.

const durable = (model = 'cats', pipeline = 'bits') => ({
  format: 'tensor' as const,
  delivery: 'durable' as const,
  pipelines: { [pipeline]: { model } },
});
const LATEST = { format: 'tensor' as const, frame_age_ms_max: 60_000, pipelines: { now: { model: 'cats' } } };

const decisionsOf = (site: Site, stream: string) =>
  site.control.outcomes.filter((one) => one.stream === stream).map(({ boot, seq }) => `${boot}-${seq}`);

async function isDecided(site: Site, stream: string, id: string): Promise<void> {
  await site.frame('dev-2', stream, tensor(), id);
  await until(
    () => decisionsOf(site, stream).includes(id),
    () => `${stream} ${id} is decided`,
  );
}

describe('a durable stream that is full', () => {
  const stuck = async (brokerUrl?: string) => {
    const streams = { stuck: durable('ghosts', 'never'), free: durable(), now: LATEST };
    const config = { spool: { rowsMax: 50, bytesMax: 1_000_000, ageMsMax: 1_000_000 } };
    const site = await startSite({
      configuration: { ...SITE, streams },
      config,
      ...(brokerUrl === undefined ? {} : { brokerUrl }),
    });
    await site.hears('ghosts');
    for (let seq = 1; seq <= 1500; seq++) void site.frame('dev-1', 'stuck', tensor(), `k3v9-${seq}`);
    await until(async () => (await site.problems()).some((problem) => problem.includes('stream stuck is full')));
    return site;
  };

  async function goesOn(site: Site): Promise<void> {
    await isDecided(site, 'free', 'k3v9-1');
    await isDecided(site, 'now', 'k3v9-1');
    expect(site.service.counts.frames('dev-1', 'stuck')).toMatchObject({ received: 50, accepted: 50 });
    await site.inference.announce([site.cats, await writePassport(site.modelsDir, { name: 'ghosts' })]);
    await until(
      () => decisionsOf(site, 'stuck').length === 1500,
      () => `${decisionsOf(site, 'stuck').length} of 1500`,
      20_000,
    );
    expect(new Set(decisionsOf(site, 'stuck')).size).toBe(1500);
    await until(() => site.service.counts.units('never').pending === 0);
    expectLaws(site);
  }

  it('leaves its frames with the broker, and is in nobody else’s way', async () => {
    await using site = await stuck();
    // More than it keeps un-acked in memory: it left, and the broker keeps them.
    await until(async () => (await site.metric(/^brink_mqtt_connected/)) === 3);
    await goesOn(site);
  });

  it.skipIf(noMosquitto !== undefined)(
    `${noMosquitto === undefined ? '' : `(skipped: ${noMosquitto}) `}leaves its frames with Mosquitto, over MQTT 5, and is in nobody else’s way`,
    async () => {
      await using broker = await startMosquitto();
      await using site = await stuck(broker.url);
      await goesOn(site);
    },
  );

  it('is emptied by the age of its frames, which expire', async () => {
    const config = { spool: { rowsMax: 5, bytesMax: 1_000_000, ageMsMax: 300 } };
    const configuration = { ...SITE, streams: { stuck: durable() } };
    await using site = await startSite({ configuration, config, inference: false });
    await site.hears('i.sock');
    for (let seq = 1; seq <= 20; seq++) void site.frame('dev-1', 'stuck', tensor(), `k3v9-${seq}`);
    await until(() => site.control.outcomes.length === 20);
    expect(
      site.control.outcomes.every(({ outcome, error }) => outcome === 'expired' && error?.code === 'E_EXPIRED'),
    ).toBe(true);
    await until(() => site.service.counts.units('bits').pending === 0);
    expect(site.service.counts.units('bits')).toMatchObject({ formed: 20, expired: 20 });
    expectLaws(site);
  });
});

/** `through` of one device's receipts. */
async function receipts(site: Site): Promise<number[]> {
  const through: number[] = [];
  site.client.on('message', (_, payload) => through.push(ReceiptSchema.parse(JSON.parse(payload.toString())).through));
  await site.client.subscribeAsync('brink/dev-1/down/receipts/raw', { qos: 1 });
  return through;
}

describe('a disk that is full', () => {
  it('costs no frame and no lie: nothing is acknowledged, /readyz says why, and it goes on by itself', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'brink-more-'));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    const more = join(folder, 'more');
    await using site = await startSite({
      configuration: { ...SITE, streams: { raw: durable('ghosts', 'never'), now: LATEST } },
      spoolWorker: spoolWith({ pages: 20, more }),
    });
    await site.hears('ghosts');
    const got = await receipts(site);
    const row = site.service.counts.frames('dev-1', 'raw');
    for (let seq = 1; seq <= 500; seq++) void site.frame('dev-1', 'raw', tensor(), `k3v9-${seq}`);
    await until(async () => (await site.problems()).some((problem) => problem.includes('E_STORAGE_FULL')));
    await isDecided(site, 'now', 'k3v9-1');
    const posted = site.control.post({ device: 'dev-1', stream: 'raw', boot: 'k3v9', seq: 900n, waitMs: 1 }, tensor());
    await expect(posted).rejects.toMatchObject({ code: 'E_STORAGE_FULL' });
    expect(row.received).toBeLessThan(500);
    expect(row.accepted).toBe(row.received);
    expect(Math.max(0, ...got)).toBe(row.accepted);
    writeFileSync(more, '');
    await until(() => got.at(-1) === 500);
    await site.inference.announce([site.cats, await writePassport(site.modelsDir, { name: 'ghosts' })]);
    await until(() => decisionsOf(site, 'raw').length === 500);
    expect(new Set(decisionsOf(site, 'raw')).size).toBe(500);
    await until(() => site.service.counts.units('never').pending === 0);
    expect(row).toMatchObject({ accepted: 500, rejected: 0 });
    expectLaws(site);
  });
});

describe('the thread of the spool', () => {
  it.each(['commit.before', 'commit.after'])('that ends again and again, %s, costs nothing', async (point) => {
    const configuration = { ...SITE, streams: { raw: durable() } };
    await using site = await startSite({ configuration, spoolWorker: spoolWith({ point, n: 6 }) });
    await site.ready();
    const got = await receipts(site);
    for (let seq = 1; seq <= 20; seq++) await site.frame('dev-1', 'raw', tensor(), `k3v9-${seq}`);
    await until(() => got.at(-1) === 20);
    await until(() => decisionsOf(site, 'raw').length >= 20);
    await until(() => site.service.counts.units('bits').pending === 0);
    expect(new Set(decisionsOf(site, 'raw')).size).toBe(20);
    expect(await site.metric(/^brink_gateway_spool_restarts_total/)).toBeGreaterThan(0);
    expect(site.service.counts.units('bits')).toMatchObject({ formed: 20, decided: 20 });
    expectLaws(site);
  });
});

describe('a gateway that was away', () => {
  it('gets what was sent to its durable streams meanwhile, and of the others nothing: nobody knows how old it is', async () => {
    const streams = { raw: durable(), now: LATEST };
    await using site = await startSite({ configuration: { ...SITE, streams } });
    await site.ready();
    await isDecided(site, 'raw', 'k3v9-1');
    await isDecided(site, 'now', 'k3v9-1');
    await site.service.stop();
    for (const stream of ['raw', 'now']) await site.frame('dev-2', stream, tensor(), 'k3v9-2');
    await site.restart();
    await site.ready();
    for (const stream of ['raw', 'now']) await isDecided(site, stream, 'k3v9-3');
    await until(() => decisionsOf(site, 'raw').length === 3);
    expect(decisionsOf(site, 'now')).toEqual(['k3v9-1', 'k3v9-3']);
    expectLaws(site);
  });

  it('gets nothing for a stream that is durable no more: the broker need not keep anything, whenever that was decided', async () => {
    const [kept, latest] = [{ raw: durable() }, { raw: { ...LATEST, pipelines: { bits: { model: 'cats' } } } }];
    await using site = await startSite({ configuration: { ...SITE, streams: kept } });
    await site.ready();
    await isDecided(site, 'raw', 'k3v9-1');
    // While it runs …
    const connects = await site.metric(/^brink_mqtt_connects_total/);
    await site.configure({ ...SITE, streams: latest }, 'aaaaaaaaaaaa');
    const forgotten = (before: number) => async () =>
      (await site.metric(/^brink_mqtt_connects_total/)) > before && (await site.metric(/^brink_mqtt_connected/)) === 2;
    await until(forgotten(connects));
    await site.service.stop();
    await site.frame('dev-2', 'raw', tensor(), 'k3v9-2');
    await site.configure({ ...SITE, streams: kept }, 'bbbbbbbbbbbb');
    await site.restart();
    await site.ready();
    await isDecided(site, 'raw', 'k3v9-3');
    // … and while it was away.
    await site.service.stop();
    await site.configure({ ...SITE, streams: latest }, 'cccccccccccc');
    await site.restart();
    await until(forgotten(2));
    await site.service.stop();
    await site.frame('dev-2', 'raw', tensor(), 'k3v9-4');
    await site.configure({ ...SITE, streams: kept }, 'dddddddddddd');
    await site.restart();
    await site.ready();
    await isDecided(site, 'raw', 'k3v9-5');
    expect(decisionsOf(site, 'raw')).toEqual(['k3v9-1', 'k3v9-3', 'k3v9-5']);
  });
});
