import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, expect, it } from 'vitest';
import type { GatewayConfig } from '../src/config.ts';
import { writePassport } from './harness/neighbours.ts';
import { expectLaws, SITE, type Site, startSite, tensor, until } from './harness/site.ts';

// Rows of durable streams that nothing lets go: they wait for samples, for a model or for a configuration that do not come.

const raw = (...values: number[]) => Buffer.from(new Float32Array(values).buffer);
const AGES = 1_000_000;

/** A durable stream `imu` whose model sums windows. */
async function sensing(signal: { window: number; hop: number }, spool: GatewayConfig['spool'], isKnown = true) {
  const pipelines = { sum: { model: 'sum' } };
  const read = { format: 'signal' as const, signal: { encoding: 'f32le' as const, fields: ['ax'] } };
  const streams = { imu: { ...read, delivery: 'durable' as const, pipelines } };
  const site = await startSite({ configuration: { ...SITE, streams }, config: { spool } });
  const output = { decoder: 'regression', tensors: { y: 'y' }, names: ['y'] };
  const inputs = [{ tensor: 'x', signal: { rate_hz: 100, channels: ['ax'], ...signal } }];
  const sum = await writePassport(site.modelsDir, { name: 'sum', task: 'regression', output, inputs });
  if (isKnown) await site.inference.announce([site.cats, sum]);
  site.inference.computes(() => [Buffer.from(JSON.stringify({ task: 'regression', values: { y: 1 } }))]);
  if (isKnown) await site.ready();
  else await site.hears('sum');
  return Object.assign(site, { sum });
}

const rowsOf = (site: Site, stream = 'imu') => site.metric(new RegExp(`^brink_gateway_spool_rows\\{.*${stream}`));
const unfinished = (site: Site, reason: string) =>
  site.metric(new RegExp(`^brink_gateway_frames_unfinished_total\\{.*${reason}`));
const acceptedOf = (site: Site, stream = 'imu') => site.service.counts.frames('dev-1', stream).accepted;

function chainsIn(site: Site): number {
  const db = new DatabaseSync(join(site.env.BRINK_DATA_DIR, 'spool.db'), { readOnly: true });
  const count = Number(db.prepare('SELECT count(*) AS n FROM chain').get()?.['n']);
  db.close();
  return count;
}

