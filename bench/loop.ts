import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Bench, BenchResult } from './bench.ts';
import { startRawLoop } from './raw-loop.ts';
import { measureRounds, type Series } from './rounds.ts';
import { writeSimpleCnn } from './site.ts';
import { startSystem } from './system.ts';

const BAR = 0.7;
const DEVICES = 64;
const MEASURE_MS = 5000;

/** End to end over MQTT with the three services, against a raw session.run loop of the same model and batch. */
export const loop: Bench = {
  what: 'frames/s over MQTT through broker, gateway, inference, control ÷ a raw onnxruntime loop, 128×128',
  async run(report): Promise<BenchResult> {
    const folder = mkdtempSync(join(tmpdir(), 'brink-bench-'));
    try {
      const model = await writeSimpleCnn(folder);
      const variants: Record<string, Series & { cpuMicrosPerFrame: Record<string, number> }> = {};
      for (const payload of ['tensor', 'jpeg'] as const) {
        report(`loop, ${payload} frames:`);
        await using raw = await startRawLoop({ model, payload });
        await using system = await startSystem({ folder, payload, devices: DEVICES });
        await system.framesPerSecond(MEASURE_MS / 2); // warm-up: JIT, arenas, connections
        const series = await measureRounds(
          () => raw.framesPerSecond(MEASURE_MS),
          () => system.framesPerSecond(MEASURE_MS),
          report,
        );
        const cpuMicrosPerFrame = system.cpuPerFrame;
        report(`  CPU µs per frame: ${JSON.stringify(cpuMicrosPerFrame)}`);
        variants[payload] = { ...series, cpuMicrosPerFrame };
      }
      const { figure, rounds } = variants.tensor as Series;
      return { figure, unit: 'ratio to the raw loop', bar: BAR, variants, rounds };
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  },
};
