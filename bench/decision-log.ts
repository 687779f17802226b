import type { Bench, BenchResult } from './bench.ts';
import { temporaryFolder } from './folder.ts';
import { measureRounds } from './rounds.ts';
import { writeSimpleCnn } from './site.ts';
import { startSystem } from './system.ts';
import { startWithoutLedger } from './without-ledger.ts';

const BAR = 0.95;
const DEVICES = 64;
const MEASURE_MS = 4000;

/** What it costs to keep every decision with its evidence, and to look at it with rules. */
export const decisionLog: Bench = {
  what: 'frames/s with control and its ledger ÷ with a control that only passes decisions on to the feed; tensors 128×128',
  async run(report): Promise<BenchResult> {
    using folder = temporaryFolder();
    await writeSimpleCnn(folder.path);
    const options = { folder: folder.path, payload: 'tensor', devices: DEVICES } as const;
    await using without = await startWithoutLedger(options);
    await using kept = await startSystem(options);
    for (const system of [without, kept]) await system.framesPerSecond(MEASURE_MS / 2);
    const { figure, rounds } = await measureRounds(
      () => without.framesPerSecond(MEASURE_MS),
      () => kept.framesPerSecond(MEASURE_MS),
      report,
      { baseline: 'no ledger' },
    );
    return { figure, unit: 'ratio to the loop without a ledger', bar: BAR, variants: {}, rounds };
  },
};
