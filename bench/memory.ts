import type { Bench, BenchResult } from './bench.ts';
import { residentBytes } from './cpu.ts';
import { temporaryFolder } from './folder.ts';
import { median } from './rounds.ts';
import { writeSimpleCnn } from './site.ts';
import { type System, startSystem } from './system.ts';

const BAR = 1.05;
const DEVICES = 32;
const FRAMES = { early: 2000, late: 20_000 };
const STRETCH_MS = 1000;
const LOOKS = 9;

/** Whether anything grows with the frames that went through. Linux only. */
export const memory: Bench = {
  what: `RSS of all processes after ${FRAMES.late} frames ÷ after ${FRAMES.early}`,
  async run(report): Promise<BenchResult> {
    using folder = temporaryFolder();
    await writeSimpleCnn(folder.path);
    await using system = await startSystem({ folder: folder.path, payload: 'jpeg', devices: DEVICES });
    const early = await after(FRAMES.early, system);
    report(`  after ${FRAMES.early} frames: ${megabytes(early)}`);
    const late = await after(FRAMES.late, system);
    report(`  after ${FRAMES.late} frames: ${megabytes(late)}`);
    const ratio = (name: string) => Number(((late[name] ?? 0) / (early[name] ?? 1)).toFixed(3));
    return {
      figure: Number((sum(late) / sum(early)).toFixed(3)),
      unit: 'RSS ÷ RSS',
      bar: BAR,
      atMost: true,
      variants: { early, late, ratios: Object.fromEntries(Object.keys(late).map((name) => [name, ratio(name)])) },
      rounds: [],
    };
  },
};

/** Bytes by process with its children, the middle one of some looks while frames go through. */
async function after(frames: number, system: System): Promise<Record<string, number>> {
  while (system.devices.count < frames) await system.framesPerSecond(STRETCH_MS);
  const looks: Record<string, number>[] = [];
  for (let i = 0; i < LOOKS; i++) {
    await system.framesPerSecond(100);
    looks.push(residentBytes(system.pids));
  }
  const names = Object.keys(system.pids);
  return Object.fromEntries(names.map((name) => [name, median(looks.map((look) => look[name] ?? 0))]));
}

const sum = (of: Record<string, number>) => Object.values(of).reduce((total, bytes) => total + bytes, 0);
const megabytes = (of: Record<string, number>) =>
  Object.entries({ ...of, all: sum(of) })
    .map(([name, bytes]) => `${name} ${Math.round(bytes / 2 ** 20)} MiB`)
    .join(', ');
