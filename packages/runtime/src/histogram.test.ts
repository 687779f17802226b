import { Histogram, Registry } from 'prom-client';
import { expect, test } from 'vitest';
import { createPlainHistogram } from './histogram.ts';

test('prints what prom-client prints of the same observations', async () => {
  const options = {
    name: 'brink_test_seconds',
    help: 'Test',
    buckets: [0.001, 0.01, 0.1],
    labelNames: ['stage', 'pipeline'] as const,
  };
  const [plain, theirs] = [new Registry(), new Registry()];
  for (const registry of [plain, theirs]) registry.setDefaultLabels({ service: 'gateway' });
  const ours = createPlainHistogram(plain, options);
  const other = new Histogram({ ...options, labelNames: [...options.labelNames], registers: [theirs] });
  for (const [stage, seconds] of [
    ['queue', 0.001],
    ['queue', 0.0011],
    ['infer', 5],
    ['queue', 0.1],
    ['infer', 0],
  ] as const) {
    ours.of({ stage, pipeline: 'people' }).observe(seconds);
    other.observe({ stage, pipeline: 'people' }, seconds);
  }
  const lines = async (registry: Registry) =>
    (await registry.metrics())
      .split('\n')
      .map((line) => line.replace(/\{(.*)\}/, (_, labels: string) => `{${labels.split(',').sort().join(',')}}`))
      .sort();
  expect(await lines(plain)).toEqual(await lines(theirs));
});
