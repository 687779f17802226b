import type { Bench, BenchResult } from './bench.ts';
import { quantile } from './devices.ts';
import { temporaryFolder } from './folder.ts';
import { startRawLoop } from './raw-loop.ts';
import { median } from './rounds.ts';
import { writeSimpleCnn } from './site.ts';
import { startSystem } from './system.ts';

const STRETCHES = 8;
const STRETCH_MS = 1500;
/** What may be added, in ms or as a part of the model's own time, whichever is more. */
const ADDED = { ms: 1.5, part: 0.6 };

/** MLPerf's SingleStream: one device that sends its next frame when the last one is decided. */
export const singleStream: Bench = {
  what: `one device, one frame at a time: p90 from sending to the decision − p90 of the bare model, ÷ that; at most ${ADDED.part} or ${ADDED.ms} ms`,
  async run(report): Promise<BenchResult> {
    using folder = temporaryFolder();
    const model = await writeSimpleCnn(folder.path);
    await using raw = await startRawLoop({ model, payload: 'tensor', batch: 1 });
    await using system = await startSystem({ folder: folder.path, payload: 'tensor', devices: 1 });
    await system.framesPerSecond(2 * STRETCH_MS);
    system.devices.takeAges();
    const rounds = [];
    // Short stretches in turn: what slows the machine down for a while slows both.
    for (let i = 0; i < STRETCHES; i++) {
      const modelMs = await raw.p90(STRETCH_MS);
      await system.framesPerSecond(STRETCH_MS);
      const ages = system.devices.takeAges();
      const [p50, p90, p99] = [0.5, 0.9, 0.99].map((part) => Number(quantile(ages, part).toFixed(2)));
      const round = { modelMs: Number(modelMs.toFixed(2)), p50, p90, p99, frames: ages.length };
      rounds.push(round);
      report(
        `  stretch ${i + 1}: model p90 ${round.modelMs} ms · frame to decision p50 ${p50} p90 ${p90} p99 ${p99} ms`,
      );
    }
    const modelMs = median(rounds.map((round) => round.modelMs));
    const addedMs = median(rounds.map((round) => (round.p90 ?? 0) - round.modelMs));
    return {
      figure: Number((addedMs / modelMs).toFixed(3)),
      unit: 'added p90 ÷ p90 of the model',
      bar: Number(Math.max(ADDED.part, ADDED.ms / modelMs).toFixed(3)),
      atMost: true,
      variants: { modelP90Ms: modelMs, addedP90Ms: Number(addedMs.toFixed(2)) },
      rounds,
    };
  },
};
