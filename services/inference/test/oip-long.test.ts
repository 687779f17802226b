import { create, oip, toBinary } from '@brink/protocol';
import { createRegistry, silentLogger, systemClock } from '@brink/runtime';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createMetrics } from '../src/metrics.ts';
import { type Converter, createConverter } from '../src/oip/converter.ts';
import { readInferRequest } from '../src/oip/http/requests.ts';
import { type Inference, startInference, temporaryFolder } from './harness/inference.ts';
import { createGrpcClient } from './harness/oip-client.ts';
import { writeOipModels } from './harness/oip-models.ts';

// Long messages are read and written in a thread: nobody else waits for them.

const COUNT = 3_500_000;
/** 14 MB of numbers, which no model takes. */
const LONG = numbers(COUNT);
/** As JSON. */
function numbers(count: number): Uint8Array<ArrayBuffer> {
  const text = JSON.stringify({ inputs: [{ name: 'x', shape: [count], datatype: 'FP32', data: '@' }] });
  return new TextEncoder().encode(text.replace('"@"', `[${'1.5,'.repeat(count - 1)}1.5]`));
}
const LONG_GRPC = Buffer.from(
  toBinary(
    oip.ModelInferRequestSchema,
    create(oip.ModelInferRequestSchema, {
      modelName: 'pixels',
      inputs: [
        { name: 'x', datatype: 'INT64', shape: [3_000_000n], contents: { int64Contents: Array(3_000_000).fill(1n) } },
      ],
    }),
  ),
);

/** The longest time that this process' event loop did not turn while the work went on, and how long that took, in ms. */
async function stalled<T>(work: () => Promise<T>): Promise<{ stallMs: number; tookMs: number; result: T }> {
  let stallMs = 0;
  let last = performance.now();
  const startedAt = last;
  const timer = setInterval(() => {
    const now = performance.now();
    stallMs = Math.max(stallMs, now - last);
    last = now;
  }, 1);
  try {
    const result = await work();
    const now = performance.now();
    return { stallMs: Math.max(stallMs, now - last), tookMs: now - startedAt, result };
  } finally {
    clearInterval(timer);
  }
}

describe('a long message', () => {
  const stack = new AsyncDisposableStack();
  let inference: Inference;
  let base: string;

  beforeAll(async () => {
    const models = stack.use(await temporaryFolder());
    await writeOipModels(models.path);
    inference = stack.use(await startInference(models.path));
    await inference.until((all) => all.length > 0 && all.every(({ state }) => state === 'ready'));
    const { host, port } = inference.service.addresses.http;
    base = `http://${host}:${port}/v2/models`;
  });
  afterAll(() => stack.disposeAsync());

  const post = (model: string, body: string | Uint8Array<ArrayBuffer>) =>
    fetch(`${base}/${model}/infer`, { method: 'POST', body });
  const small = JSON.stringify({ inputs: [{ name: 'x', shape: [1, 1, 1, 4], datatype: 'FP32', data: [1, 2, 3, 4] }] });

  /** How many requests of a neighbour are answered until the long one is. */
  async function answersDuring<T>(work: () => Promise<T>) {
    let running = true;
    const long = work().finally(() => {
      running = false;
    });
    let answers = 0;
    while (running) {
      expect((await post('pixels', small)).status).toBe(200);
      answers += 1;
    }
    return { answers, result: await long };
  }

  it('of 14 MB of JSON is refused as a short one would be, and a neighbour is answered again and again meanwhile', async () => {
    const { answers, result } = await answersDuring(() => post('pixels', LONG));
    expect([result.status, await result.json()]).toEqual([
      400,
      { error: expect.stringMatching(/^E_SHAPE: .*expected \[-1,1,1,4\]/) },
    ]);
    expect(answers).toBeGreaterThan(10);
  });

  it('of gRPC: the same', async () => {
    const { host, port } = inference.service.addresses.grpc;
    const client = createGrpcClient(`${host}:${port}`);
    stack.defer(() => client.close());
    const call = () =>
      client.raw('/inference.GRPCInferenceService/ModelInfer', LONG_GRPC).catch((reason: unknown) => reason);
    const { answers, result } = await answersDuring(call);
    expect(result).toMatchObject({ code: 3, details: expect.stringMatching(/^E_SHAPE: .*INT64; expected FP32/) });
    expect(answers).toBeGreaterThan(10);
  });

  it('comes back as it went, numbers and bytes side by side, whichever thread reads and writes it', async () => {
    const count = 30_000;
    const whole = Array.from({ length: count }, (_, at) => at * 3);
    const bytes = Buffer.from(Float32Array.from(whole, (one) => one / 4).buffer);
    const json = Buffer.from(
      JSON.stringify({
        id: 'both',
        inputs: [
          { name: 'a', shape: [count], datatype: 'FP32', parameters: { binary_data_size: bytes.length } },
          { name: 'b', shape: [count], datatype: 'INT64', data: whole },
        ],
        outputs: [{ name: 'a.out', parameters: { binary_data: true } }, { name: 'b.out' }],
      }),
    );
    const response = await fetch(`${base}/echo-two/infer`, {
      method: 'POST',
      headers: { 'inference-header-content-length': String(json.length) },
      body: Buffer.concat([json, bytes]),
    });
    const body = Buffer.from(await response.arrayBuffer());
    const length = Number(response.headers.get('inference-header-content-length'));
    const said = JSON.parse(body.subarray(0, length).toString()) as { id: string; outputs: { data?: number[] }[] };
    expect(said.id).toBe('both');
    expect(said.outputs[1]?.data).toEqual(whole);
    expect(body.subarray(length).equals(bytes)).toBe(true);
  });

  it('to an address that takes short ones is refused unread', async () => {
    const address = base.replace('models', 'repository/index');
    const response = await fetch(address, { method: 'POST', body: LONG });
    expect([response.status, await response.json()]).toEqual([
      413,
      { error: expect.stringMatching(/E_TOO_LARGE.*takes at most 32768/) },
    ]);
  });
});

