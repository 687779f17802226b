// Coefficients of the same sound in turn: by preprocess, and by a graph, both in one process.
import { prepareFile } from '@brink/decode';
import { encode, graph, model, node, tensor, value } from '@brink/onnx';
import { InputSchema } from '@brink/protocol';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import type { MfccReply, MfccRequest } from './mfcc.ts';
import { seededRandom } from './random.ts';

const [RATE, WINDOW, HOP] = [16_000, 16_000, 4000];
const SPEC = { bins: 10, mels: 40, frame: 640, stride: 320, fft: 1024, low_hz: 20, high_hz: 4000, log_offset: 1e-6 };
const { bins, mels, frame, stride, fft } = SPEC;
const FRAMES = Math.floor((WINDOW - frame) / stride) + 1;
const WINDOWS = 8;

const input = InputSchema.parse({ tensor: 'x', audio: { rate_hz: RATE, window: WINDOW, hop: HOP, mfcc: SPEC } });

const melOf = (hz: number) => 1127 * Math.log(1 + hz / 700);
const low = melOf(SPEC.low_hz);
const step = (melOf(SPEC.high_hz) - low) / (mels + 1);
/** Bins above the highest band have no part in anything. */
const USED = Math.ceil((SPEC.high_hz * fft) / RATE) + 1;
const filled = (rows: number, columns: number, at: (row: number, column: number) => number) =>
  Float32Array.from({ length: rows * columns }, (_, i) => at(Math.floor(i / columns), i % columns));

/** The transform as a convolution (windows folded into its kernels), magnitude, bands, logarithm, cosines. */
function mfccGraph(): Uint8Array {
  const hann = (n: number) => 0.5 - 0.5 * Math.cos((2 * Math.PI * n) / frame);
  const wave = (row: number, n: number) => {
    const angle = (2 * Math.PI * (row % USED) * n) / fft;
    return hann(n) * (row < USED ? Math.cos(angle) : Math.sin(angle));
  };
  const band = (bin: number, mel: number) =>
    bin === 0 ? 0 : Math.max(0, 1 - Math.abs(melOf((bin * RATE) / fft) - low - (mel + 1) * step) / step);
  const cosine = (mel: number, k: number) => Math.sqrt(2 / mels) * Math.cos((Math.PI / mels) * (mel + 0.5) * k);
  return encode(
    model(
      graph({
        inputs: [value('x', 'float32', ['batch', 1, WINDOW])],
        outputs: [value('y', 'float32', ['batch', FRAMES, bins])],
        tensors: [
          tensor('waves', [2 * USED, 1, frame], filled(2 * USED, frame, wave)),
          tensor('bands', [USED, mels], filled(USED, mels, band)),
          tensor('cosines', [mels, bins], filled(mels, bins, cosine)),
          tensor('offset', [1], Float32Array.of(SPEC.log_offset)),
          tensor('halves', [2], BigInt64Array.of(BigInt(USED), BigInt(USED))),
        ],
        nodes: [
          node('Conv', ['x', 'waves'], ['parts'], { strides: [stride], kernel_shape: [frame] }),
          node('Mul', ['parts', 'parts'], ['squares']),
          node('Split', ['squares', 'halves'], ['re', 'im'], { axis: 1 }),
          node('Add', ['re', 'im'], ['power']),
          node('Sqrt', ['power'], ['magnitude']),
          node('Transpose', ['magnitude'], ['rows'], { perm: [0, 2, 1] }),
          node('MatMul', ['rows', 'bands'], ['energies']),
          node('Add', ['energies', 'offset'], ['above']),
          node('Log', ['above'], ['logs']),
          node('MatMul', ['logs', 'cosines'], ['y']),
        ],
      }),
    ),
  );
}

const random = seededRandom(3);
/** With noise: where a band is empty, single precision makes its logarithm another. */
const sound = Float32Array.from(
  { length: WINDOW + (WINDOWS - 1) * HOP },
  (_, i) => 0.5 * Math.sin(i / 7 + i * i * 1e-6) + 0.1 * (random() - 0.5),
);
const bytes = new Uint8Array(sound.buffer);
/** As many windows at a time as the graph has in a run: both are disturbed alike by what else the machine does. */
const prepared = (windows: number) =>
  prepareFile(bytes.subarray(0, 4 * (WINDOW + (windows - 1) * HOP)), { inputs: [input] }, { encoding: 'f32le' });

/** Median over some ms of the time for one window. */
async function median(ms: number, run: () => Promise<unknown>, windows: number): Promise<number> {
  const taken: number[] = [];
  for (const end = performance.now() + ms; performance.now() < end; ) {
    const start = performance.now();
    await run();
    taken.push((performance.now() - start) / windows);
  }
  return taken.sort((a, b) => a - b)[Math.floor(taken.length / 2)] ?? 0;
}

process.once('message', async () => {
  const session = await InferenceSession.create(mfccGraph(), {
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
    graphOptimizationLevel: 'all',
    logSeverityLevel: 3,
    extra: { session: { intra_op: { allow_spinning: '0' } } },
  });
  const runGraph = (batch: number) => {
    const samples = new Float32Array(batch * WINDOW);
    for (let b = 0; b < batch; b++) samples.set(sound.subarray(b * HOP, b * HOP + WINDOW), b * WINDOW);
    const feeds = { x: new Tensor('float32', samples, [batch, 1, WINDOW]) };
    return () => session.run(feeds);
  };
  // Both must compute the same, or the comparison means nothing.
  const [unit] = await prepared(1);
  const given = new Float32Array(unit?.tensors[0]?.slice().buffer ?? new ArrayBuffer(0));
  const { y } = await runGraph(1)();
  const differs = given.reduce((most, x, i) => Math.max(most, Math.abs(x - Number(y?.data[i]))), 0);
  if (given.length !== FRAMES * bins || differs > 2e-3) throw new Error(`the two differ by ${differs}`);
  process.on('message', async ({ by, batch, ms }: MfccRequest) => {
    const run = by === 'graph' ? runGraph(batch) : () => prepared(batch);
    const took = await median(ms, run, batch);
    process.send?.({ ms: took } satisfies MfccReply);
  });
  process.send?.({ ms: 0 } satisfies MfccReply);
});
process.once('disconnect', () => process.exit());
