import { readFileSync } from 'node:fs';
import { type InferenceProcess, startInferenceProcess } from '@brink/test/inference';
import type { Bench, BenchResult } from './bench.ts';
import { pause } from './clients.ts';
import { temporaryFolder } from './folder.ts';
import { mobileNetGraph } from './graphs.ts';
import { seededRandom } from './random.ts';
import { median } from './rounds.ts';
import { BATCH_MAX, pictureUnits, writeVersion } from './site.ts';

const BAR = 1.05;
const RELOADS = 100;
/** After so many everything has been done that is done once. */
const EARLY = 5;
const NAME = 'reloaded';

/** Does what was loaded once go away? A model that is loaded again and again, from files that differ each time. */
export const reloadMemory: Bench = {
  what: `memory of the service after ${RELOADS} reloads of a model ÷ after ${EARLY}`,
  async run(report): Promise<BenchResult> {
    using folder = temporaryFolder();
    const write = (reload: number) =>
      writeVersion(folder.path, {
        name: NAME,
        graph: mobileNetGraph(seededRandom(reload)),
        picture: 'x',
        batchMax: BATCH_MAX,
        classes: 1000,
      });
    write(0);
    await using service = await startInferenceProcess({ folder: folder.path });
    const units = await pictureUnits();
    const rounds: { reloads: number; mb: number }[] = [];
    for (let reload = 1; reload <= RELOADS; reload++) {
      write(reload);
      const before = announcedPassport(service);
      const answer = await fetch(`${service.http}/v2/repository/models/${NAME}/load`, { method: 'POST' });
      if (!answer.ok) throw new Error(`reload ${reload}: ${await answer.text()}`);
      while (announcedPassport(service) === before) await pause(5);
      await service.decide({ model: NAME }, units);
      if (reload !== EARLY && reload % (RELOADS / 5) !== 0) continue;
      rounds.push({ reloads: reload, mb: await residentMb(service.pid) });
      report(`  after ${reload} reloads: ${rounds.at(-1)?.mb} MB`);
    }
    const [early, late] = [rounds[0]?.mb ?? 0, rounds.at(-1)?.mb ?? 0];
    const figure = Number((late / early).toFixed(3));
    return { figure, unit: 'ratio of resident memory', bar: BAR, atMost: true, variants: { early, late }, rounds };
  },
};

/** What units must be prepared for: the announcement comes a moment after the answer. */
const announcedPassport = (service: InferenceProcess) => service.announced()[0]?.passportSha256;

/** Garbage comes and goes: the median of some moments. */
async function residentMb(pid: number): Promise<number> {
  const samples: number[] = [];
  for (let sample = 0; sample < 5; sample++) {
    await pause(200);
    const kb = Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1] ?? 0);
    samples.push(kb / 1024);
  }
  return Number(median(samples).toFixed(1));
}
