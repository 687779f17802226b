import type { Bench, BenchResult } from './bench.ts';
import { quantile } from './devices.ts';
import { temporaryFolder } from './folder.ts';
import { median } from './rounds.ts';
import { type Payload, writeSimpleCnn } from './site.ts';
import { startSystem } from './system.ts';

const DEVICES = 64;
const MEASURE_MS = 5000;
const ROUNDS = 3;
const BAR = 0.85;
const AGE_BAR = 2;
const OVERLOAD = 2;

interface Round {
  readonly closed: { readonly fps: number; readonly p99Ms: number };
  readonly open: { readonly sentPerS: number; readonly fps: number; readonly p50Ms: number; readonly p99Ms: number };
  readonly goodput: number;
  readonly age: number;
}

/** Twice as many frames as can be decided: what is delivered has to stay as much, and as fresh. */
export const overload: Bench = {
  what: `decisions/s at ${OVERLOAD}× the closed-loop maximum ÷ that maximum; p99 age of what is delivered at most ${AGE_BAR}× the closed loop's`,
  async run(report): Promise<BenchResult> {
    const variants: Record<string, unknown> = {};
    const all: Round[] = [];
    for (const payload of ['jpeg', 'tensor'] as const) {
      report(`overload, ${payload} frames:`);
      const rounds = await measure(payload, report);
      const age = median(rounds.map((round) => round.age));
      variants[payload] = { goodput: median(rounds.map((round) => round.goodput)), age, ageBar: AGE_BAR, rounds };
      if (payload === 'jpeg') all.push(...rounds);
    }
    const late = median(all.map((round) => round.age)) > AGE_BAR;
    return {
      figure: median(all.map((round) => round.goodput)),
      unit: 'goodput ÷ closed-loop maximum',
      bar: BAR,
      broken: late ? 1 : 0,
      variants,
      rounds: all,
    };
  },
};

async function measure(payload: Payload, report: (line: string) => void): Promise<Round[]> {
  using folder = temporaryFolder();
  await writeSimpleCnn(folder.path);
  await using system = await startSystem({ folder: folder.path, payload, devices: DEVICES });
  const { devices } = system;
  await system.framesPerSecond(MEASURE_MS / 2);
  const rounds: Round[] = [];
  for (let i = 0; i < ROUNDS; i++) {
    devices.takeAges();
    const fps = await system.framesPerSecond(MEASURE_MS);
    const closed = { fps: Math.round(fps), p99Ms: rounded(quantile(devices.takeAges(), 0.99)) };
    const [sent, decided, start] = [devices.sent, devices.count, performance.now()];
    await devices.sendAt(OVERLOAD * fps, MEASURE_MS);
    const seconds = (performance.now() - start) / 1000;
    const [sentPerS, openFps] = [devices.sent - sent, devices.count - decided].map((n) => Math.round(n / seconds));
    await devices.drain();
    const ages = devices.takeAges();
    const open = {
      sentPerS: sentPerS ?? 0,
      fps: openFps ?? 0,
      p50Ms: rounded(quantile(ages, 0.5)),
      p99Ms: rounded(quantile(ages, 0.99)),
    };
    const round = {
      closed,
      open,
      goodput: Number((open.fps / closed.fps).toFixed(3)),
      age: Number((open.p99Ms / closed.p99Ms).toFixed(2)),
    };
    rounds.push(round);
    report(
      `  round ${i + 1}: closed ${closed.fps}/s, p99 ${closed.p99Ms} ms · sent ${open.sentPerS}/s, decided ${open.fps}/s,` +
        ` p50 ${open.p50Ms} p99 ${open.p99Ms} ms → ${round.goodput}, age ${round.age}`,
    );
  }
  return rounds;
}

const rounded = (ms: number) => Number(ms.toFixed(1));
