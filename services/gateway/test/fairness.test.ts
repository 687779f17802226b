import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { decided } from './harness/neighbours.ts';
import { expectLaws, type Site, startSite, tensor, until } from './harness/site.ts';

// Fairness between devices, fresh answers, and who goes first without: item by item under more than can be computed.

const BATCH = 8;

/** One runner behind a queue, as inference has it: batches of what waits, of higher priority first, then as it came. */
async function withRunner(site: Site, runMs: number): Promise<void> {
  const waiting: { priority: number; done: () => void }[] = [];
  let running = false;
  async function run(): Promise<void> {
    if (running) return;
    running = true;
    while (waiting.length > 0) {
      waiting.sort((one, other) => other.priority - one.priority);
      const batch = waiting.splice(0, BATCH);
      await sleep(runMs);
      for (const { done } of batch) done();
    }
    running = false;
  }
  site.inference.answer(async ({ decide }) => {
    const { priority } = decide;
    const units = decide.units.map(() => new Promise<void>((done) => void waiting.push({ priority, done })));
    void run();
    await Promise.all(units);
    return decide.units.map(decided);
  });
  await site.inference.announce([{ ...site.cats, batchBest: BATCH }]);
}

const median = (values: readonly number[]) => values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0;

it('a device that floods as fast as it can delays others by one batch at most', async () => {
  await using site = await startSite();
  const runMs = 60;
  await withRunner(site, runMs);
  await site.ready();
  let flooding = true;
  let flooded = 0;
  const flood = (async () => {
    while (flooding) {
      for (let i = 0; i < 200; i++, flooded++) site.client.publish('brink/dev-flood/up/frames/raw', tensor(1));
      await new Promise((resolve) => setImmediate(resolve));
    }
  })();
  const good = () => site.control.outcomes.filter(({ device }) => device === 'dev-good');
  await until(() => site.control.outcomes.length > 4 * BATCH);
  for (let seq = 1; seq <= 9; seq++) {
    await site.frame('dev-good', 'raw', tensor(2), `k3v9-${seq}`);
    await until(() => good().length === seq, `the decision of frame ${seq}`);
  }
  flooding = false;
  await flood;
  expect(flooded).toBeGreaterThan(2000);
  expect(good().every(({ outcome }) => outcome === 'decided')).toBe(true);
  // What runs when it comes, and its own run; behind four batches of the other it would be five.
  expect(median(good().map(({ latency_ms }) => latency_ms))).toBeLessThan(3 * runMs);
  await until(() => site.service.counts.units('bits').pending === 0);
  expectLaws(site);
});

it('nothing is delivered as decided that is older than frame_age_ms_max', async () => {
  const ageMs = 150;
  const configuration = {
    version: 1 as const,
    streams: { raw: { format: 'tensor' as const, frame_age_ms_max: ageMs, pipelines: { bits: { model: 'cats' } } } },
  };
  await using site = await startSite({ configuration });
  let runMs = 1;
  site.inference.answer(async ({ decide }) => {
    await sleep(runMs);
    return decide.units.map(decided);
  });
  await site.ready();
  await site.frame('dev-1', 'raw', tensor(), 'k3v9-1');
  await until(() => site.control.outcomes.length === 1);
  runMs = 2 * ageMs;
  await site.frame('dev-1', 'raw', tensor(), 'k3v9-2');
  await until(() => site.control.outcomes.length === 2);
  expect(site.control.outcomes.map(({ outcome }) => outcome)).toEqual(['decided', 'expired']);
  expect(site.control.outcomes[1]?.error).toMatchObject({ code: 'E_EXPIRED' });
  // Inference hears how long its answer is of use.
  const [unit] = site.inference.units;
  expect(unit?.deadlineMs).toBeGreaterThan(0);
  expect(unit?.deadlineMs).toBeLessThanOrEqual(ageMs);
});

it('at twice the load what is worth least goes without: the important ones are decided, and fresh', async () => {
  const stream = (pipeline: string, priority: number) => ({
    format: 'tensor' as const,
    frame_age_ms_max: 2000,
    pipelines: { [pipeline]: { model: 'cats', priority } },
  });
  const configuration = { version: 1 as const, streams: { doors: stream('guard', 8), plants: stream('green', 2) } };
  await using site = await startSite({ configuration });
  const runMs = 20;
  await withRunner(site, runMs);
  await site.ready();
  // 400 units a second can be decided; 8 devices of each send 50 a second.
  const rounds = 60;
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < 8; i++) {
      site.client.publish(`brink/dev-${i}/up/frames/doors`, tensor(1));
      site.client.publish(`brink/dev-${i}/up/frames/plants`, tensor(2));
    }
    await sleep(runMs);
  }
  await until(() => ['guard', 'green'].every((name) => site.service.counts.units(name).pending === 0));
  const decisionsOf = (name: string) => site.control.outcomes.filter(({ pipeline }) => pipeline === name);
  const [guard, green] = [decisionsOf('guard'), decisionsOf('green')];
  // On a machine that is busy itself, frames of one device may come two at a time; the newest of them is enough.
  expect(guard.length).toBeGreaterThan(0.7 * rounds * 8);
  expect(green.length).toBeLessThan(0.7 * guard.length);
  expect(median(guard.map(({ latency_ms }) => latency_ms))).toBeLessThan(10 * runMs);
  const drops = site.service.counts.report().streams.find(({ stream: name }) => name === 'plants')?.drops;
  expect(drops?.['replaced']).toBeGreaterThan(0);
  expectLaws(site);
});
