import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { systemClock, wait } from '@brink/runtime';
import { describe, expect, it } from 'vitest';
import { writeChain, writePassport } from './harness/neighbours.ts';
import { expectLaws, SITE, type Site, startSite, until } from './harness/site.ts';

// Windows that lie across frames, and a model that remembers: a gateway that is killed while they are under way decides the same
// as one that is not.

const LONG = process.env['BRINK_TEST_SIZE'] === 'long';
const POINTS = [
  ...['outcome.after_settle', 'outcome.after_commit'],
  ...(LONG
    ? ['ingest.before_commit', 'ingest.after_commit', 'ingest.after_ack', 'cut.before_commit', 'cut.after_commit']
    : []),
  ...(LONG ? ['outcome.before_send', 'release.after_commit'] : []),
];
/** The first when nothing has gone yet, the second when rows have gone and states are kept. */
const NS_SHORT = [1, 70];
/** Of the sweep: n = 1, 18, 35 … until a point is not passed so often. */
const NS = Array.from({ length: 40 }, (_, i) => 1 + 17 * i);

const DURABLE = {
  ...SITE,
  streams: {
    pump: {
      format: 'signal' as const,
      delivery: 'durable' as const,
      signal: { encoding: 'f32le' as const, fields: ['x'] },
      pipelines: { plain: { model: 'mean' }, memory: { model: 'moving' }, chain: { model: 'chained' } },
    },
  },
};
const signal = (over: object) => ({
  tensor: 'x',
  signal: { rate_hz: 100, channels: ['x'], window: 8, hop: 4, ...over },
});

async function withModels(site: Site): Promise<void> {
  const o = { task: 'regression', output: { decoder: 'regression', tensors: { y: 'y' }, names: ['y'] } };
  const mean = await writePassport(site.modelsDir, { ...o, name: 'mean', inputs: [signal({})] });
  const state = [{ in: 's', out: 't', shape: [1] }];
  const band_pass = { low_hz: 5, high_hz: 20 };
  const moving = await writePassport(site.modelsDir, { ...o, name: 'moving', inputs: [signal({ band_pass })], state });
  // Three windows of the mean, and what they were before: a model behind a model, both with a memory.
  const features = [{ tensor: 'x', features: { shape: [3, 1] } }];
  const behind = await writePassport(site.modelsDir, { ...o, name: 'behind', inputs: features, state });
  await writeChain(site.modelsDir, 'chained', [{ model: 'moving@1' }, { model: 'behind@1', window: 3, hop: 2 }]);
  await site.inference.announce([site.cats, mean, moving, behind]);
  site.inference.computes(([window = Buffer.alloc(0), before], raw) => {
    const values = new Float32Array(new Uint8Array(window).buffer);
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    const state = before === undefined ? 0 : before.readFloatLE(0);
    const y = mean + state;
    const after = Buffer.alloc(4);
    after.writeFloatLE(y * 0.5);
    const result = Buffer.from(JSON.stringify({ task: 'regression', values: { y } }));
    const output = Buffer.alloc(4);
    output.writeFloatLE(y);
    return before === undefined ? [result] : [result, after, ...(raw ? [output] : [])];
  });
}

/** Frames of 1 to 13 samples of a noise that everybody can make again, with a number left out. */
const FRAMES = Array.from({ length: 24 }, (_, i) => ({
  seq: i + (i < 15 ? 1 : 2),
  payload: Buffer.from(new Float32Array(1 + ((i * 7) % 13)).map((_v, k) => Math.sin(i * 3.7 + k * 1.3) * 5).buffer),
}));

const samplesIn = (frames: typeof FRAMES) => frames.reduce((sum, { payload }) => sum + payload.length / 4, 0);
const windowsIn = (samples: number) => Math.floor((samples - 8) / 4) + 1;
/** Of each pipeline: those of before the gap, and those after it. */
const UNITS = windowsIn(samplesIn(FRAMES.slice(0, 15))) + windowsIn(samplesIn(FRAMES.slice(15)));

