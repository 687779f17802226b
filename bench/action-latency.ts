import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { type Control, startBroker, startControl } from '@brink/test/control';
import { type Dialled, dial } from '@brink/test/link';
import { connectAsync, type MqttClient } from 'mqtt';
import type { Bench, BenchResult } from './bench.ts';
import { quantile } from './devices.ts';
import { writeTinyModel } from './durable.ts';
import { temporaryFolder } from './folder.ts';
import { outcomeBytes } from './outcomes.ts';
import { median } from './rounds.ts';

/** p99 of an action may be 2 × p99 of a commit, and this more, ms. */
const BAR = { factor: 2, moreMs: 5 };
const STRETCHES = 6;
const STRETCH_MS = 2000;
const EVERY_MS = 15;
const ROW_BYTES = 2048;

/** How long after its decision is committed an action is at the broker, and further: here it is timed where the device has it. */
export const actionLatency: Bench = {
  what: `an action from COMMIT to the device over MQTT: (p99 − ${BAR.moreMs} ms) ÷ p99 of one FULL commit of SQLite; at most ${BAR.factor}`,
  async run(report): Promise<BenchResult> {
    using folder = temporaryFolder();
    writeTinyModel(folder.path);
    await using broker = await startBroker(folder.path, SITE);
    await using control = await startControl({ folder: folder.path, url: broker.url, data: 'control' });
    await using actions = await startActions(control, broker.url);
    using bare = openBare(folder.path);
    await actions.latencies(STRETCH_MS / 2);
    const rounds = [];
    // In turn: what slows the disk down for a while slows both.
    for (let i = 0; i < STRETCHES; i++) {
      const commits = bare.commits(STRETCH_MS);
      const ms = await actions.latencies(STRETCH_MS);
      const [commitP50, commitP99] = quantiles(commits);
      const [p50, p99] = quantiles(ms);
      rounds.push({ commitP50, commitP99, p50, p99, actions: ms.length });
      report(`  stretch ${i + 1}: FULL commit p50 ${commitP50} p99 ${commitP99} ms · action p50 ${p50} p99 ${p99} ms`);
    }
    const p99 = median(rounds.map((round) => round.p99));
    const commitP99 = median(rounds.map((round) => round.commitP99));
    return {
      figure: Number(((p99 - BAR.moreMs) / commitP99).toFixed(3)),
      ...{ unit: '(p99 − 5 ms) ÷ p99 of a FULL commit', bar: BAR.factor, atMost: true },
      variants: {
        p99Ms: p99,
        commitP99Ms: commitP99,
        allowedMs: Number((BAR.factor * commitP99 + BAR.moreMs).toFixed(2)),
      },
      rounds,
    };
  },
};

/** Every second decision makes the rule act, the one between makes it act on release: an action for each. */
const command = (name: string) => [{ command: { device: 'feeder-1', name, ack: 'none', expires_ms: 60_000 } }];
const SITE = {
  version: 1,
  streams: { 'of-pipe-0': { format: 'tensor', pipelines: { 'pipe-0': { model: 'tiny' } } } },
  rules: {
    flap: {
      on: 'pipe-0',
      when: 'decision.score > 0.5',
      stale_ms_max: 60_000,
      // biome-ignore lint/suspicious/noThenProperty: the word of the configuration; never awaited
      then: command('open'),
      on_release: command('close'),
    },
  },
};

async function startActions(control: Control, url: string) {
  const gateway = await dial(control.socket);
  const feeder = await connectAsync(url, { clientId: 'feeder-1' });
  await feeder.subscribeAsync('brink/feeder-1/down/commands/#', { qos: 1 });
  let seq = 0;
  return {
    /** ms from COMMIT, as the gateway hears of it, to the arrival at the device. */
    async latencies(forMs: number): Promise<number[]> {
      const times: number[] = [];
      const late = performance.now() + forMs;
      while (performance.now() < late) {
        times.push(await oneAction(gateway, feeder, ++seq));
        await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
      }
      return times;
    },
    async [Symbol.asyncDispose]() {
      await feeder.endAsync(true);
      await gateway[Symbol.asyncDispose]();
    },
  };
}

async function oneAction(gateway: Dialled, feeder: MqttClient, seq: number): Promise<number> {
  const score = seq % 2 === 1 ? 0.9 : 0.1;
  const arrived = new Promise<number>((resolve) => feeder.once('message', () => resolve(performance.now())));
  await gateway.commit([outcomeBytes({ device: 'cam-1', seq, pipeline: 'pipe-0', score, durable: true })]);
  const committed = performance.now();
  // It may be here before the answer is: both leave control together.
  return Math.max(0, (await arrived) - committed);
}

/** One row a commit, each synced. */
function openBare(folder: string) {
  const db = new DatabaseSync(join(folder, 'bare.db'));
  db.exec(
    'PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE row (id INTEGER PRIMARY KEY, bytes BLOB)',
  );
  const insert = db.prepare('INSERT INTO row (bytes) VALUES (?)');
  const bytes = new Uint8Array(ROW_BYTES).fill(7);
  return {
    commits(forMs: number): number[] {
      const times: number[] = [];
      const late = performance.now() + forMs;
      for (let began = performance.now(); began < late; began = performance.now()) {
        insert.run(bytes);
        times.push(performance.now() - began);
      }
      return times;
    },
    [Symbol.dispose]: () => db.close(),
  };
}

const quantiles = (times: number[]) =>
  [0.5, 0.99].map((part) => Number(quantile(times, part).toFixed(3))) as [number, number];
