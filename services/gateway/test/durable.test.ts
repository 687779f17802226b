import { BrinkError, ReceiptSchema } from '@brink/protocol';
import { describe, expect, it } from 'vitest';
import type { z } from 'zod';
import { decided } from './harness/neighbours.ts';
import { expectLaws, SITE, type Site, startSite, tensor, until } from './harness/site.ts';

const durable = (over: object = {}, pipelines: Record<string, { model: string }> = { bits: { model: 'cats' } }) => ({
  ...SITE,
  streams: { raw: { format: 'tensor' as const, delivery: 'durable' as const, pipelines, ...over } },
});

type Receipt = z.infer<typeof ReceiptSchema>;

/** Receipts of one device's stream, as it hears them. */
async function receipts(site: Site, device: string): Promise<Receipt[]> {
  const got: Receipt[] = [];
  const topic = `brink/${device}/down/receipts/raw`;
  site.client.on('message', (to, payload) => {
    if (to === topic) got.push(ReceiptSchema.parse(JSON.parse(payload.toString())));
  });
  await site.client.subscribeAsync(topic, { qos: 1 });
  return got;
}

const decisionsOf = (site: Site, device: string) =>
  site.control.outcomes.filter((one) => one.device === device).map(({ boot, seq }) => `${boot}-${seq}`);

