import type { Bench, BenchResult } from './bench.ts';
import { temporaryFolder } from './folder.ts';
import { startRawLoop } from './raw-loop.ts';
import { measureRounds, type Series } from './rounds.ts';
import { type Payload, writeKeywordSpotter, writeSimpleCnn } from './site.ts';
import { startSystem } from './system.ts';

const DEVICES = 64;
const MEASURE_MS = 4000;

/** What each has to reach. The first is the figure. */
const BARS: Readonly<Record<Payload, number>> = { tensor: 0.85, jpeg: 1, 'jpeg-640': 1.1, kws: 0.65 };

type Variant = Series & { bar: number; cpuMicrosPerFrame: Record<string, number> };

/** End to end over MQTT with the three services, against a raw session.run loop of the same model and batch. */
export const loop: Bench = {
  what: 'frames/s over MQTT through broker, gateway, inference, control ÷ a raw onnxruntime loop (decoding too): tensors 128×128, JPEG 128 (bar 1.0), JPEG 640×480 (1.1), a keyword spotter (0.65)',
  async run(report): Promise<BenchResult> {
    const variants: Record<string, Variant> = {};
    for (const payload of Object.keys(BARS) as Payload[]) {
      report(`loop, ${payload} frames:`);
      variants[payload] = await measure(payload, report);
    }
    const { figure, rounds } = variants['tensor'] as Variant;
    return { figure, unit: 'ratio to the raw loop', bar: BARS.tensor, variants, rounds };
  },
};

async function measure(payload: Payload, report: (line: string) => void): Promise<Variant> {
  using folder = temporaryFolder();
  const model = payload === 'kws' ? writeKeywordSpotter(folder.path) : await writeSimpleCnn(folder.path);
  await using raw = await startRawLoop({ model, payload });
  await using system = await startSystem({ folder: folder.path, payload, devices: DEVICES });
  await system.framesPerSecond(MEASURE_MS / 2); // warm-up: JIT, arenas, connections
  const series = await measureRounds(
    () => raw.framesPerSecond(MEASURE_MS),
    () => system.framesPerSecond(MEASURE_MS),
    report,
  );
  const cpuMicrosPerFrame = system.cpuPerFrame;
  report(`  CPU µs per frame: ${JSON.stringify(cpuMicrosPerFrame)}`);
  return { ...series, bar: BARS[payload], cpuMicrosPerFrame };
}
