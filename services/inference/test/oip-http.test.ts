import { writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { encode, graph, model, node, value } from '@brink/onnx';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readConfig } from '../src/config.ts';
import { type Inference, pixels, startInference, temporaryFolder } from './harness/inference.ts';
import { loopGraph, nanGraph, pixelsGraph, WIDTH, writeModel } from './harness/models.ts';

/** y = x + x for int64 and bool beside it: what the native graph has, OIP takes. */
const wholeNumbers = () =>
  encode(
    model(
      graph({
        inputs: [value('x', 'float32', ['batch', 1, 1, WIDTH])],
        outputs: [value('y', 'float32', ['batch', WIDTH]), value('count', 'int64', [4])],
        nodes: [node('Flatten', ['x'], ['y'], { axis: 1 }), node('Shape', ['x'], ['count'])],
      }),
    ),
  );

let inference: Inference;
let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let passport: string;

beforeAll(async () => {
  folder = await temporaryFolder();
  passport = await writeModel(folder.path, { name: 'pixels', graph: pixelsGraph() });
  await writeModel(folder.path, { name: 'whole', graph: wholeNumbers() });
  await writeModel(folder.path, { name: 'nan', graph: nanGraph() });
  await writeModel(folder.path, { name: 'loop', graph: loopGraph() });
  inference = await startInference(folder.path, {
    env: { BRINK_HTTP_BODY_BYTES_MAX: '100000' },
    configuration: { models: { loop: { run_ms_max: 300 } } },
  });
  await inference.until((all) => all.length === 4 && all.every(({ state }) => state === 'ready'));
});
afterAll(async () => {
  await inference?.[Symbol.asyncDispose]();
  await folder?.[Symbol.asyncDispose]();
});

async function ask(path: string, body?: unknown, headers: Record<string, string> = {}) {
  const { host, port } = inference.service.addresses.http;
  const init =
    body === undefined
      ? { headers }
      : {
          method: 'POST',
          headers: { 'content-type': 'application/json', ...headers },
          body: typeof body === 'string' ? body : JSON.stringify(body),
        };
  const response = await fetch(`http://${host}:${port}${path}`, init);
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}

const infer = (over: object = {}, top: object = {}) => ({
  inputs: [{ name: 'x', shape: [1, 1, 1, 4], datatype: 'FP32', data: [1.5, 2, 3, 4], ...over }],
  ...top,
});

