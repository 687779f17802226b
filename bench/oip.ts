import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { join } from 'node:path';
import { encode, graph, model, node, tensor, value } from '@brink/onnx';
import { type InferenceProcess, startInferenceProcess } from '@brink/test/inference';
import type { Bench, BenchResult } from './bench.ts';
import { unitsPerSecond } from './clients.ts';
import { temporaryFolder } from './folder.ts';
import { seededRandom } from './random.ts';
import { measureRounds, type Series } from './rounds.ts';

const BINARY_BAR = 5;
const LINK_BAR = 3;
const SIDE = 128;
/** One picture, 128 × 128 × 3. */
const TENSOR_BYTES = SIDE * SIDE * 3;
const CLASSES = 10;
const BATCH_MAX = 16;
const CLIENTS = 16;
const UNITS_PER_DECIDE = 8;
const MEASURE_MS = 3000;
const NAME = 'bench-hop';

/** What the way in costs: a model that does next to nothing, the same 49 KB over every face, one request per unit. */
export const oip: Bench = {
  what: 'requests/s of 49 KB: OIP binary HTTP ÷ OIP JSON (bar 5), framed link ÷ OIP binary HTTP (bar 3)',
  async run(report): Promise<BenchResult> {
    using folder = temporaryFolder();
    writeHop(folder.path);
    await using service = await startInferenceProcess({ folder: folder.path, models: { [NAME]: { queue_max: 256 } } });
    const random = seededRandom(5);
    const pixels = Uint8Array.from({ length: TENSOR_BYTES }, () => random() * 256);
    using http = createHttpClients(service);
    const json = () => http.perSecond(jsonBody(pixels), MEASURE_MS);
    const binary = () => http.perSecond(binaryBody(pixels), MEASURE_MS);
    const link = () => linkPerSecond(service, pixels, 1);
    const coalesced = () => linkPerSecond(service, pixels, UNITS_PER_DECIDE);
    for (const warmUp of [json, binary, link, coalesced]) await warmUp();
    report('binary HTTP over JSON:');
    const overJson = await measureRounds(json, binary, report, { unit: 'requests/s', baseline: 'json' });
    report('link over binary HTTP:');
    const overBinary = await measureRounds(binary, link, report, { unit: 'requests/s', baseline: 'binary' });
    report(`link as a gateway uses it, up to ${UNITS_PER_DECIDE} units per Decide, over binary HTTP:`);
    const gateway = await measureRounds(binary, coalesced, report, { unit: 'requests/s', baseline: 'binary' });
    const variants: Record<string, Series & { bar?: number; pass?: boolean | null }> = {
      'binary ÷ json': overJson,
      'link ÷ binary': {
        ...overBinary,
        bar: LINK_BAR,
        pass: overBinary.figure === null ? null : overBinary.figure >= LINK_BAR,
      },
      'link of up to 8 units ÷ binary': gateway,
    };
    return { figure: overJson.figure, unit: 'ratio', bar: BINARY_BAR, variants, rounds: overJson.rounds };
  },
};

/** Ten pixels of the picture become its scores. */
function hopGraph(): Uint8Array {
  const ints = (name: string, ...of: number[]) => tensor(name, [of.length], BigInt64Array.from(of.map(BigInt)));
  return encode(
    model(
      graph({
        inputs: [value('x', 'uint8', ['batch', SIDE, SIDE, 3])],
        outputs: [value('logits', 'float32', ['batch', CLASSES])],
        tensors: [ints('from', 0, 0, 0), ints('to', 1, CLASSES, 1), ints('axes', 1, 2, 3), ints('flat', -1, CLASSES)],
        nodes: [
          node('Slice', ['x', 'from', 'to', 'axes'], ['row']),
          node('Reshape', ['row', 'flat'], ['bytes']),
          node('Cast', ['bytes'], ['logits'], { to: 1 }),
        ],
      }),
    ),
  );
}

function writeHop(folder: string): void {
  const home = join(folder, 'models', NAME, '1');
  mkdirSync(home, { recursive: true });
  const bytes = hopGraph();
  writeFileSync(join(home, 'model.onnx'), bytes);
  const passport = {
    passport: 1,
    name: NAME,
    version: 1,
    task: 'classification',
    files: [{ path: 'model.onnx', sha256: createHash('sha256').update(bytes).digest('hex') }],
    inputs: [{ tensor: 'x', image: { width: SIDE, height: SIDE, layout: 'nhwc' } }],
    batch_max: BATCH_MAX,
    output: { decoder: 'classification', tensors: { logits: 'logits' } },
  };
  writeFileSync(join(home, 'model.json'), JSON.stringify(passport));
}

interface Body {
  readonly bytes: Buffer;
  readonly headers: Readonly<Record<string, string>>;
}

const input = { name: 'x', datatype: 'UINT8', shape: [1, SIDE, SIDE, 3] };

function jsonBody(pixels: Uint8Array): Body {
  const bytes = Buffer.from(JSON.stringify({ inputs: [{ ...input, data: [...pixels] }] }));
  return { bytes, headers: { 'content-type': 'application/json' } };
}

function binaryBody(pixels: Uint8Array): Body {
  const inputs = [{ ...input, parameters: { binary_data_size: pixels.length } }];
  const head = Buffer.from(JSON.stringify({ inputs, parameters: { binary_data_output: true } }));
  return {
    bytes: Buffer.concat([head, pixels]),
    headers: { 'content-type': 'application/octet-stream', 'inference-header-content-length': String(head.length) },
  };
}

/** A closed loop, one request in flight per client, connections kept. */
function createHttpClients(service: InferenceProcess) {
  const agent = new Agent({ keepAlive: true, maxSockets: CLIENTS });
  const url = `${service.http}/v2/models/${NAME}/infer`;

  function ask({ bytes, headers }: Body): Promise<void> {
    return new Promise((resolve, reject) => {
      const sent = request(url, { method: 'POST', agent, headers: { ...headers, 'content-length': bytes.length } });
      sent.on('error', reject);
      sent.on('response', (response) => {
        response.resume();
        response.on('end', () => {
          if (response.statusCode === 200) resolve();
          else reject(new Error(`answered with ${response.statusCode}`));
        });
      });
      sent.end(bytes);
    });
  }

  return {
    async perSecond(body: Body, ms: number): Promise<number> {
      const start = performance.now();
      let done = 0;
      const client = async () => {
        while (performance.now() - start < ms) {
          await ask(body);
          done += 1;
        }
      };
      await Promise.all(Array.from({ length: CLIENTS }, client));
      return (done * 1000) / (performance.now() - start);
    },
    [Symbol.dispose]: () => agent.destroy(),
  };
}

function linkPerSecond(service: InferenceProcess, pixels: Uint8Array, unitsPerDecide: number): Promise<number> {
  const unit = [{ dtype: 'uint8' as const, shape: [SIDE, SIDE, 3], bytes: pixels }];
  return unitsPerSecond(service, { clients: CLIENTS, model: NAME, unitsPerDecide, units: [unit] }, MEASURE_MS);
}
