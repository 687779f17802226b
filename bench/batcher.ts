import { startInferenceProcess } from '@brink/test/inference';
import type { Bench, BenchResult } from './bench.ts';
import { type ClientsOptions, unitsPerSecond } from './clients.ts';
import { temporaryFolder } from './folder.ts';
import { startRawLoop } from './raw-loop.ts';
import { measureRounds, type Series } from './rounds.ts';
import { BATCH_MAX, pictureUnits, writeSimpleCnn } from './site.ts';

const BAR = 0.9;
const MEASURE_MS = 4000;

/** What the service adds to the model, by itself: Triton's rule of 2 × max_batch requests in flight. */
export const batcher: Bench = {
  what: 'SimpleCNN units/s of 2 × max_batch clients over the link ÷ a raw onnxruntime loop at max_batch',
  async run(report): Promise<BenchResult> {
    using folder = temporaryFolder();
    const model = await writeSimpleCnn(folder.path);
    const units = await pictureUnits();
    await using raw = await startRawLoop({ model, payload: 'tensor', batch: BATCH_MAX });
    await using service = await startInferenceProcess({
      folder: folder.path,
      models: { 'bench-cnn': { queue_max: 256 } },
    });
    const best = service.announced()[0]?.batchBest ?? 0;
    report(`batcher: raw loop at batch ${raw.batch}, service at ${best}`);
    const variants: Record<string, Series> = {};
    for (const unitsPerDecide of [1, BATCH_MAX / 2]) {
      const name = `${unitsPerDecide} per Decide`;
      report(`units, ${name}:`);
      const o: ClientsOptions = { clients: 2 * BATCH_MAX, model: 'bench-cnn', unitsPerDecide, units };
      await unitsPerSecond(service, o, MEASURE_MS / 4);
      variants[name] = await measureRounds(
        () => raw.framesPerSecond(MEASURE_MS),
        () => unitsPerSecond(service, o, MEASURE_MS),
        report,
      );
    }
    const { figure, rounds } = variants['1 per Decide'] as Series;
    return {
      figure,
      unit: 'ratio to the raw loop',
      bar: BAR,
      variants: { batch: [raw.batch, best], ...variants },
      rounds,
    };
  },
};
