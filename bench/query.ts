import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { startBroker, startControl } from '@brink/test/control';
import { DEVICES, FIRST_MS, fillDecisions, STEP_MS } from '@brink/test/rows';
import type { Bench, BenchResult } from './bench.ts';
import { temporaryFolder } from './folder.ts';
import { seededRandom } from './random.ts';

const BAR = 3;
const SMALL = 100_000;
const LARGE = 10_000_000;
const QUERIES = 400;
/** Alternating stretches, so that the machine's moods meet both. */
const STRETCHES = 5;
const WINDOW_MS_MAX = 3_600_000;

/** What a page costs among many. */
export const query: Bench = {
  what: `p99 of /v1/decisions by device and time with ${LARGE / 1e6} M decisions ÷ with ${SMALL / 1e3} k`,
  async run(report): Promise<BenchResult> {
    using folder = temporaryFolder();
    await using broker = await startBroker(folder.path, { version: 1 });
    const start = async (rows: number) => {
      const options = { folder: folder.path, url: broker.url, data: `rows-${rows}` };
      const made = await startControl(options);
      await made[Symbol.asyncDispose]();
      const began = performance.now();
      fillDecisions(join(folder.path, options.data), rows);
      report(`  ${rows} rows in ${Math.round((performance.now() - began) / 1000)} s`);
      return { rows, control: await startControl(options) };
    };
    const small = await start(SMALL);
    await using _small = small.control;
    const large = await start(LARGE);
    await using _large = large.control;
    const random = seededRandom(1);
    const rounds = [];
    for (const side of [small, large]) await ask(side.control.http, side.rows, random);
    for (let stretch = 0; stretch < STRETCHES; stretch++) {
      const [before, after] = [
        await ask(small.control.http, SMALL, random),
        await ask(large.control.http, LARGE, random),
      ];
      rounds.push({ small: before, large: after, ratio: Number((after.p99 / before.p99).toFixed(2)) });
      report(`  p99 ${before.p99} ms with ${SMALL}, ${after.p99} ms with ${LARGE} (p50 ${before.p50}, ${after.p50})`);
    }
    const ratios = rounds.map(({ ratio }) => ratio).sort((a, b) => a - b);
    const p99Ms = rounds.map((round) => round.large.p99).sort((a, b) => a - b)[Math.floor(STRETCHES / 2)];
    rmSync(join(folder.path, `rows-${LARGE}`), { recursive: true, force: true });
    const figure = ratios[Math.floor(STRETCHES / 2)] ?? null;
    return { figure, unit: 'p99 ÷ p99', bar: BAR, atMost: true, variants: { p99Ms, queries: QUERIES }, rounds };
  },
};

/** Pages of 100 of one device within at most an hour, anywhere. @returns ms */
async function ask(http: string, rows: number, random: () => number): Promise<{ p50: number; p99: number }> {
  const times: number[] = [];
  const lengthMs = rows * STEP_MS;
  for (let i = 0; i < QUERIES; i++) {
    const since = FIRST_MS + random() * lengthMs;
    const until = since + random() * WINDOW_MS_MAX;
    const between = `since=${new Date(since).toISOString()}&until=${new Date(until).toISOString()}`;
    const url = `${http}/v1/decisions?device=cam-${Math.floor(random() * DEVICES)}&${between}&limit=100`;
    const began = performance.now();
    const answer = await fetch(url);
    if (!answer.ok) throw new Error(`${answer.status}: ${await answer.text()}`);
    await answer.json();
    times.push(performance.now() - began);
  }
  times.sort((a, b) => a - b);
  const at = (share: number) => Number((times[Math.floor(times.length * share)] ?? 0).toFixed(2));
  return { p50: at(0.5), p99: at(0.99) };
}