describe('Open Inference Protocol over HTTP', () => {
  it('says what it is, that it lives, that all models are ready', async () => {
    const extensions = [
      'classification',
      'model_repository',
      'model_repository(unload_dependents)',
      'schedule_policy',
      'model_configuration',
      'binary_tensor_data',
      'parameters',
      'statistics',
    ];
    expect(await ask('/v2')).toEqual({ status: 200, body: { name: 'brink', version: '0.1.0', extensions } });
    expect((await ask('/v2/health/live')).status).toBe(200);
    expect(await ask('/v2/health/ready')).toEqual({ status: 200, body: { ready: true } });
    expect(await ask('/v2/models/pixels/ready')).toEqual({ status: 200, body: { ready: true } });
    expect(await ask('/v2/models/pixels/versions/1/ready')).toEqual({ status: 200, body: { ready: true } });
  });

  it('shows the native graph, not the one that is prepared for pictures', async () => {
    expect(await ask('/v2/models/pixels')).toEqual({
      status: 200,
      body: {
        name: 'pixels',
        versions: ['1'],
        platform: 'onnx_onnxv1',
        inputs: [{ name: 'x', datatype: 'FP32', shape: [-1, 1, 1, 4] }],
        outputs: [{ name: 'y', datatype: 'FP32', shape: [-1, 4] }],
      },
    });
  });

  it('computes the native graph exactly, flat or nested, and echoes the id', async () => {
    expect(await ask('/v2/models/pixels/infer', infer({}, { id: 'a-1' }))).toEqual({
      status: 200,
      body: {
        model_name: 'pixels',
        model_version: '1',
        id: 'a-1',
        outputs: [{ name: 'y', datatype: 'FP32', shape: [1, 4], data: [1.5, 2, 3, 4] }],
      },
    });
    const nested = infer({ shape: [2, 1, 1, 4], data: [[[[1, 2, 3, 4]]], [[[5, 6, 7, 8]]]] });
    const { body } = await ask('/v2/models/pixels/versions/1/infer', nested);
    expect(body['outputs']).toEqual([{ name: 'y', datatype: 'FP32', shape: [2, 4], data: [1, 2, 3, 4, 5, 6, 7, 8] }]);
    expect(body).not.toHaveProperty('id');
  });

  it('gives int64 as numbers and only the outputs that are asked for', async () => {
    const all = await ask('/v2/models/whole/infer', infer());
    expect(all.body['outputs']).toEqual([
      { name: 'y', datatype: 'FP32', shape: [1, 4], data: [1.5, 2, 3, 4] },
      { name: 'count', datatype: 'INT64', shape: [4], data: [1, 1, 1, 4] },
    ]);
    const one = await ask('/v2/models/whole/infer', infer({}, { outputs: [{ name: 'count' }] }));
    expect((one.body['outputs'] as { name: string }[]).map(({ name }) => name)).toEqual(['count']);
  });

  it.each([
    ['an unknown model', '/v2/models/nobody/infer', infer(), 404, /E_MODEL_UNKNOWN/],
    ['an unknown version', '/v2/models/pixels/versions/7/infer', infer(), 404, /E_MODEL_UNKNOWN.*no version 7/],
    ['a version that is no number', '/v2/models/pixels/versions/latest/infer', infer(), 404, /E_MODEL_UNKNOWN/],
    ['another name', '/v2/models/pixels/infer', infer({ name: 'z' }), 400, /E_SHAPE.*"x" is missing/],
    ['another shape', '/v2/models/pixels/infer', infer({ shape: [1, 1, 4, 1] }), 400, /E_SHAPE.*expected \[-1,1,1,4\]/],
    ['too few elements', '/v2/models/pixels/infer', infer({ data: [1, 2] }), 400, /E_SHAPE.*2 elements.*needs 4/],
    ['too many elements', '/v2/models/pixels/infer', infer({ data: [1, 2, 3, 4, 5] }), 400, /E_SHAPE.*more elements/],
    [
      'nesting beyond the shape',
      '/v2/models/pixels/infer',
      infer({ data: [[[[[1, 2, 3, 4]]]]] }),
      400,
      /E_SHAPE.*nested/,
    ],
    [
      'another type',
      '/v2/models/pixels/infer',
      infer({ datatype: 'INT32', data: [1, 2, 3, 4] }),
      400,
      /E_SHAPE.*is INT32; expected FP32/,
    ],
    ['an unknown type', '/v2/models/pixels/infer', infer({ datatype: 'FLOAT' }), 400, /E_BAD_REQUEST.*"FLOAT"/],
    ['a type without JSON', '/v2/models/pixels/infer', infer({ datatype: 'FP16' }), 501, /E_UNSUPPORTED.*FP16/],
    ['text among numbers', '/v2/models/pixels/infer', infer({ data: [1, '2', 3, 4] }), 400, /E_BAD_REQUEST.*"2"/],
    ['null among numbers', '/v2/models/pixels/infer', infer({ data: [1, null, 3, 4] }), 400, /E_BAD_REQUEST.*null/],
    [
      'int64 beyond 2^53',
      '/v2/models/pixels/infer',
      infer({ datatype: 'INT64', data: [2 ** 53, 1, 1, 1] }),
      400,
      /E_BAD_REQUEST/,
    ],
    [
      'a number out of range',
      '/v2/models/pixels/infer',
      infer({ datatype: 'UINT8', data: [256, 1, 1, 1] }),
      400,
      /E_BAD_REQUEST.*UINT8/,
    ],
    ['a gigantic shape', '/v2/models/pixels/infer', infer({ shape: [2 ** 30, 2 ** 30] }), 400, /E_SHAPE/],
    ['a negative shape', '/v2/models/pixels/infer', infer({ shape: [-1, 1, 1, 4] }), 400, /E_BAD_REQUEST.*shape/],
    ['no inputs', '/v2/models/pixels/infer', { inputs: [] }, 400, /E_SHAPE.*"x" is missing/],
    ['no body', '/v2/models/pixels/infer', '', 400, /E_BAD_REQUEST/],
    ['no JSON', '/v2/models/pixels/infer', '{"inputs":', 400, /E_BAD_REQUEST/],
    ['a polluting key', '/v2/models/pixels/infer', '{"__proto__":{"x":1},"inputs":[]}', 400, /E_BAD_REQUEST/],
    [
      'an output that is not there',
      '/v2/models/pixels/infer',
      infer({}, { outputs: [{ name: 'q' }] }),
      400,
      /no output "q"/,
    ],
    ['NaN', '/v2/models/nan/infer', infer(), 500, /E_MODEL_OUTPUT.*NaN/],
    ['too many bytes', '/v2/models/pixels/infer', infer({ data: Array(60_000).fill(1) }), 413, /E_TOO_LARGE/],
  ])('refuses %s by its code', async (_name, path, body, status, pattern) => {
    const answer = await ask(path, body);
    expect([answer.status, answer.body['error']]).toEqual([status, expect.stringMatching(pattern)]);
    expect(Object.keys(answer.body)).toEqual(['error']);
  });

  it('refuses other media types and other addresses', async () => {
    expect((await ask('/v2/models/pixels/infer', 'x', { 'content-type': 'text/csv' })).status).toBe(415);
    expect((await ask('/v3')).status).toBe(404);
  });

  it('ends a run that hangs, with 504, and goes on', async () => {
    const hung = await ask('/v2/models/loop/infer', infer({ data: [255, 0, 0, 0] }));
    expect([hung.status, hung.body['error']]).toEqual([504, expect.stringMatching(/E_MODEL_TIMEOUT/)]);
    expect((await ask('/v2/models/loop/infer', infer({ data: [0, 0, 0, 0] }))).status).toBe(200);
  });

  it('lives through a client that sends half a request and goes', async () => {
    const { port } = inference.service.addresses.http;
    const socket = connect(port, '127.0.0.1');
    await new Promise((resolve) => socket.once('connect', resolve));
    const head =
      'POST /v2/models/pixels/infer HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{"inp';
    await new Promise((resolve) => socket.write(head, resolve));
    socket.destroy();
    expect((await ask('/v2/models/pixels/infer', infer())).status).toBe(200);
  });

  it('serves units over the link beside it', async () => {
    const [decided] = await inference.decide({ name: 'pixels', passport }, [pixels(0, 9, 0, 0)]);
    expect(decided?.result?.label).toBe('one');
  });
});