describe('the converter', () => {
  const metrics = createMetrics(createRegistry('inference'));
  const create = () => createConverter({ metrics, clock: systemClock, logger: silentLogger });
  const never = new AbortController().signal;
  const input = { json: numbers(1_000_000), binaryBytes: undefined };
  const convert = (converter: Converter, signal = never) =>
    converter.convert('httpRequest', input, { bytes: input.json.length, signal });
  const waiting = async () => (await metrics.conversions.get()).values[0]?.value;

  it('keeps the event loop turning: its longest stand is a small part of the work, and all of it where it is done here', async () => {
    const converter = create();
    const there = await stalled(() => convert(converter));
    await converter.stop();
    const here = await stalled(async () => readInferRequest(input));
    const bytesOf = ({ result }: typeof there) => Buffer.from(result.tensors[0]?.bytes as Uint8Array);
    expect(bytesOf(there).equals(bytesOf(here))).toBe(true);
    expect(there.stallMs / there.tookMs).toBeLessThan(0.5);
    // Negative control: what the thread is for.
    expect(here.stallMs / here.tookMs).toBeGreaterThan(0.9);
  });

  it('holds so many and no more, lets short ones go first, and forgets those whose caller is gone', async () => {
    const converter = create();
    const order: string[] = [];
    const gone = new AbortController();
    const tiny = { json: Buffer.from('{"inputs":[]}'), binaryBytes: undefined };
    const note = (what: string) => () => void order.push(what);
    const first = convert(converter).then(note('first'));
    const lost = expect(convert(converter, gone.signal)).rejects.toMatchObject({ code: 'E_CANCELLED' });
    const long = convert(converter).then(note('long'));
    const short = converter.convert('httpRequest', tiny, { bytes: 40_000, signal: never }).then(note('short'));
    gone.abort();
    const more = Array.from({ length: 253 }, () =>
      converter.convert('httpRequest', tiny, { bytes: 33_000, signal: never }),
    );
    await expect(converter.convert('httpRequest', tiny, { bytes: 33_000, signal: never })).rejects.toMatchObject({
      code: 'E_BUSY',
    });
    expect(await waiting()).toBe(257);
    await Promise.all([first, lost, long, short, ...more]);
    expect(order).toEqual(['first', 'short', 'long']);
    expect(await waiting()).toBe(0);
    await converter.stop();
  });

  it('says at its end to those who wait that it ends', async () => {
    const converter = create();
    const both = [convert(converter), convert(converter)].map((one) =>
      expect(one).rejects.toMatchObject({ code: 'E_UNAVAILABLE' }),
    );
    await converter.stop();
    await Promise.all(both);
    await expect(convert(converter)).rejects.toMatchObject({ code: 'E_UNAVAILABLE' });
  });
});
