import { type Clock, wait } from '@brink/runtime';
import type { FinishedRun, Head } from '../scheduler/job.ts';
import type { BatchRunner, RunEnd } from '../scheduler/lane.ts';

/** Of each size so many runs, or as many as go into this time: one of them goes undisturbed. */
const RUNS_MIN = 4;
const RUNS_MAX = 32;
const SIZE_MS = 40;
/** A larger batch must give so much more per second, or it only costs latency. */
const GAIN_MIN = 1.1;
/** Sizes in a row that do not, after which no larger one is tried: one could be the noise of the machine. */
const WITHOUT_GAIN_MAX = 2;
/** While others serve, measuring rests after each run, so many times as long as that took. */
const RESTS = 3;
const REST_MS_MAX = 100;
/** A slow model is not measured for minutes. */
const MEASURE_MS_MAX = 3000;

export interface WarmUp {
  /** The largest useful batch. */
  readonly batchBest: number;
  /** Output of the last run, on zeros. */
  readonly run: Omit<FinishedRun, 'startedAt'>;
}

/**
 * Runs 1, 2, 4 … batchMax units of zeros, so that no served run pays for first allocations, and finds the largest useful batch:
 * each size that is picked gives at least 10 % more units per second than the one picked before. Larger ones than are useful are
 * not tried. @param d othersServe: whether somebody else needs the machine meanwhile
 * @throws BrinkError what the runner says; E_MODEL_TIMEOUT, E_MODEL_CRASH
 */
export async function measureBatches(
  runner: BatchRunner,
  heads: readonly Head[],
  batchMax: number,
  runMsMax: number,
  d: { clock: Clock; othersServe: () => boolean },
): Promise<WarmUp> {
  const runRested = async (batch: number): Promise<Timed> => {
    const startedAt = d.clock.monotonic();
    const run = await runZeros(runner, heads, batch, runMsMax);
    const tookMs = d.clock.monotonic() - startedAt;
    if (d.othersServe()) await wait(Math.min(RESTS * tookMs, REST_MS_MAX), d.clock);
    return { run, tookMs };
  };
  let best = { batch: 0, perMs: 0 };
  let without = 0;
  let spentMs = 0;
  // The first run allocates.
  let last = await runZeros(runner, heads, 1, runMsMax);
  for (const batch of sizes(batchMax)) {
    const measured = await fastestOf(() => runRested(batch), MEASURE_MS_MAX - spentMs);
    spentMs += measured.spentMs;
    last = measured.last;
    const perMs = batch / measured.fastestMs;
    if (perMs >= best.perMs * GAIN_MIN) {
      best = { batch, perMs };
      without = 0;
    } else {
      without += 1;
      if (without >= WITHOUT_GAIN_MAX || spentMs > MEASURE_MS_MAX) break;
    }
  }
  return { batchBest: best.batch, run: last };
}

/** A run with its way to the runner and back: that is paid for each batch, too. */
interface Timed {
  readonly run: WarmUp['run'];
  readonly tookMs: number;
}

/** The fastest of some runs: other processes can only make a run slower. */
async function fastestOf(run: () => Promise<Timed>, leftMs: number) {
  let last = await run();
  let fastestMs = last.tookMs;
  let spentMs = last.tookMs;
  for (
    let runs = 1;
    runs < RUNS_MAX && (runs < RUNS_MIN || spentMs < SIZE_MS) && (runs < 2 || spentMs < leftMs);
    runs++
  ) {
    last = await run();
    fastestMs = Math.min(fastestMs, last.tookMs);
    spentMs += last.tookMs;
  }
  return { last: last.run, fastestMs, spentMs };
}

/** After a restart: every size once, nothing measured. @throws BrinkError as `measureBatches` */
export async function warmUp(
  runner: BatchRunner,
  heads: readonly Head[],
  batchBest: number,
  runMsMax: number,
): Promise<void> {
  for (const batch of sizes(batchBest)) await runZeros(runner, heads, batch, runMsMax);
}

/** @throws BrinkError */
export function ranOrThrow(end: RunEnd): Omit<FinishedRun, 'startedAt'> {
  if (end.kind === 'failed') throw end.error;
  return end.run;
}

async function runZeros(runner: BatchRunner, heads: readonly Head[], batch: number, runMsMax: number) {
  const unit = heads.map(
    ({ dtype, shape }) => new Uint8Array(shape.reduce((product, size) => product * size, dtype === 'uint8' ? 1 : 4)),
  );
  const payloads = Array.from({ length: batch }, () => unit).flat();
  return ranOrThrow(await runner.run({ session: '', batch, heads, payloads }, runMsMax));
}

function sizes(most: number): number[] {
  const all: number[] = [];
  for (let size = 1; size < most; size *= 2) all.push(size);
  return [...all, most];
}
