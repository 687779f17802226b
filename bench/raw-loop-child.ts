// The baseline: what a person gets who loops over frames in memory and calls session.run, one session, one thread,
// the model's best batch. In a process of its own, so that nothing of the bench shares its event loop.
import { decodePicture, type PictureTarget } from '@brink/decode';
import turbo from '@julusian/jpeg-turbo';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import type { RawLoopReply, RawLoopRequest, RawLoopSetup } from './raw-loop.ts';

const SIDE = 128;
const BATCHES = [1, 2, 4, 8, 16, 32];
const TARGET: PictureTarget = {
  width: SIDE,
  height: SIDE,
  fit: 'stretch',
  pad: 114,
  kernel: 'bilinear',
  colour: 'rgb',
};

/** Frames to what the model takes of one: JPEGs are decoded, as the system must do too, on the fastest way that there is. */
const READERS: Record<RawLoopSetup['payload'], (frame: Buffer) => Promise<Uint8Array> | Uint8Array> = {
  tensor: (frame) => frame,
  kws: (frame) => frame,
  jpeg: (frame) => turbo.decompressSync(frame, { format: turbo.FORMAT_RGB }).data,
  'jpeg-640': async (frame) => (await decodePicture(frame, { targets: [TARGET] })).pictures[0]?.pixels ?? frame,
};

process.once('message', async (setup: RawLoopSetup) => {
  const session = await InferenceSession.create(setup.modelPath, {
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
    graphOptimizationLevel: 'all',
    logSeverityLevel: 3,
    extra: { session: { intra_op: { allow_spinning: '0' } } },
  });
  const frames = setup.frames.map((frame) => Buffer.from(frame, 'base64'));
  const input = session.inputNames[0] as string;
  const isKws = setup.payload === 'kws';
  const frameBytes = isKws ? 49 * 10 * 4 : SIDE * SIDE * 3;
  const read = READERS[setup.payload];

  /** Runs `batch` frames once. */
  async function runOnce(batch: number, stacked: Uint8Array, first: number): Promise<void> {
    for (let i = 0; i < batch; i++) {
      const made = read(frames[(first + i) % frames.length] as Buffer);
      stacked.set(made instanceof Promise ? await made : made, i * frameBytes);
    }
    const tensor = isKws
      ? new Tensor('float32', new Float32Array(stacked.buffer), [batch, 49, 10])
      : new Tensor('uint8', stacked, [batch, SIDE, SIDE, 3]);
    await session.run({ [input]: tensor });
  }

  async function measure(batch: number, ms: number): Promise<{ fps: number; p90: number }> {
    const stacked = new Uint8Array(batch * frameBytes);
    const start = performance.now();
    const took: number[] = [];
    for (let now = start; now - start < ms; ) {
      await runOnce(batch, stacked, took.length * batch);
      const before = now;
      now = performance.now();
      took.push(now - before);
    }
    const fps = (took.length * batch * 1000) / (performance.now() - start);
    const sorted = took.sort((a, b) => a - b);
    return { fps, p90: sorted[Math.floor(sorted.length * 0.9)] ?? 0 };
  }

  // The best batch the system may use too: batch_max of the passport.
  let best = { batch: 1, fps: 0 };
  const batches = setup.batch > 0 ? [setup.batch] : BATCHES.filter((size) => size <= setup.batchMax);
  for (const batch of batches) {
    await measure(batch, 200);
    const { fps } = await measure(batch, 600);
    if (fps > best.fps) best = { batch, fps };
  }
  process.send?.({ ready: true, batch: best.batch } satisfies RawLoopReply);
  process.on('message', async (request: RawLoopRequest) => {
    process.send?.((await measure(best.batch, request.ms)) satisfies RawLoopReply);
  });
});
process.once('disconnect', () => process.exit());
