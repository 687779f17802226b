import { simpleCnnGraph } from '@brink/onnx';
import { startInferenceProcess } from '@brink/test/inference';
import type { Bench, BenchResult } from './bench.ts';
import { unitsPerSecond } from './clients.ts';
import { temporaryFolder } from './folder.ts';
import { seededRandom } from './random.ts';
import { startRawLoop } from './raw-loop.ts';
import { measureRounds, type Series } from './rounds.ts';
import { BATCH_MAX, pictureUnits, writeSimpleCnn, writeVersion } from './site.ts';

const BAR = 2.5;
const MEASURE_MS = 3000;
const RAW_MS = 1000;

/** The same graph twice in one service, and the same clients: one version may be batched, the other may not. */
export const batchGain: Bench = {
  what: `SimpleCNN units/s through the service, batched up to ${BATCH_MAX} ÷ one at a time`,
  async run(report): Promise<BenchResult> {
    const raw = await rawGain(report);
    using folder = temporaryFolder();
    const graph = simpleCnnGraph(seededRandom(1));
    writeVersion(folder.path, { name: 'batched', graph, picture: 'image', batchMax: BATCH_MAX });
    writeVersion(folder.path, { name: 'single', graph, picture: 'image', batchMax: 1 });
    const units = await pictureUnits();
    const policy = { queue_max: 256, copies: 1 };
    await using service = await startInferenceProcess({
      folder: folder.path,
      models: { batched: policy, single: policy },
    });
    const measure = (model: string) =>
      unitsPerSecond(service, { clients: 2 * BATCH_MAX, model, unitsPerDecide: 1, units }, MEASURE_MS);
    await measure('batched');
    const series = await measureRounds(
      () => measure('single'),
      () => measure('batched'),
      report,
      { unit: 'units/s', baseline: 'single' },
    );
    const best = Object.fromEntries(service.announced().map(({ name, batchBest }) => [name, batchBest]));
    return {
      ...series,
      unit: 'batched ÷ one at a time',
      bar: BAR,
      variants: { batch: best, 'raw loop': raw },
    };
  },
};

/** What batches give on this machine where nothing is around them: the service's gain also has what one unit alone costs it. */
async function rawGain(report: (line: string) => void): Promise<Series & { batch: number }> {
  using folder = temporaryFolder();
  const model = await writeSimpleCnn(folder.path);
  await using one = await startRawLoop({ model, payload: 'tensor', batch: 1 });
  await using best = await startRawLoop({ model, payload: 'tensor' });
  report(`raw loop, batch ${best.batch} ÷ 1:`);
  const series = await measureRounds(
    () => one.framesPerSecond(RAW_MS),
    () => best.framesPerSecond(RAW_MS),
    report,
    { baseline: 'batch 1' },
  );
  return { batch: best.batch, ...series };
}
