import { BrinkError } from '@brink/protocol';
import { createRegistry, systemClock } from '@brink/runtime';
import { expect, it } from 'vitest';
import { createMetrics, metricsOf } from '../metrics.ts';
import { createAdmission } from './admission.ts';
import type { Job } from './job.ts';
import { createLaneStats } from './stats.ts';

it('shows what waits for a version that is loaded again: in the old queue and in the new one, until each is empty', async () => {
  const metrics = createMetrics(createRegistry('inference'));
  const queue = () =>
    createAdmission(
      { name: 'm 1', queueMax: () => 8, retryAfterMs: () => 10 },
      { clock: systemClock, metrics: metricsOf(metrics, 'm', 1), stats: createLaneStats() },
    );
  const [before, after] = [queue(), queue()];
  const job = (cancelled = () => false): Job => ({
    ...{ priority: 5, shadow: false, client: 'test', alone: false, session: '', rows: 1, heads: [], payloads: [] },
    ...{ deadlineAt: Number.POSITIVE_INFINITY, arrivedAt: 0, cancelled, done: () => {}, failed: () => {} },
  });
  const shown = async () => (await metrics.waiting.get()).values.map(({ value }) => value);
  before.add(job());
  before.add(job());
  after.add(job());
  expect(await shown()).toEqual([3]);
  before.take(1);
  expect(await shown()).toEqual([2]);
  let gone = false;
  after.add(job(() => gone));
  after.take(1);
  gone = true;
  expect([after.first, await shown()]).toEqual([undefined, [1]]);
  after.add(job());
  const stopped = new BrinkError('E_MODEL_NOT_READY', 'it is being stopped');
  before.close(stopped);
  expect(await shown()).toEqual([1]);
  after.close(stopped);
  expect(await shown()).toEqual([0]);
});
