import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Inference, startInference, temporaryFolder } from './harness/inference.ts';
import { type CaseRequest, type CaseResult, inferHttp } from './harness/oip-client.ts';
import { writeOipModels } from './harness/oip-models.ts';

// Requests of several clients share runs where they can, and nobody notices.

let inference: Inference;
let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let base: string;

beforeAll(async () => {
  folder = await temporaryFolder();
  await writeOipModels(folder.path);
  inference = await startInference(folder.path, {
    configuration: { models: { loop: { run_ms_max: 500, batch_wait_ms: 50 }, pixels: { batch_wait_ms: 50 } } },
  });
  await inference.until((all) => all.length > 0 && all.every(({ state }) => state === 'ready'));
  const { host, port } = inference.service.addresses.http;
  base = `http://${host}:${port}`;
});
afterAll(async () => {
  await inference?.[Symbol.asyncDispose]();
  await folder?.[Symbol.asyncDispose]();
});

const request = (model: string, data: number[]): CaseRequest => ({
  model,
  inputs: [{ name: 'x', datatype: 'FP32', shape: [data.length / 4, 1, 1, 4], data }],
});
const all = (requests: readonly CaseRequest[]): Promise<CaseResult[]> =>
  Promise.all(requests.map((one) => inferHttp(base, one, true)));
const sizes = async (model: string): Promise<number[]> => {
  const said = (await (await fetch(`${base}/v2/models/${model}/stats`)).json()) as {
    model_stats: { batch_stats: { batch_size: number }[] }[];
  };
  return said.model_stats[0]!.batch_stats.map(({ batch_size }) => batch_size);
};

describe('runs that are shared', () => {
  it('give each request its own rows, whatever came beside it', async () => {
    const requests = Array.from({ length: 60 }, (_, at) => {
      const rows = 1 + (at % 3);
      return request(
        'pixels',
        Array.from({ length: rows * 4 }, (__, element) => at * 100 + element),
      );
    });
    const answers = await all(requests);
    for (const [at, result] of answers.entries()) {
      if (!('answer' in result)) throw new Error(`request ${at} refused: ${result.text}`);
      expect(result.answer.outputs[0]?.data).toEqual(requests[at]?.inputs[0]?.data);
    }
    expect(Math.max(...(await sizes('pixels')))).toBeGreaterThan(3);
  });

  it('are not shared where an output does not lie row by row', async () => {
    const answers = await all(Array.from({ length: 20 }, () => request('shapes', [1, 2, 3, 4])));
    for (const result of answers) {
      expect(result).toMatchObject({ answer: { outputs: [{}, { name: 'count', data: [1n, 1n, 1n, 4n] }] } });
    }
    expect(await sizes('shapes')).toEqual([1]);
  });

  it('that hang cost only the request that hung them', async () => {
    const quick = [0, 0, 0, 0];
    const answers = await all([quick, quick, [255, 0, 0, 0], quick, quick].map((data) => request('loop', data)));
    const said = answers.map((result) =>
      'answer' in result ? 'answered' : `${result.status} ${result.text.split(':')[0]}`,
    );
    expect(said).toEqual(['answered', 'answered', '504 E_MODEL_TIMEOUT', 'answered', 'answered']);
  });
});
