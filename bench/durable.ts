import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { encode, graph, model, node, tensor, value } from '@brink/onnx';
import { startUp } from '@brink/test/up';
import { connectAsync, type MqttClient } from 'mqtt';
import type { Bench, BenchResult } from './bench.ts';
import { startChild } from './child.ts';
import { createCpuMeter, createCpuSum } from './cpu.ts';
import { temporaryFolder } from './folder.ts';
import { measureRounds } from './rounds.ts';
import type { SqliteLoopReply, SqliteLoopRequest } from './sqlite-loop-child.ts';

const BAR = 0.5;
const MEASURE_MS = 3000;
/** One frame in flight each. */
const DEVICES = 256;
/** A frame: 32 × 21 pixels of three bytes. */
const [WIDTH, HEIGHT] = [32, 21];
const FRAME_BYTES = WIDTH * HEIGHT * 3;
const STREAMS = { latest: 'latest', kept: 'durable' } as const;

/** What it costs that nothing is lost, end to end, with a model that does next to nothing. */
export const durable: Bench = {
  what: 'frames/s of 2 KB over MQTT to their decisions: durable ÷ latest; and ÷ a bare SQLite loop with as many rows a COMMIT',
  async run(report): Promise<BenchResult> {
    using folder = temporaryFolder();
    writeSite(folder.path);
    await using system = await startSystem(folder.path);
    await using bare = startChild<SqliteLoopReply>('sqlite-loop-child.ts');
    for (const stream of ['latest', 'kept'] as const) await system.framesPerSecond(stream, MEASURE_MS / 2);

    report('durable ÷ latest:');
    const groups = await system.groups();
    const ofLatest = await measureRounds(
      () => system.framesPerSecond('latest', MEASURE_MS),
      () => system.framesPerSecond('kept', MEASURE_MS),
      report,
      { baseline: 'latest' },
    );
    const { changes, commits, frames } = await groups.since();
    const rowsPerCommit = Math.max(1, Math.round(frames / commits));
    report(`durable ÷ a bare SQLite loop, ${rowsPerCommit} rows a commit:`);
    const request = { folder: folder.path, rowBytes: FRAME_BYTES, rowsPerCommit, ms: MEASURE_MS };
    const ofSqlite = await measureRounds(
      async () => (await bare.ask(request satisfies SqliteLoopRequest)).perSecond,
      () => system.framesPerSecond('kept', MEASURE_MS),
      report,
      { baseline: 'bare', unit: 'rows/s' },
    );
    const { perSecond } = await bare.ask({ ...request, rowsPerCommit: 1 } satisfies SqliteLoopRequest);
    const spool = {
      // Where a sync costs next to nothing, the bare loop measures SQLite's B-tree, and no system comes near it.
      msPerBareCommit: Number((1000 / perSecond).toFixed(2)),
      changesPerCommit: Number((changes / commits).toFixed(1)),
      framesPerCommit: Number((frames / commits).toFixed(1)),
    };
    report(`  of one COMMIT: ${JSON.stringify(spool)}; CPU µs per frame: ${JSON.stringify(system.cpuPerFrame)}`);
    return {
      figure: ofLatest.figure,
      unit: 'frames/s, durable ÷ latest',
      bar: BAR,
      variants: { ofLatest, ofSqlite: { ...ofSqlite, bar: BAR }, spool, cpuMicrosPerFrame: system.cpuPerFrame },
      rounds: ofLatest.rounds,
    };
  },
};

/** A picture's mean colour through a dense layer of two classes. */
function tinyGraph(): Uint8Array {
  const nodes = [
    node('GlobalAveragePool', ['image'], ['pooled']),
    node('Flatten', ['pooled'], ['flat'], { axis: 1 }),
    node('Gemm', ['flat', 'weight', 'bias'], ['logits'], { transB: 1 }),
  ];
  const tensors = [
    tensor('weight', [2, 3], Float32Array.of(1, 2, 3, 3, 2, 1)),
    tensor('bias', [2], Float32Array.of(0, 0)),
  ];
  const inputs = [value('image', 'float32', ['batch', 3, HEIGHT, WIDTH])];
  return encode(
    model(graph({ name: 'tiny', inputs, outputs: [value('logits', 'float32', ['batch', 2])], tensors, nodes })),
  );
}