describe('a durable stream', () => {
  it('gets a receipt for what is in the spool, and an outcome for each frame, in order', async () => {
    await using site = await startSite({ configuration: durable() });
    await site.ready();
    const got = await receipts(site, 'dev-1');
    for (let seq = 1; seq <= 20; seq++) await site.frame('dev-1', 'raw', tensor(), `k3v9-${seq}`);
    await until(() => got.at(-1)?.through === 20);
    await until(() => site.control.outcomes.length === 20);
    expect(decisionsOf(site, 'dev-1')).toEqual(Array.from({ length: 20 }, (_, i) => `k3v9-${i + 1}`));
    expect(site.control.outcomes.every((one) => one.durable)).toBe(true);
    await until(async () => (await site.metric(/spool_rows\{.*raw/)) === 0);
    expect(site.service.counts.frames('dev-1', 'raw')).toMatchObject({ received: 20, accepted: 20 });
    expect(site.service.counts.units('bits')).toMatchObject({ formed: 20, decided: 20, pending: 0 });
    expectLaws(site);
  });

  it('is told of gaps by a receipt that stops at them, until the frame comes or is retired', async () => {
    await using site = await startSite({ configuration: durable() });
    await site.ready();
    const got = await receipts(site, 'dev-1');
    for (const seq of [1, 2, 4, 5, 8]) await site.frame('dev-1', 'raw', tensor(), `k3v9-${seq}`);
    await until(() => site.control.outcomes.length === 5);
    expect(got.at(-1)?.through).toBe(2);
    await site.frame('dev-1', 'raw', tensor(), 'k3v9-3');
    await until(() => got.at(-1)?.through === 5);
    await site.publish('brink/dev-1/up/retired/raw', JSON.stringify({ boot: 'k3v9', below: 8 }));
    await until(() => got.at(-1)?.through === 8);
    expectLaws(site);
  });

  it('says which frames it refused, and why; they are not waited for', async () => {
    await using site = await startSite({ configuration: durable({ frame_bytes_max: 100 }) });
    await site.ready();
    const got = await receipts(site, 'dev-1');
    await site.frame('dev-1', 'raw', tensor(), 'k3v9-1');
    await site.frame('dev-1', 'raw', Buffer.alloc(101), 'k3v9-2');
    await site.frame('dev-1', 'raw', tensor(), 'k3v9-3');
    await until(() => got.at(-1)?.through === 3);
    expect(got.at(-1)?.rejected).toEqual([{ seq: 2, code: 'E_TOO_LARGE' }]);
    await until(() => site.control.outcomes.length === 2);
    await until(() => site.control.letters.length === 1);
    expectLaws(site);
  });

  it('takes a number once: what comes again is a duplicate while it waits, and late when it is decided', async () => {
    await using site = await startSite({ configuration: durable(), inference: false });
    await site.hears('i.sock');
    const got = await receipts(site, 'dev-1');
    await site.frame('dev-1', 'raw', tensor(), 'k3v9-1');
    await site.frame('dev-1', 'raw', tensor(), 'k3v9-1');
    const row = site.service.counts.frames('dev-1', 'raw');
    await until(() => row.received === 2);
    expect(row).toMatchObject({ accepted: 1, duplicate: 1 });
    await site.startNeighbours({ inference: true });
    await until(() => site.control.outcomes.length === 1);
    await until(() => site.service.counts.units('bits').pending === 0);
    const before = got.length;
    await site.frame('dev-1', 'raw', tensor(), 'k3v9-1');
    await until(() => row.received === 3);
    expect(row).toMatchObject({ accepted: 1, duplicate: 1, rejected: 1 });
    expect(await site.metric(/frames_rejected_total\{.*E_SEQ_LATE/)).toBe(1);
    // Its receipt was lost, or it would not have come again.
    await until(() => got.length > before);
    expect(got.at(-1)).toMatchObject({ through: 1, rejected: [] });
    expectLaws(site);
  });

  it('loses nothing when nobody is there to decide or to commit, and neither age nor number of its frames expires them', async () => {
    await using site = await startSite({ configuration: durable({ frame_age_ms_max: 1 }), inference: false });
    await site.hears('i.sock');
    for (let seq = 1; seq <= 1200; seq++) void site.frame('dev-1', 'raw', tensor(), `k3v9-${seq}`);
    const row = site.service.counts.frames('dev-1', 'raw');
    await until(() => row.accepted === 1200);
    await site.service.stop();
    await site.restart();
    expect(site.service.counts.frames('dev-1', 'raw')).toMatchObject({ received: 1200, accepted: 1200 });
    expect(site.service.counts.units('bits')).toMatchObject({ formed: 1200, pending: 1200 });
    await site.startNeighbours({ inference: true });
    await until(() => site.control.outcomes.length === 1200);
    expect(site.control.outcomes.every(({ outcome }) => outcome === 'decided')).toBe(true);
    expect(decisionsOf(site, 'dev-1')).toEqual(Array.from({ length: 1200 }, (_, i) => `k3v9-${i + 1}`));
    await until(() => site.service.counts.units('bits').pending === 0);
    expectLaws(site);
  });

  it.each([
    ['rows', { rowsMax: 3, bytesMax: 1_000_000 }],
    ['bytes', { rowsMax: 1000, bytesMax: 3 * 48 }],
  ])('that is full of %s takes no more, says so, and goes on without a loss when there is room', async (_, limits) => {
    const config = { spool: { ...limits, ageMsMax: 1_000_000 } };
    await using site = await startSite({ configuration: durable(), config, inference: false });
    await site.hears('i.sock');
    const got = await receipts(site, 'dev-1');
    for (let seq = 1; seq <= 300; seq++) void site.frame('dev-1', 'raw', tensor(), `k3v9-${seq}`);
    await until(() => got.some(({ busy_ms }) => busy_ms > 0));
    await until(async () => (await site.problems()).some((problem) => problem.includes('stream raw is full')));
    expect(got.every(({ through }) => through <= 3)).toBe(true);
    await until(() => site.service.counts.frames('dev-1', 'raw').accepted === 3);
    expect(site.service.counts.frames('dev-1', 'raw')).toMatchObject({ received: 3 });
    await site.startNeighbours({ inference: true });
    await until(
      () => site.control.outcomes.length === 300,
      () => `${site.control.outcomes.length} of 300`,
      20_000,
    );
    expect(new Set(decisionsOf(site, 'dev-1')).size).toBe(300);
    await until(() => site.service.counts.units('bits').pending === 0);
    expectLaws(site);
  });

  it('counts a try before it is made, and takes it back when what it was sent to was away', async () => {
    await using site = await startSite({ configuration: durable() });
    await site.ready();
    site.inference.answer(() => new Promise(() => {}));
    await site.frame('dev-1', 'raw', tensor(), 'k3v9-1');
    await until(() => site.inference.units.length === 1);
    site.inference.answer(({ decide }) => decide.units.map(decided));
    site.inference.hangUp();
    await until(() => site.control.outcomes.length === 1);
    expect(site.control.outcomes[0]).toMatchObject({ outcome: 'decided', evidence: { attempts: 0 } });
    expectLaws(site);
  });

  it('tries a unit again, alone, that took its runner down, and gives it up after three tries; the others are decided', async () => {
    await using site = await startSite({ configuration: durable() });
    await site.ready();
    const crash = { failure: { code: 'E_MODEL_CRASH', detail: 'said the test' }, attempt: true };
    site.inference.answer(({ decide }) =>
      decide.units.map(() => (decide.units.some(({ id }) => id.startsWith('poison')) ? crash : decided())),
    );
    await Promise.all(['poison', 'dev-1', 'dev-2'].map((device) => site.frame(device, 'raw', tensor(), 'k3v9-1')));
    await until(() => site.control.outcomes.length === 3);
    const poison = site.control.outcomes.find(({ device }) => device === 'poison');
    expect(poison).toMatchObject({ outcome: 'dead', error: { code: 'E_ATTEMPTS' }, evidence: { attempts: 3 } });
    expect(site.control.outcomes.filter(({ outcome }) => outcome === 'decided')).toHaveLength(2);
    await until(async () => (await site.metric(/spool_rows\{.*raw/)) === 0);
    expectLaws(site);
  });

  it('sends outcomes again that control did not confirm, and computes nothing again', async () => {
    await using site = await startSite({ configuration: durable() });
    await site.ready();
    let batches = 0;
    site.control.beforeCommit(() => {
      batches += 1;
      return batches <= 2 ? Promise.reject(new Error('killed before it committed')) : Promise.resolve();
    });
    for (let seq = 1; seq <= 5; seq++) await site.frame('dev-1', 'raw', tensor(), `k3v9-${seq}`);
    await until(() => site.service.counts.units('bits').decided === 5);
    expect(batches).toBeGreaterThan(2);
    expect(site.inference.units).toHaveLength(5);
    expect(new Set(decisionsOf(site, 'dev-1')).size).toBe(5);
    expectLaws(site);
  });

  it('waits while control cannot write, with its reason under /readyz, and loses nothing', async () => {
    await using site = await startSite({ configuration: durable() });
    await site.ready();
    let refused = 0;
    site.control.beforeCommit(() => {
      refused += 1;
      return Promise.reject(new BrinkError('E_STORAGE_READONLY', 'remounted read-only'));
    });
    for (let seq = 1; seq <= 5; seq++) await site.frame('dev-1', 'raw', tensor(), `k3v9-${seq}`);
    await site.hears('control does not take them: E_STORAGE_READONLY: remounted read-only');
    await until(() => refused >= 4);
    site.control.beforeCommit(() => Promise.resolve());
    await until(() => site.service.counts.units('bits').decided === 5);
    expect(new Set(decisionsOf(site, 'dev-1')).size).toBe(5);
    await site.ready();
    expectLaws(site);
  });

  it('keeps the units of a pipeline that goes, as dropped, and decides those of the one that stays', async () => {
    const both = { bits: { model: 'cats' }, more: { model: 'cats' } };
    await using site = await startSite({ configuration: durable({}, both), inference: false });
    await site.hears('i.sock');
    for (let seq = 1; seq <= 5; seq++) await site.frame('dev-1', 'raw', tensor(), `k3v9-${seq}`);
    await until(() => site.service.counts.units('more').formed === 5);
    await site.configure(durable(), 'ffffffffffff');
    await until(() => site.service.counts.units('more').dropped === 5);
    await site.startNeighbours({ inference: true });
    await until(() => site.control.outcomes.length === 5);
    await until(() => site.service.counts.units('bits').decided === 5);
    expectLaws(site);
  });

  it('answers a frame posted over HTTP when it is in the spool', async () => {
    await using site = await startSite({ configuration: durable() });
    await site.ready();
    const posted = await site.control.post(
      { device: 'dev-1', stream: 'raw', boot: 'k3v9', seq: 1n, waitMs: 5000 },
      tensor(),
    );
    expect(posted.units).toMatchObject([{ id: 'dev-1.raw.k3v9.1.0.bits', fate: 'committed' }]);
  });
});
