import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const PROGRAM = `
  import { PerformanceObserver, constants } from 'node:perf_hooks';
  import { collectBuffersEarly } from ${JSON.stringify(join(import.meta.dirname, 'buffers.ts'))};
  if (process.argv.at(-1) === 'early') collectBuffersEarly();
  let full = 0;
  new PerformanceObserver((list) => {
    for (const { detail } of list.getEntries()) if (detail.kind === constants.NODE_PERFORMANCE_GC_MAJOR) full += 1;
  }).observe({ entryTypes: ['gc'] });
  for (let i = 0; i < 8000; i++) {
    Buffer.allocUnsafeSlow(65536);
    if (i % 50 === 0) await new Promise(setImmediate);
  }
  await new Promise((resolve) => setTimeout(resolve, 20));
  console.log(JSON.stringify({ full, megabytes: process.memoryUsage().rss / 2 ** 20 }));
`;

function run(...args: string[]): { full: number; megabytes: number } {
  const out = execFileSync(process.execPath, ['--input-type=module', '-e', PROGRAM, ...args], { encoding: 'utf8' });
  return JSON.parse(out);
}

test('500 MiB of short-lived buffers cause no full collection, and are freed all the same', () => {
  const { full, megabytes } = run('early');
  expect(full).toBe(0);
  expect(megabytes).toBeLessThan(200);
});

test('negative control: without it they do', () => {
  expect(run().full).toBeGreaterThan(2);
});
