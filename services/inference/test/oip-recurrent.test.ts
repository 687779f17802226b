import { existsSync } from 'node:fs';
import { cp, mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { startInference, temporaryFolder } from './harness/inference.ts';
import { type CaseResult, type CaseTensor, createGrpcClient, inferGrpc, inferHttp } from './harness/oip-client.ts';

// A recurrent model by value: what comes out as state goes in again with the next request. The folder holds model.onnx alone.

const SILERO = fileURLToPath(new URL('../../../../shared/models/silero-vad', import.meta.url));
const WINDOW = 512;
const CONTEXT = 64;
/** The whole recording is in the long tests, and over the link in other-models.test.ts. */
const CHUNKS = process.env['BRINK_TEST_SIZE'] === 'long' ? 1875 : 100;

/** 16 bit, mono, behind a header of 44 bytes. */
async function samplesOf(file: string): Promise<Float32Array> {
  const bytes = (await readFile(file)).subarray(44);
  return Float32Array.from({ length: bytes.length / 2 }, (_, at) => bytes.readInt16LE(at * 2) / 32768);
}

describe.skipIf(!existsSync(SILERO))('silero-vad (skipped where ../shared/models is absent)', () => {
  it.each(['http', 'grpc'] as const)('finds speech over %s, its state travelling with each request', async (face) => {
    await using folder = await temporaryFolder();
    await mkdir(join(folder.path, 'silero/1'), { recursive: true });
    await cp(join(SILERO, 'silero_vad.onnx'), join(folder.path, 'silero/1/model.onnx'));
    await using inference = await startInference(folder.path);
    await inference.until((all) => all.length > 0 && all.every(({ state }) => state === 'ready'));
    const { http, grpc } = inference.service.addresses;
    const client = createGrpcClient(`${grpc.host}:${grpc.port}`);
    const infer = (inputs: CaseTensor[]): Promise<CaseResult> =>
      face === 'grpc'
        ? inferGrpc(client, { model: 'silero', inputs }, true)
        : inferHttp(`http://${http.host}:${http.port}`, { model: 'silero', inputs }, true);

    const samples = await samplesOf(join(SILERO, 'test.wav'));
    let state: readonly unknown[] = Array(256).fill(0);
    const speech: number[] = [];
    for (let chunk = 0; chunk < CHUNKS; chunk++) {
      const window = new Float32Array(CONTEXT + WINDOW);
      const from = chunk * WINDOW - CONTEXT;
      window.set(samples.subarray(Math.max(0, from), from + CONTEXT + WINDOW), Math.max(0, -from));
      const result = await infer([
        { name: 'input', datatype: 'FP32', shape: [1, CONTEXT + WINDOW], data: [...window] },
        { name: 'state', datatype: 'FP32', shape: [2, 1, 128], data: state as number[] },
        { name: 'sr', datatype: 'INT64', shape: [], data: [16000] },
      ]);
      if (!('answer' in result)) throw new Error(`refused: ${result.text}`);
      const [output, next] = ['output', 'stateN'].map((name) => result.answer.outputs.find((one) => one.name === name));
      speech.push(output?.data[0] as number);
      state = next?.data ?? [];
    }
    client.close();
    // SOURCE.md beside the model.
    for (const [at, wanted] of [0.208, 0.818, 0.891, 0.996, 0.999].entries()) expect(speech[at]).toBeCloseTo(wanted, 3);
    if (CHUNKS === 1875) expect(speech.filter((one) => one > 0.5).length / CHUNKS).toBeCloseTo(0.7744, 3);
  });
});
