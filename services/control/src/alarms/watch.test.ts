import { createRegistry, createTestClock, silentLogger } from '@brink/runtime';
import { expect, test } from 'vitest';
import { createMetrics } from '../metrics.ts';
import { createWatch } from './watch.ts';

test('the age of the oldest open action is there to be scraped, and 0 where there is none', async () => {
  const clock = createTestClock();
  const registry = createRegistry('control');
  let oldest: number | undefined = clock.now() - 30_000;
  const oldestOpenAction = () => (oldest === 0 ? Promise.reject(new Error('away')) : Promise.resolve(oldest));
  const metrics = createMetrics(registry);
  const watch = createWatch({ clock, logger: silentLogger, metrics, read: () => ({ oldestOpenAction }), looked() {} });
  const age = async () => Number(/^brink_control_outbox_oldest_seconds\S* (\S+)$/m.exec(await registry.metrics())?.[1]);
  await watch.start(new AbortController().signal);
  await clock.advance(1);
  expect(await age()).toBe(30);
  await clock.advance(5000);
  expect(await age()).toBe(35);
  // A ledger that does not answer once does not end it.
  oldest = 0;
  await clock.advance(5000);
  oldest = undefined;
  await clock.advance(5000);
  expect(await age()).toBe(0);
  await watch.stop();
});
