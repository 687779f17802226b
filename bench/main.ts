import { actionLatency } from './action-latency.ts';
import { batchGain } from './batch-gain.ts';
import { batcher } from './batcher.ts';
import type { Bench } from './bench.ts';
import { connections } from './connections.ts';
import { decisionLog } from './decision-log.ts';
import { durable } from './durable.ts';
import { inGraph } from './in-graph.ts';
import { jpeg } from './jpeg.ts';
import { ledger } from './ledger.ts';
import { loop } from './loop.ts';
import { memory } from './memory.ts';
import { mfcc } from './mfcc.ts';
import { noisyNeighbour } from './noisy-neighbour.ts';
import { oip } from './oip.ts';
import { overload } from './overload.ts';
import { query } from './query.ts';
import { reloadMemory } from './reload-memory.ts';
import { machine } from './rounds.ts';
import { rules } from './rules.ts';
import { singleStream } from './single-stream.ts';
import { start } from './start.ts';
import { swap } from './swap.ts';

const benches: Record<string, Bench> = {
  loop,
  overload,
  'single-stream': singleStream,
  memory,
  'decision-log': decisionLog,
  batcher,
  'batch-gain': batchGain,
  'noisy-neighbour': noisyNeighbour,
  'in-graph': inGraph,
  mfcc,
  swap,
  'reload-memory': reloadMemory,
  oip,
  jpeg,
  connections,
  durable,
  rules,
  ledger,
  query,
  start,
  'action-latency': actionLatency,
};

const [name] = process.argv.slice(2);
if (name === '--list') {
  for (const [key, bench] of Object.entries(benches)) console.log(`${key.padEnd(16)} ${bench.what}`);
} else if (name === undefined || benches[name] === undefined) {
  console.error(`usage: npm run bench -- <name> | --list   (${Object.keys(benches).join(', ')})`);
  process.exitCode = 2;
} else {
  const result = await benches[name].run((line) => console.error(line));
  const { atMost = false, broken = 0, ...said } = result;
  const { figure, bar } = said;
  const reached = figure === null ? null : atMost ? figure <= bar : figure >= bar;
  const pass = reached === null ? null : reached && broken === 0;
  console.log(JSON.stringify({ bench: name, ...said, pass, machine: machine() }));
}
