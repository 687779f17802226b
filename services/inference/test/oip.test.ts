import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Inference, startInference, temporaryFolder } from './harness/inference.ts';
import { type CaseResult, createGrpcClient, type GrpcClient, inferGrpc, inferHttp } from './harness/oip-client.ts';
import { writeOipModels } from './harness/oip-models.ts';
import { CASES, type Case, STATUS, WAYS, type Way } from './oip.cases.ts';

let inference: Inference;
let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let base: string;
let grpc: GrpcClient;

beforeAll(async () => {
  folder = await temporaryFolder();
  await writeOipModels(folder.path);
  inference = await startInference(folder.path, { configuration: { models: { loop: { run_ms_max: 300 } } } });
  await inference.until((all) => all.length > 0 && all.every(({ state }) => state === 'ready'));
  const { http, grpc: at } = inference.service.addresses;
  base = `http://${http.host}:${http.port}`;
  grpc = createGrpcClient(`${at.host}:${at.port}`);
});
afterAll(async () => {
  grpc?.close();
  await inference?.[Symbol.asyncDispose]();
  await folder?.[Symbol.asyncDispose]();
});

const ask = (way: Way, { request }: Case): Promise<CaseResult> =>
  way.startsWith('http')
    ? inferHttp(base, request, way === 'http-binary')
    : inferGrpc(grpc, request, way === 'grpc-raw');

/** Of 64 bits travels as a bigint where it travels as bytes. */
const plain = (data: readonly unknown[]) => data.map((one) => (typeof one === 'bigint' ? String(one) : one));
const wide = (datatype: string, data: readonly unknown[]) =>
  datatype === 'INT64' || datatype === 'UINT64' ? data.map(String) : plain(data);

function check(way: Way, { request, expect: wanted }: Case, result: CaseResult): void {
  if ('code' in wanted) {
    const [http, grpcStatus] = STATUS[wanted.code]!;
    const status = way.startsWith('http') ? http : grpcStatus;
    expect(result).toEqual({ status, text: expect.stringMatching(wanted.says) });
    expect((result as { text: string }).text).toMatch(new RegExp(`^${wanted.code}: `));
    return;
  }
  if (!('answer' in result)) throw new Error(`refused: ${result.status} ${result.text}`);
  const { answer } = result;
  expect([answer.model, answer.version, answer.id]).toEqual([request.model, '1', wanted.id]);
  const shown = answer.outputs.map((output) => ({ ...output, data: wide(output.datatype, output.data) }));
  expect(shown).toEqual(wanted.outputs.map((output) => ({ ...output, data: wide(output.datatype, output.data) })));
}

describe.each(WAYS)('Open Inference Protocol, %s', (way) => {
  const own = CASES.filter(({ ways = WAYS }) => ways.includes(way));
  it.each(own.filter(({ expect: wanted }) => 'outputs' in wanted).map((one) => [one.title, one] as const))(
    'answers %s',
    async (_title, one) => check(way, one, await ask(way, one)),
  );
  it.each(own.filter(({ expect: wanted }) => 'code' in wanted).map((one) => [one.title, one] as const))(
    'refuses %s',
    async (_title, one) => check(way, one, await ask(way, one)),
  );
});
