import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { deriveGraph, simpleCnnGraph } from '@brink/onnx';
import type { Bench, BenchResult } from './bench.ts';
import { startChild } from './child.ts';
import { temporaryFolder } from './folder.ts';
import { mobileNetGraph } from './graphs.ts';
import { seededRandom } from './random.ts';
import { measureRounds, type Series } from './rounds.ts';
import { SIDE, writeVersion } from './site.ts';

export interface InGraphSetup {
  readonly floatPath: string;
  readonly derivedPath: string;
  readonly side: number;
}
export interface InGraphRequest {
  readonly graph: 'float' | 'derived';
  readonly batch: number;
  readonly ms: number;
}
export interface InGraphReply {
  readonly ms: number;
}

const BAR = 1.08;
const MEASURE_MS = 1500;
const MODELS = {
  'simple-cnn': { graph: simpleCnnGraph, input: 'image' },
  'mobilenet-v1-050-128': { graph: mobileNetGraph, input: 'x' },
};

/** What layout and normalisation inside the graph cost, which spare the link three quarters of its bytes. */
export const inGraph: Bench = {
  what: 'time of the derived graph on uint8 pictures ÷ time of the graph itself on prepared floats, batch 8',
  async run(report): Promise<BenchResult> {
    const variants: Record<string, Series> = {};
    for (const [name, { graph, input }] of Object.entries(MODELS)) {
      using folder = temporaryFolder();
      const bytes = graph(seededRandom(1));
      const passport = writeVersion(folder.path, { name, graph: bytes, picture: input, batchMax: 16 });
      const { graph: derived } = deriveGraph(bytes, passport, [{ dtype: 'uint8', shape: [SIDE, SIDE, 3] }]);
      const paths = { floatPath: join(folder.path, 'float.onnx'), derivedPath: join(folder.path, 'derived.onnx') };
      writeFileSync(paths.floatPath, bytes);
      writeFileSync(paths.derivedPath, derived);
      await using pair = await startPair({ ...paths, side: SIDE });
      for (const batch of [8, 1]) {
        report(`${name}, batch ${batch}:`);
        const msOf = (which: InGraphRequest['graph']) => pair.ask({ graph: which, batch, ms: MEASURE_MS });
        await msOf('float');
        variants[`${name} b${batch}`] = await measureRounds(
          () => msOf('float'),
          () => msOf('derived'),
          report,
          { unit: 'ms', baseline: 'float' },
        );
      }
    }
    const { figure, rounds } = variants['simple-cnn b8'] as Series;
    return { figure, unit: 'derived ÷ float', bar: BAR, atMost: true, variants, rounds };
  },
};

async function startPair(setup: InGraphSetup) {
  const child = startChild<InGraphReply>('in-graph-child.ts');
  await child.ask(setup);
  return {
    ask: async (request: InGraphRequest) => (await child.ask(request)).ms,
    [Symbol.asyncDispose]: child[Symbol.asyncDispose],
  };
}
