import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';

const heap = JSON.stringify(join(import.meta.dirname, 'heap.ts'));

/** Runs a program in a process of its own, which calls one of the functions first or does not. */
function run<Report>(program: string, call: 'collectBuffersEarly' | 'boundHeapGrowth', isCalled: boolean): Report {
  const before = isCalled ? `import { ${call} } from ${heap}; ${call}();` : '';
  const out = execFileSync(
    process.execPath,
    ['--max-semi-space-size=8', '--input-type=module', '-e', before + program],
    { encoding: 'utf8' },
  );
  return JSON.parse(out);
}

describe('500 MiB of short-lived buffers', () => {
  const program = `
    import { PerformanceObserver, constants } from 'node:perf_hooks';
    const isFull = ({ detail }) => detail.kind === constants.NODE_PERFORMANCE_GC_MAJOR;
    let full = 0;
    const observer = new PerformanceObserver((list) => { full += list.getEntries().filter(isFull).length; });
    observer.observe({ entryTypes: ['gc'] });
    for (let i = 0; i < 8000; i++) {
      Buffer.allocUnsafeSlow(65536);
      if (i % 50 === 0) await new Promise(setImmediate);
    }
    for (let turn = 0; turn < 3; turn++) await new Promise(setImmediate);
    full += observer.takeRecords().filter(isFull).length;
    console.log(JSON.stringify({ full, megabytes: process.memoryUsage().rss / 2 ** 20 }));
  `;
  const runIt = (isCalled: boolean) =>
    run<{ full: number; megabytes: number }>(program, 'collectBuffersEarly', isCalled);

  test('cause no full collection, and are freed all the same', () => {
    const { full, megabytes } = runIt(true);
    expect(full).toBe(0);
    expect(megabytes).toBeLessThan(200);
  });

  test('negative control: without it they do', () => {
    expect(runIt(false).full).toBeGreaterThan(2);
  });
});

describe('objects that live for a moment, as frames do', () => {
  const program = `
    const alive = Array.from({ length: 300_000 }, (_, i) => ({ i, words: [i] }));
    let frames = [];
    let most = 0;
    for (let i = 0; i < 3_000_000; i++) {
      frames.push({ i, words: [i, i + 1, i + 2] });
      if (frames.length > 60_000) frames = [];
      if (i > 1_500_000 && i % 10_000 === 0) most = Math.max(most, process.memoryUsage().heapUsed / 2 ** 20);
      if (i % 1000 === 0) await new Promise(setImmediate);
    }
    console.log(JSON.stringify({ most, alive: alive.length }));
  `;
  const mostMegabytes = (isCalled: boolean) => run<{ most: number }>(program, 'boundHeapGrowth', isCalled).most;

  test('leave less garbage lying than V8 would', () => {
    expect(mostMegabytes(true)).toBeLessThan(0.75 * mostMegabytes(false));
  });
});
