import { join } from 'node:path';
import { type Control, startBroker, startControl } from '@brink/test/control';
import { dial } from '@brink/test/link';
import { fillActions, makeActionsDue } from '@brink/test/rows';
import type { Bench, BenchResult } from './bench.ts';
import { writeTinyModel } from './durable.ts';
import { temporaryFolder } from './folder.ts';
import { outcomeBytes } from './outcomes.ts';
import { measureRounds, median } from './rounds.ts';

const BAR = 5;
const LIVE_BAR = 2;
const PENDING = 1_000_000;
/** Live decisions, one by one, while the backlog drains. */
const LIVE_MS = 8000;
const EVERY_MS = 10;
const DAY_MS = 86_400_000;

/** How much a backlog keeps control from its work: at its start, and while it drains. */
export const start: Bench = {
  what: `ready with ${PENDING} pending actions ÷ with none; and p99 of live decisions over the link into COMMIT while they drain ÷ without`,
  async run(report): Promise<BenchResult> {
    using folder = temporaryFolder();
    writeTinyModel(folder.path);
    const streams = { 'of-pipe-0': { format: 'tensor', pipelines: { 'pipe-0': { model: 'tiny' } } } };
    await using broker = await startBroker(folder.path, { version: 1, streams });
    const options = (data: string) => ({ folder: folder.path, url: broker.url, data });
    for (const data of ['none', 'pending']) await ended(await startControl(options(data)));
    fillActions(join(folder.path, 'pending'), PENDING, { dueMs: Date.now() + DAY_MS, lifeMs: DAY_MS });
    // The first start after that makes anew what is mirrored beside the file.
    await ended(await startControl(options('pending')));
    const readyMs = async (data: string) => {
      const control = await startControl(options(data));
      await ended(control);
      return control.readyMs;
    };
    report(`ready with ${PENDING} pending ÷ with none:`);
    const series = await measureRounds(
      () => readyMs('none'),
      () => readyMs('pending'),
      report,
      {
        ...{ unit: 'ms', baseline: 'none' },
      },
    );

    report('live decisions while the backlog drains:');
    await using quiet = await startControl(options('none'));
    const alone = await live(quiet);
    await ended(quiet);
    makeActionsDue(join(folder.path, 'pending'));
    await using busy = await startControl(options('pending'));
    const before = await busy.metric('brink_control_dispatcher_sent');
    const during = await live(busy);
    const sent = (await busy.metric('brink_control_dispatcher_sent')) - before;
    const ratio = Number((during.p99 / alone.p99).toFixed(2));
    const drainedPerSecond = Math.round(sent / (LIVE_MS / 1000));
    report(`  p99 ${alone.p99} ms alone, ${during.p99} ms beside ${drainedPerSecond} actions/s → ${ratio}`);
    return {
      ...{ figure: series.figure, unit: 'ready, ÷ with none', bar: BAR, atMost: true, rounds: series.rounds },
      variants: { live: { alone, during, ratio, bar: LIVE_BAR, pass: ratio <= LIVE_BAR, drainedPerSecond } },
    };
  },
};

const ended = (control: Control) => control[Symbol.asyncDispose]();

/** Outcomes one after the other, at a pace. @returns how long each took until it was committed, ms */
async function live(control: Control): Promise<{ p50: number; p99: number; count: number }> {
  await using gateway = await dial(control.socket);
  const times: number[] = [];
  const boot = Math.floor(performance.now()) * 1000;
  const startMs = performance.now();
  for (let seq = 1; performance.now() - startMs < LIVE_MS; seq++) {
    const bytes = outcomeBytes({ device: 'cam-1', seq: boot + seq, pipeline: 'pipe-0', score: 0.9, durable: true });
    const began = performance.now();
    await gateway.commit([bytes]);
    times.push(performance.now() - began);
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, EVERY_MS - (performance.now() - began))));
  }
  times.sort((a, b) => a - b);
  const at = (share: number) => Number((times[Math.floor(times.length * share)] ?? 0).toFixed(2));
  return { p50: median(times), p99: at(0.99), count: times.length };
}
