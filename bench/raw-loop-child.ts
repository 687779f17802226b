// The baseline: what a person gets who loops over frames in memory and calls session.run, one session, one thread,
// the model's best batch. In a process of its own, so that nothing of the bench shares its event loop.
import turbo from '@julusian/jpeg-turbo';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import type { RawLoopReply, RawLoopRequest, RawLoopSetup } from './raw-loop.ts';

const SIDE = 128;
const FRAME_BYTES = SIDE * SIDE * 3;
const BATCHES = [1, 2, 4, 8, 16, 32];

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

  /** Runs `batch` frames once; JPEG frames are decoded first, as the system must do too. */
  async function runOnce(batch: number, stacked: Uint8Array, first: number): Promise<void> {
    for (let i = 0; i < batch; i++) {
      const frame = frames[(first + i) % frames.length] as Buffer;
      const pixels = setup.payload === 'jpeg' ? turbo.decompressSync(frame, { format: turbo.FORMAT_RGB }).data : frame;
      stacked.set(pixels, i * FRAME_BYTES);
    }
    await session.run({ [input]: new Tensor('uint8', stacked, [batch, SIDE, SIDE, 3]) });
  }

  async function framesPerSecond(batch: number, ms: number): Promise<number> {
    const stacked = new Uint8Array(batch * FRAME_BYTES);
    const start = performance.now();
    let done = 0;
    while (performance.now() - start < ms) {
      await runOnce(batch, stacked, done);
      done += batch;
    }
    return (done * 1000) / (performance.now() - start);
  }

  // The best batch the system may use too: batch_max of the passport.
  let best = { batch: 1, fps: 0 };
  const batches = setup.batch > 0 ? [setup.batch] : BATCHES.filter((size) => size <= setup.batchMax);
  for (const batch of batches) {
    await framesPerSecond(batch, 200);
    const fps = await framesPerSecond(batch, 600);
    if (fps > best.fps) best = { batch, fps };
  }
  process.send?.({ ready: true, batch: best.batch } satisfies RawLoopReply);
  process.on('message', async (request: RawLoopRequest) => {
    process.send?.({ fps: await framesPerSecond(best.batch, request.ms) } satisfies RawLoopReply);
  });
});
process.once('disconnect', () => process.exit());
