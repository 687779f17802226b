import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { create, oip, toBinary } from '@brink/protocol';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Inference, startInference, temporaryFolder } from './harness/inference.ts';
import { type CaseRequest, createGrpcClient, type GrpcClient, grpcAnswer, grpcRequest } from './harness/oip-client.ts';
import { writeOipModels } from './harness/oip-models.ts';

// What is particular to gRPC: streams, deadlines, metadata, sizes, and what is not offered.

let inference: Inference;
let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let address: string;
let grpc: GrpcClient;

beforeAll(async () => {
  folder = await temporaryFolder();
  await writeOipModels(folder.path);
  inference = await startInference(folder.path, {
    env: { BRINK_HTTP_BODY_BYTES_MAX: '100000' },
    configuration: { models: { loop: { run_ms_max: 3000 } } },
  });
  await inference.until((all) => all.length > 0 && all.every(({ state }) => state === 'ready'));
  const { host, port } = inference.service.addresses.grpc;
  address = `${host}:${port}`;
  grpc = createGrpcClient(address);
});
afterAll(async () => {
  grpc?.close();
  await inference?.[Symbol.asyncDispose]();
  await folder?.[Symbol.asyncDispose]();
});

const pixels = (data: number[], over: Partial<CaseRequest> = {}): CaseRequest => ({
  model: 'pixels',
  inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 1, 1, 4], data }],
  ...over,
});
const failure = (promise: Promise<unknown>) =>
  promise.then(
    () => 'no error',
    ({ code, details }: { code: number; details: string }) => ({ code, details }),
  );

describe('a stream', () => {
  /** Sends all, then ends. @returns what came, in the order in which it came */
  function talk(requests: readonly oip.ModelInferRequest[]): Promise<oip.ModelStreamInferResponse[]> {
    const stream = grpc.stream();
    const came: oip.ModelStreamInferResponse[] = [];
    return new Promise((resolve, reject) => {
      stream.on('data', (one: oip.ModelStreamInferResponse) => came.push(one));
      stream.on('end', () => resolve(came));
      stream.on('error', reject);
      for (const request of requests) stream.write(request);
      stream.end();
    });
  }

  it('answers every request in its order', async () => {
    const requests = Array.from({ length: 100 }, (_, at) => grpcRequest(pixels([at, 0, 0, 0], { id: `r${at}` }), true));
    const came = await talk(requests);
    expect(came.map(({ inferResponse }) => inferResponse?.id)).toEqual(requests.map(({ id }) => id));
    expect(came.map(({ inferResponse }) => grpcAnswer(inferResponse!).outputs[0]?.data[0])).toEqual(
      requests.map((_, at) => at),
    );
  });

  it('says what is wrong with one request, and goes on', async () => {
    const wrong = grpcRequest(pixels([1, 2], { id: 'wrong' }), true);
    const [first, second] = await talk([wrong, grpcRequest(pixels([1, 2, 3, 4], { id: 'right' }), true)]);
    expect(first).toMatchObject({
      errorMessage: expect.stringMatching(/^E_SHAPE: .*8 bytes/),
      inferResponse: { id: 'wrong' },
    });
    expect(second).toMatchObject({ errorMessage: '', inferResponse: { id: 'right' } });
  });

  it('may be left in the middle', async () => {
    const stream = grpc.stream();
    const ended = new Promise((resolve) => stream.on('error', resolve));
    stream.write(grpcRequest(pixels([1, 2, 3, 4]), true));
    stream.cancel();
    expect(await ended).toMatchObject({ code: 1 });
    expect((await grpc.call('modelInfer', grpcRequest(pixels([1, 2, 3, 4]), true))).outputs).toHaveLength(1);
  });
});