/** The folder of a model that does next to nothing: `models/tiny/1`. */
export function writeTinyModel(folder: string): void {
  const home = join(folder, 'models/tiny/1');
  mkdirSync(home, { recursive: true });
  const bytes = tinyGraph();
  writeFileSync(join(home, 'model.onnx'), bytes);
  const passport = {
    ...{ passport: 1, name: 'tiny', version: 1, task: 'classification', batch_max: 64 },
    files: [{ path: 'model.onnx', sha256: createHash('sha256').update(bytes).digest('hex') }],
    inputs: [{ tensor: 'image', image: { width: WIDTH, height: HEIGHT, scale: 1 / 255, mean: [0.5], std: [0.25] } }],
    output: { decoder: 'classification', tensors: { logits: 'logits' } },
  };
  writeFileSync(join(home, 'model.json'), JSON.stringify(passport));
}

function writeSite(folder: string): void {
  writeTinyModel(folder);
  mkdirSync(join(folder, 'config'));
  const streams = Object.fromEntries(
    Object.entries(STREAMS).map(([name, delivery]) => [
      name,
      { format: 'tensor', delivery, frame_age_ms_max: 10_000, pipelines: { [`decide-${name}`]: { model: 'tiny' } } },
    ]),
  );
  const site = { version: 1, streams, models: { tiny: { queue_max: 1024 } } };
  // JSON is YAML.
  writeFileSync(join(folder, 'config/site.yaml'), JSON.stringify(site));
}

type StreamName = keyof typeof STREAMS;

/** The services as `brink up` runs them, and devices that send their next frame when the last one is decided. */
async function startSystem(folder: string) {
  const up = await startUp({ folder, config: join(folder, 'config'), models: join(folder, 'models') });
  const client = await connectAsync(up.mqtt, { protocolVersion: 4 });
  // MQTT.js leaves Nagle's algorithm on, which would measure the kernel's timer.
  if (client.stream instanceof Socket) client.stream.setNoDelay(true);
  const loop = createLoop(client);
  await client.subscribeAsync('brink/+/down/decisions/+');
  const meter = createCpuMeter(up.pids);
  const spent = { latest: createCpuSum(), kept: createCpuSum() };
  const counters = async () => {
    const text = await (await fetch(`${up.ops['gateway']}/metrics`)).text();
    const read = (name: string) => Number(new RegExp(`^${name}(?:\\{.*\\})? (\\S+)$`, 'm').exec(text)?.[1] ?? 0);
    return {
      changes: read('brink_gateway_spool_changes_total'),
      commits: read('brink_gateway_spool_commit_seconds_count'),
      frames: loop.decisions('kept'),
    };
  };

  return {
    /** µs of each process, runners included */
    get cpuPerFrame() {
      return { latest: spent.latest.perFrame, durable: spent.kept.perFrame };
    },
    /** What the spool does from now on. */
    async groups() {
      const before = await counters();
      return {
        async since() {
          const after = await counters();
          const { changes, commits, frames } = before;
          return {
            changes: after.changes - changes,
            commits: after.commits - commits,
            frames: after.frames - frames,
          };
        },
      };
    },
    async framesPerSecond(stream: StreamName, ms: number): Promise<number> {
      const cpuBefore = meter?.read() ?? {};
      loop.start(stream);
      const [before, start] = [loop.decisions(stream), performance.now()];
      await new Promise((resolve) => setTimeout(resolve, ms));
      const count = loop.decisions(stream) - before;
      const fps = (count * 1000) / (performance.now() - start);
      await loop.drain();
      spent[stream].add(cpuBefore, meter?.read() ?? {}, count);
      return fps;
    },
    async [Symbol.asyncDispose]() {
      await client.endAsync(true);
      await up[Symbol.asyncDispose]();
    },
  };
}

/** Devices with one frame in flight each, numbered, at QoS 1. */
function createLoop(client: MqttClient) {
  const bytes = Buffer.alloc(FRAME_BYTES, 7);
  const decisions: Record<StreamName, number> = { latest: 0, kept: 0 };
  const waiting = new Set<string>();
  let running: StreamName | undefined;
  let seq = 0;

  function send(device: string, stream: StreamName): void {
    waiting.add(device);
    client.publish(`brink/${device}/up/frames/${stream}/bench-${++seq}`, bytes, { qos: 1 });
  }
  client.on('message', (topic) => {
    const [, device = '', , , stream] = topic.split('/') as [string, string, string, string, StreamName];
    decisions[stream] += 1;
    waiting.delete(device);
    if (running === stream) send(device, stream);
  });

  return {
    decisions: (stream: StreamName) => decisions[stream],
    start(stream: StreamName): void {
      running = stream;
      for (let i = 0; i < DEVICES; i++) send(`dev-${i}`, stream);
    },
    /** Waits until nothing is in flight. */
    async drain(): Promise<void> {
      running = undefined;
      const late = performance.now() + 5000;
      while (waiting.size > 0 && performance.now() < late) await new Promise((resolve) => setTimeout(resolve, 20));
      waiting.clear();
    },
  };
}
