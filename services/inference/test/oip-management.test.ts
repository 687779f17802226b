import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventually, type Inference, startInference, temporaryFolder } from './harness/inference.ts';
import { pixelsGraph, writeModel } from './harness/models.ts';
import { createGrpcClient, type GrpcClient } from './harness/oip-client.ts';

// Metadata, config, statistics, and what of the repository can be asked: the same over both faces.

let inference: Inference;
let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let base: string;
let grpc: GrpcClient;

beforeAll(async () => {
  folder = await temporaryFolder();
  await writeModel(folder.path, { name: 'pixels', graph: pixelsGraph() });
  await writeModel(folder.path, { name: 'pixels', version: 2, graph: pixelsGraph() });
  await writeModel(folder.path, {
    name: 'fixed',
    graph: pixelsGraph(1),
    passport: (own) => ({ ...own, batch_max: 1 }),
  });
  await writeModel(folder.path, { name: 'broken', graph: Buffer.from('no graph') });
  inference = await startInference(folder.path);
  await inference.until((all) => all.length === 4 && all.every(({ state }) => state === 'ready' || state === 'failed'));
  const { http, grpc: at } = inference.service.addresses;
  base = `http://${http.host}:${http.port}`;
  grpc = createGrpcClient(`${at.host}:${at.port}`);
});
afterAll(async () => {
  grpc?.close();
  await inference?.[Symbol.asyncDispose]();
  await folder?.[Symbol.asyncDispose]();
});

async function http(path: string, body?: object) {
  const response = await fetch(
    `${base}${path}`,
    body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) },
  );
  const text = await response.text();
  return {
    status: response.status,
    retryAfter: response.headers.get('retry-after'),
    said: text === '' ? '' : JSON.parse(text),
  };
}

const infer = (model: string, rows: number) =>
  http(`/v2/models/${model}/infer`, {
    inputs: [{ name: 'x', datatype: 'FP32', shape: [rows, 1, 1, 4], data: Array(rows * 4).fill(1) }],
  });
const failure = (promise: Promise<unknown>) =>
  promise.then(
    () => 'no error',
    ({ code, details }: { code: number; details: string }) => ({ code, details }),
  );

describe('metadata', () => {
  it('names every version that is ready', async () => {
    const wanted = {
      name: 'pixels',
      versions: ['1', '2'],
      platform: 'onnx_onnxv1',
      inputs: [{ name: 'x', datatype: 'FP32', shape: [-1, 1, 1, 4] }],
      outputs: [{ name: 'y', datatype: 'FP32', shape: [-1, 4] }],
    };
    expect((await http('/v2/models/pixels')).said).toEqual(wanted);
    const { inputs, ...said } = await grpc.call('modelMetadata', { name: 'pixels', version: '1' });
    expect(said).toMatchObject({ name: 'pixels', versions: ['1', '2'], platform: 'onnx_onnxv1' });
    expect(inputs[0]).toMatchObject({ name: 'x', datatype: 'FP32', shape: [-1n, 1n, 1n, 4n] });
  });

  it('says of the service what it is, that it lives, and that not all of its models are ready', async () => {
    const said = await grpc.call('serverMetadata', {});
    expect(said).toMatchObject({ name: 'brink', extensions: expect.arrayContaining(['binary_tensor_data']) });
    expect((await grpc.call('serverLive', {})).live).toBe(true);
    expect((await grpc.call('serverReady', {})).ready).toBe(false);
    expect(await http('/v2/health/ready')).toMatchObject({
      status: 503,
      retryAfter: '1',
      said: { error: expect.stringMatching(/broken 1/) },
    });
  });

  it('says of a model whether it is ready', async () => {
    expect((await grpc.call('modelReady', { name: 'pixels' })).ready).toBe(true);
    expect((await grpc.call('modelReady', { name: 'broken' })).ready).toBe(false);
    expect((await grpc.call('modelReady', { name: 'nobody' })).ready).toBe(false);
    expect((await http('/v2/models/broken/ready')).status).toBe(503);
    expect((await http('/v2/models/nobody/ready')).status).toBe(404);
  });
});

describe('config', () => {
  it('is that of Triton: without the batch where there is one, whole where there is none', async () => {
    const { said } = await http('/v2/models/pixels/config');
    expect(said).toMatchObject({
      name: 'pixels',
      platform: 'onnxruntime_onnx',
      backend: 'onnxruntime',
      max_batch_size: 8,
      input: [{ name: 'x', data_type: 'TYPE_FP32', format: 'FORMAT_NCHW', dims: [1, 1, 4] }],
      output: [{ name: 'y', data_type: 'TYPE_FP32', dims: [4], label_filename: 'labels.txt' }],
      instance_group: [{ kind: 'KIND_CPU' }],
    });
    const fixed = (await http('/v2/models/fixed/versions/1/config')).said;
    expect(fixed).toMatchObject({ max_batch_size: 0, input: [{ dims: [1, 1, 1, 4] }] });
    expect(fixed).not.toHaveProperty('dynamic_batching');
    const { config } = await grpc.call('modelConfig', { name: 'pixels' });
    expect(config).toMatchObject({
      name: 'pixels',
      maxBatchSize: 8,
      input: [{ dataType: 11, format: 2, dims: [1n, 1n, 4n] }],
    });
  });
});

