import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { type InferenceProcess, startInferenceProcess, type UnitTensor } from '@brink/test/inference';
import type { Bench, BenchResult } from './bench.ts';
import { pause } from './clients.ts';
import { temporaryFolder } from './folder.ts';
import { mobileNetGraph } from './graphs.ts';
import { seededRandom } from './random.ts';
import { median } from './rounds.ts';
import { BATCH_MAX, pictureUnits, writeVersion } from './site.ts';

const BAR = 3;
const ROUNDS = 4;
const CHANGES = 5;
const STEADY_MS = 4000;
const CHANGE_MS_MAX = 60_000;
const CLIENTS = 2 * BATCH_MAX;
const NAME = 'swap';

/** What becomes of requests while a version takes the place of another one. */
export const swap: Bench = {
  what: `p99 during version changes under full load ÷ p99 before; of ${ROUNDS * CHANGES} changes no request may fail`,
  async run(report): Promise<BenchResult> {
    using folder = temporaryFolder();
    const write = (version: number) =>
      writeVersion(folder.path, {
        name: NAME,
        version,
        graph: mobileNetGraph(seededRandom(version)),
        picture: 'x',
        batchMax: BATCH_MAX,
        classes: 1000,
      });
    let version = 1;
    write(version);
    await using service = await startInferenceProcess({
      folder: folder.path,
      models: { [NAME]: { versions: 'latest', queue_max: 256 } },
    });
    const load = startLoad(service, await pictureUnits());
    const rounds = [];
    for (let round = 0; round < ROUNDS; round++) {
      await pause(1000);
      const before = await load.during(() => pause(STEADY_MS));
      const during = await load.during(async () => {
        for (let change = 0; change < CHANGES; change++) {
          version += 1;
          write(version);
          await served(service, version);
          rmSync(join(folder.path, 'models', NAME, String(version - 1)), { recursive: true });
        }
      });
      rounds.push({ before, during, ratio: Number((during.p99 / before.p99).toFixed(2)) });
      report(
        `  round ${round + 1}: p99 ${before.p99} ms before, ${during.p99} ms during ${CHANGES} changes` +
          ` (${during.count} requests, ${load.failed.length} failed so far)`,
      );
    }
    await load.stop();
    const failures = [...new Set(load.failed)].slice(0, 5);
    return {
      figure: median(rounds.map(({ ratio }) => ratio)),
      unit: 'ratio of p99',
      bar: BAR,
      atMost: true,
      broken: load.failed.length,
      variants: { changes: ROUNDS * CHANGES, failed: load.failed.length, failures },
      rounds,
    };
  },
};

/** It takes what is in the folder, and the announcement comes over the link. */
async function served(service: InferenceProcess, version: number): Promise<void> {
  const answer = await fetch(`${service.http}/v2/repository/models/${NAME}/load`, { method: 'POST' });
  if (!answer.ok) throw new Error(`version ${version} is not loaded: ${await answer.text()}`);
  const late = performance.now() + CHANGE_MS_MAX;
  while (!service.announced().some((one) => one.serving && one.version === version)) {
    if (performance.now() > late) throw new Error(`version ${version} does not serve`);
    await pause(10);
  }
}

/** Clients that always have one unit in flight each, whatever becomes of it. */
function startLoad(service: InferenceProcess, units: readonly (readonly UnitTensor[])[]) {
  const failed: string[] = [];
  let taken: number[] = [];
  let running = true;
  const client = async (first: number) => {
    for (let sent = first; running; sent++) {
      const startedAt = performance.now();
      const why = await service.decide({ model: NAME }, [units[sent % units.length] ?? []]).then(
        ([answer]) => answer?.failure?.code,
        (reason: unknown) => String(reason),
      );
      taken.push(performance.now() - startedAt);
      if (why === undefined) continue;
      failed.push(why);
      await pause(5);
    }
  };
  const clients = Promise.all(Array.from({ length: CLIENTS }, (_, at) => client(at)));
  return {
    failed,
    /** Of the requests that were answered while it is done. */
    async during(work: () => Promise<void>) {
      taken = [];
      await work();
      const sorted = taken.toSorted((a, b) => a - b);
      const at = (part: number) => Number((sorted[Math.floor(sorted.length * part)] ?? 0).toFixed(1));
      return { p50: at(0.5), p99: at(0.99), count: sorted.length };
    },
    async stop(): Promise<void> {
      running = false;
      await clients;
    },
  };
}