describe('a call', () => {
  it('ends at its deadline, and what waits behind it is computed', async () => {
    const hang = grpcRequest({ ...pixels([255, 0, 0, 0]), model: 'loop' }, true);
    const slow = failure(grpc.call('modelInfer', hang, { timeoutMs: 300 }));
    expect(await slow).toMatchObject({ code: 4 });
    const waiting = grpcRequest({ ...pixels([0, 0, 0, 0]), model: 'loop' }, true);
    expect(await failure(grpc.call('modelInfer', waiting, { timeoutMs: 20 }))).toMatchObject({ code: 4 });
    expect((await grpc.call('modelInfer', waiting, { timeoutMs: 15_000 })).outputs).toHaveLength(1);
  });

  it('has its tensors raw or not, never both', async () => {
    const both = grpcRequest(pixels([1, 2, 3, 4]), false);
    both.rawInputContents = [Buffer.alloc(16)];
    expect(await failure(grpc.call('modelInfer', both))).toMatchObject({
      code: 3,
      details: expect.stringMatching(/contents beside raw/),
    });
    const fewer = grpcRequest(pixels([1, 2, 3, 4]), true);
    fewer.rawInputContents = [Buffer.alloc(16), Buffer.alloc(16)];
    expect(await failure(grpc.call('modelInfer', fewer))).toMatchObject({
      code: 3,
      details: expect.stringMatching(/2 raw_input_contents for 1 inputs/),
    });
    const foreign = grpcRequest(pixels([1, 2, 3, 4]), false);
    foreign.inputs[0]!.contents = create(oip.InferTensorContentsSchema, { intContents: [1, 2, 3, 4] });
    expect(await failure(grpc.call('modelInfer', foreign))).toMatchObject({
      code: 3,
      details: expect.stringMatching(/has int_contents; expected fp32_contents/),
    });
    const negative = grpcRequest(pixels([1, 2, 3, 4]), true);
    negative.inputs[0]!.shape = [-1n, 1n, 1n, 4n];
    expect(await failure(grpc.call('modelInfer', negative))).toMatchObject({
      code: 3,
      details: expect.stringMatching(/sizes of 0 or more/),
    });
  });

  it('may be as long as a body of HTTP and no longer', async () => {
    const long = grpcRequest(pixels(Array(60_000).fill(1)), true);
    expect(await failure(grpc.call('modelInfer', long))).toMatchObject({ code: 8 });
  });

  it('is not offered for shared memory, trace and log settings', async () => {
    for (const name of ['SystemSharedMemoryRegister', 'CudaSharedMemoryStatus', 'TraceSetting', 'LogSettings']) {
      const path = `/inference.GRPCInferenceService/${name}`;
      expect(await failure(grpc.raw(path, Buffer.alloc(0)))).toMatchObject({ code: 12 });
    }
  });

  it('that is no message of the protocol is refused, and the service goes on', async () => {
    const path = '/inference.GRPCInferenceService/ModelInfer';
    expect(await failure(grpc.raw(path, Buffer.from('ffffffffffff', 'hex')))).toMatchObject({
      code: 3,
      details: expect.stringMatching(/^E_BAD_REQUEST: no message of the protocol/),
    });
    const good = Buffer.from(toBinary(oip.ModelInferRequestSchema, grpcRequest(pixels([1, 2, 3, 4]), true)));
    expect((await grpc.raw(path, good)).length).toBeGreaterThan(16);
  });

  it('says when to come back where the model is not ready', async () => {
    await grpc.call('repositoryModelUnload', { modelName: 'echo-half' });
    const reason = await grpc.call('modelConfig', { name: 'echo-half' }).catch((error: unknown) => error);
    expect(reason).toMatchObject({ code: 14 });
    expect((reason as { metadata: { get(key: string): string[] } }).metadata.get('retry-after')).toEqual([
      expect.any(String),
    ]);
  });
});

describe('a token', () => {
  it('is asked for in the metadata; liveness and readiness stay open', async () => {
    await using models = await temporaryFolder();
    const file = join(models.path, 'token');
    await writeFile(file, 'secret-token\n');
    await using guarded = await startInference(models.path, { env: { BRINK_HTTP_TOKEN_FILE: file } });
    const { host, port } = guarded.service.addresses.grpc;
    const status = async (token?: string) => {
      const client = createGrpcClient(`${host}:${port}`, token);
      try {
        expect((await client.call('serverLive', {})).live).toBe(true);
        expect((await client.call('serverReady', {})).ready).toBe(true);
        return await failure(client.call('serverMetadata', {}));
      } finally {
        client.close();
      }
    };
    expect(await status()).toEqual({ code: 16, details: expect.stringMatching(/E_UNAUTHORISED.*Bearer/) });
    expect(await status('Bearer secret')).toMatchObject({ code: 16 });
    expect(await status('Bearer secret-token')).toBe('no error');
  });
});