describe('statistics', () => {
  it('count units, runs and time, by model and by size of batch', async () => {
    const of = async () => (await http('/v2/models/pixels/versions/1/stats')).said.model_stats[0];
    const before = await of();
    await http('/v2/models/pixels/versions/1/infer', {
      inputs: [{ name: 'x', datatype: 'FP32', shape: [2, 1, 1, 4], data: Array(8).fill(1) }],
    });
    const after = await of();
    expect(after).toMatchObject({ name: 'pixels', version: '1', inference_count: before.inference_count + 2 });
    expect(after.execution_count).toBe(before.execution_count + 1);
    expect(after.inference_stats.success.count).toBe(before.inference_stats.success.count + 1);
    for (const key of [
      'queue',
      'compute_infer',
      'compute_input',
      'compute_output',
      'fail',
      'cache_hit',
      'cache_miss',
    ]) {
      expect(after.inference_stats[key]).toEqual({ count: expect.any(Number), ns: expect.any(Number) });
    }
    expect(after.inference_stats.compute_infer.ns).toBeGreaterThan(before.inference_stats.compute_infer.ns);
    expect(Math.abs(after.last_inference - Date.now())).toBeLessThan(60_000);
    expect(after.batch_stats.map((one: { batch_size: number }) => one.batch_size)).toContain(2);
    const { modelStats } = await grpc.call('modelStatistics', { name: 'pixels', version: '1' });
    expect(modelStats[0]).toMatchObject({ name: 'pixels', inferenceCount: BigInt(after.inference_count) });
    expect(modelStats[0]?.inferenceStats?.success?.count).toBe(BigInt(after.inference_stats.success.count));
  });

  it('are told of one version, one model, or all', async () => {
    const names = async (path: string) =>
      (await http(path)).said.model_stats.map((one: { name: string; version: string }) => `${one.name} ${one.version}`);
    expect(await names('/v2/models/stats')).toEqual(['fixed 1', 'pixels 1', 'pixels 2']);
    expect(await names('/v2/models/pixels/stats')).toEqual(['pixels 1', 'pixels 2']);
    expect((await http('/v2/models/nobody/stats')).status).toBe(404);
    expect((await grpc.call('modelStatistics', {})).modelStats).toHaveLength(3);
  });
});

describe('the repository', () => {
  it('lists what there is, with the reason of what cannot be', async () => {
    const { said } = await http('/v2/repository/index', {});
    expect(said).toContainEqual({ name: 'pixels', version: '2', state: 'READY', reason: '' });
    expect(said).toContainEqual({
      name: 'broken',
      version: '1',
      state: 'UNAVAILABLE',
      reason: expect.stringMatching(/E_MODEL_/),
    });
    const { said: ready } = await http('/v2/repository/index', { ready: true });
    expect(ready.map((one: { name: string }) => one.name)).not.toContain('broken');
    expect((await grpc.call('repositoryIndex', { ready: true })).models).toHaveLength(ready.length);
    expect((await http('/v2/repository/index', { ready: 'yes' })).status).toBe(400);
  });

  it('unloads and loads: over HTTP what gRPC unloaded', async () => {
    await grpc.call('repositoryModelUnload', { modelName: 'fixed' });
    const gone = await infer('fixed', 1);
    expect(gone).toMatchObject({ status: 503, retryAfter: expect.any(String) });
    expect((await grpc.call('modelReady', { name: 'fixed' })).ready).toBe(false);
    expect((await http('/v2/repository/index', {})).said).toContainEqual(
      expect.objectContaining({ name: 'fixed', state: 'UNAVAILABLE', reason: expect.stringMatching(/unload/) }),
    );
    expect(await http('/v2/repository/models/fixed/load', {})).toMatchObject({ status: 200, said: '' });
    expect((await infer('fixed', 1)).status).toBe(200);
    expect((await http('/v2/repository/models/fixed/unload', { parameters: { unload_dependents: true } })).status).toBe(
      200,
    );
    await grpc.call('repositoryModelLoad', { modelName: 'fixed' });
    expect((await infer('fixed', 1)).status).toBe(200);
  });

  it('says why a model cannot be loaded, and refuses files and configurations from outside', async () => {
    const { status, said } = await http('/v2/repository/models/broken/load', {});
    expect([status, said.error]).toEqual([expect.any(Number), expect.stringMatching(/^E_MODEL_/)]);
    expect(status).toBeGreaterThanOrEqual(400);
    expect((await http('/v2/repository/models/nobody/load', {})).status).toBe(404);
    expect((await http('/v2/repository/models/nobody/unload', {})).status).toBe(404);
    for (const parameters of [{ config: '{}' }, { 'file:1/model.onnx': 'AAAA' }]) {
      expect(await http('/v2/repository/models/pixels/load', { parameters })).toMatchObject({
        status: 501,
        said: { error: expect.stringMatching(/read-only to inference/) },
      });
    }
    const files = { 'file:1/model.onnx': { parameterChoice: { case: 'bytesParam', value: Buffer.from('x') } } };
    expect(await failure(grpc.call('repositoryModelLoad', { modelName: 'pixels', parameters: files }))).toEqual({
      code: 12,
      details: expect.stringMatching(/read-only/),
    });
  });

  it('knows nothing of a model whose folder is gone', async () => {
    await writeModel(folder.path, { name: 'short-lived', graph: pixelsGraph() });
    await eventually('loaded', async () => (await infer('short-lived', 1)).status === 200);
    await rm(join(folder.path, 'short-lived'), { recursive: true });
    await eventually('gone', async () => (await infer('short-lived', 1)).status === 404);
  });
});
