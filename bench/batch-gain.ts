import { simpleCnnGraph } from '@brink/onnx';
import { startInferenceProcess } from '@brink/test/inference';
import type { Bench, BenchResult } from './bench.ts';
import { unitsPerSecond } from './clients.ts';
import { temporaryFolder } from './folder.ts';
import { seededRandom } from './random.ts';
import { measureRounds } from './rounds.ts';
import { BATCH_MAX, pictureUnits, writeVersion } from './site.ts';

const BAR = 2.5;
const MEASURE_MS = 3000;

/** The same graph twice in one service, and the same clients: one version may be batched, the other may not. */
export const batchGain: Bench = {
  what: `SimpleCNN units/s through the service, batched up to ${BATCH_MAX} ÷ one at a time`,
  async run(report): Promise<BenchResult> {
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
    return { ...series, unit: 'batched ÷ one at a time', bar: BAR, variants: { batch: best } };
  },
};
