import { simpleCnnGraph } from '@brink/onnx';
import { type InferenceProcess, startInferenceProcess } from '@brink/test/inference';
import type { Bench, BenchResult } from './bench.ts';
import { pause } from './clients.ts';
import { temporaryFolder } from './folder.ts';
import { dsCnnGraph } from './graphs.ts';
import { seededRandom } from './random.ts';
import { median } from './rounds.ts';
import { startShadow } from './shadow.ts';
import { BATCH_MAX, spectrumUnits, writeVersion } from './site.ts';

const BAR = 1.5;
const STRETCHES = 10;
const STRETCH_MS = 1500;
/** Mean of the gaps between two units of the one that is measured; they are random, as arrivals are. */
const GAP_MS = 10;
const ROUNDS = 3;

interface Round {
  readonly alone: Percentiles;
  readonly beside: Percentiles;
  /** median run of the shadow's batches */
  readonly batchMs: number;
  readonly shadowUnits: number;
  readonly ratio: number;
}

interface Percentiles {
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly count: number;
}

type Shadow = Awaited<ReturnType<typeof startShadow>>;

/** How much a model that matters waits for one that does not, in batches of the one that does not. */
export const noisyNeighbour: Bench = {
  what: '(p99 of a keyword spotter of priority 8 beside a saturating SimpleCNN shadow − p99 alone) ÷ one shadow batch',
  async run(report): Promise<BenchResult> {
    using folder = temporaryFolder();
    const random = seededRandom(1);
    writeVersion(folder.path, { name: 'kws', graph: dsCnnGraph(random), batchMax: 16, classes: 12 });
    writeVersion(folder.path, { name: 'cnn', graph: simpleCnnGraph(random), picture: 'image', batchMax: BATCH_MAX });
    await using service = await startInferenceProcess({
      folder: folder.path,
      models: { cnn: { queue_max: 256 } },
      env: { BRINK_RUN_SLOTS: '1' },
    });
    const batch = service.announced().find(({ name }) => name === 'cnn')?.batchBest;
    await using shadow = await startShadow({ socket: service.socket, model: 'cnn', clients: 3 * BATCH_MAX });
    const rounds: Round[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      const measured = await measureRound(service, shadow, seededRandom(round));
      rounds.push(measured);
      const { alone, beside, batchMs, ratio } = measured;
      report(
        `  round ${round + 1}: p99 alone ${alone.p99} ms, beside ${beside.p99} ms (p50 ${alone.p50}, ${beside.p50});` +
          ` a shadow batch ${batchMs} ms → ${ratio}`,
      );
    }
    const figure = median(rounds.map(({ ratio }) => ratio));
    return { figure, unit: 'shadow batches', bar: BAR, atMost: true, variants: { runSlots: 1, batch }, rounds };
  },
};

/** Short stretches, alone and beside the shadow in turn, so that the machine's moods fall on both. */
async function measureRound(service: InferenceProcess, shadow: Shadow, random: () => number): Promise<Round> {
  const [alone, beside, batches]: [number[], number[], number[]] = [[], [], []];
  let shadowUnits = 0;
  for (let stretch = 0; stretch < STRETCHES; stretch++) {
    alone.push(...(await latencies(service, random)));
    await shadow.on();
    await pause(100);
    beside.push(...(await latencies(service, random)));
    const ran = await shadow.off();
    shadowUnits += ran.units;
    const largest = Math.max(...ran.batches.map(({ batch }) => batch));
    batches.push(...ran.batches.filter(({ batch }) => batch === largest).map(({ inferMs }) => inferMs));
  }
  const batchMs = batches.length === 0 ? 0 : median(batches);
  const of = { alone: percentiles(alone), beside: percentiles(beside) };
  const ratio = Number(((of.beside.p99 - of.alone.p99) / batchMs).toFixed(2));
  return { ...of, batchMs: Number(batchMs.toFixed(2)), shadowUnits, ratio };
}

/** An open loop: what is late does not keep the next one from coming. @returns ms from sent to answered */
async function latencies(service: InferenceProcess, random: () => number): Promise<number[]> {
  const units = spectrumUnits();
  const taken: number[] = [];
  const asked: Promise<void>[] = [];
  const end = performance.now() + STRETCH_MS;
  for (let sent = 0; performance.now() < end; sent++) {
    const startedAt = performance.now();
    const unit = units[sent % units.length] ?? [];
    asked.push(
      service.decide({ model: 'kws', priority: 8 }, [unit]).then(([answer]) => {
        if (answer?.failure !== undefined) throw new Error(`kws: ${answer.failure.code}: ${answer.failure.detail}`);
        taken.push(performance.now() - startedAt);
      }),
    );
    await pause(-Math.log(1 - random()) * GAP_MS);
  }
  await Promise.all(asked);
  return taken;
}

function percentiles(values: readonly number[]): Percentiles {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (part: number) => Number((sorted[Math.floor(sorted.length * part)] ?? 0).toFixed(2));
  return { p50: at(0.5), p90: at(0.9), p99: at(0.99), count: sorted.length };
}