async function send(site: Site, device: string): Promise<void> {
  for (const { seq, payload } of FRAMES) await site.frame(device, 'pump', payload, `k3v9-${seq}`);
}

/** By unit what was decided about it; twice the same is the same. */
function decisionsOf(site: Site, device: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const one of site.control.outcomes.filter((outcome) => outcome.device === device)) {
    const key = `${one.pipeline} ${one.seq}.${one.part}`;
    const said = JSON.stringify([one.outcome, one.frames, one.result?.values, one.result?.quality, one.error?.code]);
    expect(found.get(key) ?? said, key).toBe(said);
    found.set(key, said);
  }
  return found;
}

function gateway(site: Site, ...argv: string[]): { child: ChildProcess; gone: Promise<unknown> } {
  const child = fork(join(import.meta.dirname, 'harness/gateway-child.ts'), argv, {
    env: { ...process.env, ...site.env },
  });
  return { child, gone: once(child, 'exit') };
}

const sorted = (decisions: Map<string, string>) => [...decisions].sort();

/** @returns whether the gateway died of it, before or after all was decided */
async function dies(site: Site, device: string, argv: string[]): Promise<boolean> {
  const { child, gone } = gateway(site, ...argv);
  await send(site, device);
  const died = gone.then(() => true);
  const decided = until(() => decisionsOf(site, device).size >= 3 * UNITS, 'decided', 15_000).catch(() => {});
  // Its last points come after the decision.
  const lived = decided.then(() => wait(300, systemClock)).then(() => false);
  if (await Promise.race([died, lived])) return true;
  child.kill('SIGKILL');
  await gone;
  return false;
}

async function recover(site: Site, device: string): Promise<void> {
  await site.restart();
  await until(() => decisionsOf(site, device).size >= 3 * UNITS, device, 20_000);
  await site.service.stop();
}

/** @returns the devices whose frames met a gateway that dies at this point */
async function sweep(site: Site, point: string, index: number): Promise<string[]> {
  const devices: string[] = [];
  for (const n of LONG ? NS : [NS_SHORT[index] ?? 70]) {
    const device = `dev-${index}-${n}`;
    devices.push(device);
    if (!(await dies(site, device, [point, String(n)]))) break;
    // Else what the next crash takes along has a third attempt behind it, and is given up.
    if (LONG) await recover(site, device);
  }
  return devices;
}

describe('a gateway that is killed while windows are under way', () => {
  it('decides the same as one that is not, each once, and leaves no row behind that nobody needs', {
    timeout: 900_000,
  }, async () => {
    await using site = await startSite({ configuration: DURABLE });
    await withModels(site);
    await site.ready();
    await send(site, 'calm');
    await until(
      () => decisionsOf(site, 'calm').size >= 3 * UNITS,
      () => `${decisionsOf(site, 'calm').size} units`,
    );
    const calm = decisionsOf(site, 'calm');
    expect(calm.size).toBe(3 * UNITS);
    await site.service.stop();
    const devices: string[] = [];
    for (const [index, point] of POINTS.entries()) devices.push(...(await sweep(site, point, index)));
    await site.restart();
    for (const device of devices) {
      await until(
        () => decisionsOf(site, device).size >= 3 * UNITS,
        () => `${device}: ${decisionsOf(site, device).size}`,
      );
      expect([device, sorted(decisionsOf(site, device))]).toEqual([device, sorted(calm)]);
    }
    await until(() => ['plain', 'memory', 'chain'].every((name) => site.service.counts.units(name).pending === 0));
    const formed = (devices.length + 1) * UNITS;
    for (const pipeline of ['plain', 'memory', 'chain']) {
      expect(site.service.counts.units(pipeline)).toMatchObject({ formed, decided: formed });
    }
    expectLaws(site);
    // What the next window begins with: of each device a few rows of fewer than a window, and no more.
    await until(async () => (await site.metric(/spool_rows\{.*pump/)) <= (devices.length + 1) * 3);
  });
});