describe('samples of a durable stream', () => {
  it('come in until a window is whole, also where they are more than the spool takes and came at once', async () => {
    const signal = { window: 1300, hop: 1300 };
    await using site = await sensing(signal, { rowsMax: 100, bytesMax: 1_000_000, ageMsMax: AGES }, false);
    const all = Array.from({ length: 1300 }, (_, i) => site.frame('dev-1', 'imu', raw(1), `k3v9-${i + 1}`));
    await Promise.all(all);
    // More than are kept un-acked: it left, and the broker keeps them.
    await until(async () => (await site.metric(/^brink_mqtt_connected/)) === 2);
    expect(await site.problems()).toContainEqual(expect.stringContaining('stream imu is full'));
    await site.inference.announce([site.cats, site.sum]);
    await until(
      () => site.control.outcomes.length === 1,
      async () => `${await rowsOf(site)} rows, ${await site.problems()}`,
      20_000,
    );
    await until(async () => (await rowsOf(site)) === 0);
    await site.ready();
    expect(site.service.counts.units('sum')).toMatchObject({ formed: 1, decided: 1 });
    expectLaws(site);
  });

  it('of a device that begins a new boot with each frame make way for those that come, counted', async () => {
    const signal = { window: 4, hop: 4 };
    await using site = await sensing(signal, { rowsMax: 10, bytesMax: 100_000, ageMsMax: AGES });
    let most = 0;
    for (let i = 1; i <= 60; i++) {
      await site.frame('dev-1', 'imu', raw(1, 1, 1), `b${1000 + i}-1`);
      most = Math.max(most, await rowsOf(site));
    }
    await until(() => acceptedOf(site) === 60);
    expect(most).toBeLessThanOrEqual(11);
    await until(async () => (await rowsOf(site)) + (await unfinished(site, 'no_room')) === 60);
    expect(await rowsOf(site)).toBeLessThanOrEqual(11);
    expect(site.service.counts.frames('dev-1', 'imu').drops?.no_room).toBeGreaterThanOrEqual(40);
    // The last boot goes on.
    await site.frame('dev-1', 'imu', raw(1), 'b1060-2');
    await until(() => site.control.outcomes.length === 1);
    expectLaws(site);
  });

  it('of more devices than there is room for take no more than twice the room', async () => {
    const signal = { window: 50, hop: 50 };
    await using site = await sensing(signal, { rowsMax: 4, bytesMax: 100_000, ageMsMax: AGES });
    for (let i = 1; i <= 20; i++) await site.frame(`dev-${i}`, 'imu', raw(1), 'k3v9-1');
    await until(() => site.service.counts.has('dev-20', 'imu'));
    await until(async () => (await rowsOf(site)) + (await unfinished(site, 'no_room')) === 20);
    expect(await rowsOf(site)).toBeLessThanOrEqual(8);
    // Of one alone as many come as its window takes.
    for (let seq = 2; seq <= 50; seq++) await site.frame('dev-20', 'imu', raw(1), `k3v9-${seq}`);
    await until(() => site.control.outcomes.length === 1);
    expectLaws(site);
  });

  it('are cut from where they stand for boots that are remembered, and for others nothing is kept', async () => {
    const spool = { rowsMax: 1000, bytesMax: 1_000_000, ageMsMax: AGES };
    await using site = await sensing({ window: 2, hop: 2 }, spool);
    for (let i = 1; i <= 40; i++) await site.frame('dev-1', 'imu', raw(1, 1), `b${1000 + i}-1`);
    await until(() => site.control.outcomes.length === 40);
    await until(
      () => chainsIn(site) === 16,
      () => `${chainsIn(site)} chains`,
    );
    expectLaws(site);
  });

  it('go with their age where nobody ever knows the model', async () => {
    const spool = { rowsMax: 3, bytesMax: 1_000_000, ageMsMax: 500 };
    await using site = await sensing({ window: 2, hop: 2 }, spool, false);
    for (let seq = 1; seq <= 5; seq++) await site.frame('dev-1', 'imu', raw(1, 1), `k3v9-${seq}`);
    await until(async () => (await unfinished(site, 'too_old')) === 5);
    await until(async () => (await rowsOf(site)) === 0);
    expect(acceptedOf(site)).toBe(5);
    expectLaws(site);
  });
});

describe('frames of a device that the configuration leaves out', () => {
  it('are dropped when they are too old, and keep nobody else out', async () => {
    const configuration = (devices: string, model: string) => {
      const raw = { devices, format: 'tensor' as const, delivery: 'durable' as const, pipelines: { bits: { model } } };
      return { ...SITE, streams: { raw } };
    };
    const spool = { rowsMax: 3, bytesMax: 1_000_000, ageMsMax: 1200 };
    await using site = await startSite({ configuration: configuration('*', 'ghost'), config: { spool } });
    await site.hears('ghost');
    for (let seq = 1; seq <= 3; seq++) await site.frame('dev-1', 'raw', tensor(), `k3v9-${seq}`);
    await until(() => acceptedOf(site, 'raw') === 3);
    await site.configure(configuration('cam-*', 'cats'), 'ffffffffffff');
    await until(() => site.service.serves('cats'));
    await site.frame('cam-1', 'raw', tensor(), 'k3v9-1');
    await until(() => site.control.outcomes.some(({ device }) => device === 'cam-1'));
    const { bits } = Object.fromEntries(site.service.counts.pipelines());
    await until(() => bits?.pending === 0);
    expect(bits).toMatchObject({ formed: 4, decided: 1, dropped: 3 });
    expect(site.service.counts.frames('dev-1', 'raw').drops).toMatchObject({ configuration: 3 });
    expectLaws(site);
  });
});
