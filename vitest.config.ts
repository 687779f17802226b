import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';
import { SummaryReporter } from './test/harness/summary.ts';

// ONNX Runtime's binaries send usage data unless this is set before they are loaded.
// Hundreds of processes are started; what Node compiled for one (stripping types is most of it) is there for the next.
const compiled = fileURLToPath(new URL('node_modules/.cache/compiled', import.meta.url));
const env = { ORT_DISABLE_TELEMETRY: '1', NODE_COMPILE_CACHE: compiled };

// Three projects in three places: unit beside the code, service in services/*/test, the whole fleet in test/.
export default defineConfig({
  test: {
    reporters: ['default', new SummaryReporter()],
    // A test waits for processes and disks more than it computes: two files at a time, on two cores as well.
    maxWorkers: 2,
    projects: [
      {
        test: {
          name: 'unit',
          include: [
            'packages/*/src/**/*.test.ts',
            'services/*/src/**/*.test.ts',
            'proto/**/*.test.ts',
            'docs/**/*.test.ts',
          ],
          testTimeout: 20_000,
          env,
        },
      },
      {
        test: {
          name: 'service',
          include: ['services/*/test/**/*.test.ts'],
          testTimeout: 60_000,
          hookTimeout: 60_000,
          env,
        },
      },
      {
        test: {
          name: 'system',
          include: ['test/**/*.test.ts'],
          testTimeout: 180_000,
          hookTimeout: 180_000,
          // The tests end their containers themselves; the reaper would be one more image to pull.
          env: { ...env, TESTCONTAINERS_RYUK_DISABLED: 'true' },
          // Whole fleets side by side on two cores would test the scheduler of the machine.
          fileParallelism: false,
        },
      },
    ],
  },
});
