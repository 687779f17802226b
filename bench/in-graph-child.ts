// Two sessions in one process, in turn: a graph as the file has it, and the one that takes uint8 pictures.
import { InferenceSession, Tensor } from 'onnxruntime-node';
import type { InGraphReply, InGraphRequest, InGraphSetup } from './in-graph.ts';

const SETTINGS: InferenceSession.SessionOptions = {
  intraOpNumThreads: 1,
  interOpNumThreads: 1,
  graphOptimizationLevel: 'all',
  logSeverityLevel: 3,
  extra: { session: { intra_op: { allow_spinning: '0' } } },
};

process.once('message', async ({ floatPath, derivedPath, side }: InGraphSetup) => {
  const float = await InferenceSession.create(floatPath, SETTINGS);
  const derived = await InferenceSession.create(derivedPath, SETTINGS);

  const feeds = (batch: number) => {
    const pixels = Uint8Array.from({ length: batch * side * side * 3 }, (_, at) => (at * 31) % 256);
    // What the derived graph makes of them: so both compute the same.
    const values = new Float32Array(pixels.length);
    for (let at = 0; at < values.length; at++) {
      const [plane, rest] = [Math.floor(at / (side * side)) % 3, at % (side * side)];
      const source = Math.floor(at / (side * side * 3)) * side * side * 3 + rest * 3 + plane;
      values[at] = ((pixels[source] ?? 0) / 255 - 0.5) / 0.25;
    }
    return {
      float: { [float.inputNames[0] ?? '']: new Tensor('float32', values, [batch, 3, side, side]) },
      derived: { [derived.inputNames[0] ?? '']: new Tensor('uint8', pixels, [batch, side, side, 3]) },
    };
  };

  /** Median of single runs, so that one that was disturbed does not count. */
  async function msOf({ graph, batch, ms }: InGraphRequest): Promise<number> {
    const session = graph === 'float' ? float : derived;
    const feed = feeds(batch)[graph];
    const taken: number[] = [];
    for (const end = performance.now() + ms; performance.now() < end; ) {
      const start = performance.now();
      await session.run(feed);
      taken.push(performance.now() - start);
    }
    return taken.sort((a, b) => a - b)[Math.floor(taken.length / 2)] ?? 0;
  }

  process.on('message', async (request: InGraphRequest) => {
    process.send?.({ ms: await msOf(request) } satisfies InGraphReply);
  });
  process.send?.({ ms: 0 } satisfies InGraphReply);
});
process.once('disconnect', () => process.exit());