describe('tokens', () => {
  it('are asked for beyond loopback, before the service starts', () => {
    expect(() => readConfig({ BRINK_HTTP_HOST: '0.0.0.0' })).toThrow(/E_SETTING.*BRINK_HTTP_TOKEN_FILE/);
    expect(() => readConfig({ BRINK_GRPC_HOST: '0.0.0.0' })).toThrow(
      /E_SETTING.*BRINK_GRPC_HOST.*BRINK_HTTP_TOKEN_FILE/,
    );
    expect(readConfig({ BRINK_HTTP_HOST: '127.0.0.2' }).httpToken).toBeUndefined();
  });

  it('are compared whole; health stays open', async () => {
    await using models = await temporaryFolder();
    const file = join(models.path, 'token');
    await writeFile(file, 'secret-token\n');
    await using guarded = await startInference(models.path, { env: { BRINK_HTTP_TOKEN_FILE: file } });
    const { host, port } = guarded.service.addresses.http;
    const status = async (path: string, token?: string) =>
      (await fetch(`http://${host}:${port}${path}`, token === undefined ? {} : { headers: { authorization: token } }))
        .status;
    expect(await status('/v2')).toBe(401);
    expect(await status('/v2', 'Bearer secret')).toBe(401);
    expect(await status('/v2', 'Bearer secret-token')).toBe(200);
    expect(await status('/v2/health/live')).toBe(200);
  });
});
