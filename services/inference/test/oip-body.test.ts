import { connect } from 'node:net';
import { deflateSync, gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Inference, startInference, temporaryFolder } from './harness/inference.ts';
import { readAnswer } from './harness/oip-client.ts';
import { writeOipModels } from './harness/oip-models.ts';
import { greyPng } from './harness/picture.ts';

// What is particular to HTTP: two parts in one body, raw bodies, methods, packed bodies, and lies about lengths.

let inference: Inference;
let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let base: string;

beforeAll(async () => {
  folder = await temporaryFolder();
  await writeOipModels(folder.path);
  inference = await startInference(folder.path, { env: { BRINK_HTTP_BODY_BYTES_MAX: '20000' } });
  await inference.until((all) => all.length > 0 && all.every(({ state }) => state === 'ready'));
  const { host, port } = inference.service.addresses.http;
  base = `http://${host}:${port}`;
});
afterAll(async () => {
  await inference?.[Symbol.asyncDispose]();
  await folder?.[Symbol.asyncDispose]();
});

const HEADER = 'inference-header-content-length';
const FOUR = Buffer.from(Float32Array.of(1.5, 2, 3, 4).buffer);

interface Said {
  readonly header?: string | undefined;
  readonly json?: object;
  readonly binary?: Uint8Array;
  readonly headers?: Record<string, string>;
  readonly pack?: (body: Buffer) => Buffer;
}

const input = (size: unknown, over: object = {}) => ({
  inputs: [{ name: 'x', shape: [1, 1, 1, 4], datatype: 'FP32', parameters: { binary_data_size: size }, ...over }],
});

function post(model: string, { json = input(16), binary = FOUR, headers = {}, pack = (body) => body, ...said }: Said) {
  const head = Buffer.from(JSON.stringify(json));
  const header = 'header' in said ? said.header : String(head.length);
  return fetch(`${base}/v2/models/${model}/infer`, {
    method: 'POST',
    headers: { ...(header === undefined ? {} : { [HEADER]: header }), ...headers },
    body: new Uint8Array(pack(Buffer.concat([head, binary]))),
  });
}

const raw = (model: string, body: Uint8Array) =>
  fetch(`${base}/v2/models/${model}/infer`, { method: 'POST', headers: { [HEADER]: '0' }, body: new Uint8Array(body) });

describe('two parts in one body', () => {
  it.each([
    ['a header that is no number', { header: 'many' }, /Inference-Header-Content-Length is "many"; expected the bytes/],
    ['a negative header', { header: '-1' }, /is "-1"/],
    ['a header beyond the body', { header: '5000' }, /is 5000; the whole body has \d+ bytes/],
    ['a header given twice', { header: '96, 96' }, /is "96, 96"/],
    ['a header that cuts the JSON', { header: '20' }, /JSON of 20 bytes cannot be read/],
    ['no header', { header: undefined }, /cannot be read/],
    ['a size beyond the body', { json: input(17) }, /binary_data_size of 17; behind the JSON.* are 16 bytes/],
    ['a negative size', { json: input(-16) }, /binary_data_size of input "x" is -16; expected a number of bytes/],
    ['a size that is no number', { json: input('16') }, /is "16"; expected/],
    ['half a byte', { json: input(1.5) }, /is 1.5; expected/],
    [
      'bytes that belong to nobody',
      { binary: Buffer.alloc(20) },
      /are 20 bytes; the binary_data_size of all inputs together is 16/,
    ],
    [
      'numbers and bytes for one input',
      { json: input(16, { data: [1, 2, 3, 4] }) },
      /both "data" and binary_data_size/,
    ],
    [
      'neither',
      { json: { inputs: [{ name: 'x', shape: [1, 1, 1, 4], datatype: 'FP32' }] }, binary: Buffer.alloc(0) },
      /no array in "data"/,
    ],
    [
      'a flag that is none',
      { json: { ...input(16), parameters: { binary_data_output: 1 } } },
      /binary_data_output is 1; expected true or false/,
    ],
  ] satisfies [string, Said, RegExp][])('refuses %s, saying what and where', async (_title, said, pattern) => {
    expect(await readAnswer(await post('pixels', said))).toEqual({
      status: 400,
      text: expect.stringMatching(new RegExp(`^E_BAD_REQUEST: .*${pattern.source}`)),
    });
  });

  it('refuses a size without a header', async () => {
    const body = JSON.stringify(input(16));
    const response = await fetch(`${base}/v2/models/pixels/infer`, { method: 'POST', body });
    expect(await readAnswer(response)).toEqual({
      status: 400,
      text: expect.stringMatching(/binary_data_size, and there is no header Inference-Header-Content-Length/),
    });
  });

  it('refuses shared memory', async () => {
    const json = {
      inputs: [{ name: 'x', shape: [1], datatype: 'FP32', parameters: { shared_memory_region: 'mine' } }],
    };
    expect((await post('pixels', { json, binary: Buffer.alloc(0) })).status).toBe(501);
  });

  it('answers JSON where no output is asked for as bytes, and what is said of one output before what is said of all', async () => {
    const said = await post('pixels', {});
    expect([said.headers.get('content-type'), said.headers.get(HEADER)]).toEqual(['application/json', null]);
    const one = { ...input(16), parameters: { binary_data_output: true } };
    const json = { ...one, outputs: [{ name: 'y', parameters: { binary_data: false } }] };
    expect((await post('pixels', { json })).headers.get(HEADER)).toBeNull();
    const bytes = await post('pixels', { json: one });
    expect(bytes.headers.get('content-type')).toBe('application/octet-stream');
    const whole = Number(bytes.headers.get('content-length'));
    expect(whole - Number(bytes.headers.get(HEADER))).toBe(16);
  });

  it('mixes numbers and bytes in one request', async () => {
    const json = {
      inputs: [
        { name: 'a', shape: [1], datatype: 'FP32', parameters: { binary_data_size: 4 } },
        { name: 'b', shape: [1], datatype: 'INT64', data: [5] },
      ],
      outputs: [{ name: 'a.out', parameters: { binary_data: true } }, { name: 'b.out' }],
    };
    const answer = await readAnswer(await post('echo-two', { json, binary: FOUR.subarray(0, 4) }));
    expect(answer).toMatchObject({ answer: { outputs: [{ data: [1.5] }, { data: [5] }] } });
  });

  it('refuses to round: whole numbers beyond 2^53 as JSON, with what to ask for instead', async () => {
    const big = Buffer.from(BigInt64Array.of(9007199254740993n).buffer);
    const json = {
      inputs: [
        { name: 'a', shape: [1], datatype: 'FP32', data: [0] },
        { name: 'b', shape: [1], datatype: 'INT64', parameters: { binary_data_size: 8 } },
      ],
    };
    expect(await readAnswer(await post('echo-two', { json, binary: big }))).toEqual({
      status: 501,
      text: expect.stringMatching(/E_UNSUPPORTED.*9007199254740993, which JSON would round.*"binary_data": true/),
    });
  });
});

describe('bodies at random', () => {
  const ROUNDS = process.env['BRINK_TEST_SIZE'] === 'long' ? 10_000 : 400;

  /** mulberry32, so that a failure can be repeated. */
  function seeded(seed: number): () => number {
    let state = seed;
    return () => {
      state = (state + 0x6d2b79f5) | 0;
      let mixed = Math.imul(state ^ (state >>> 15), state | 1);
      mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
      return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
    };
  }

  it(`${ROUNDS} mutations of a good request: each is answered or refused as the client's fault, and the good one still works`, async () => {
    const random = seeded(11);
    const head = Buffer.from(JSON.stringify({ id: 'good', ...input(16), parameters: { binary_data_output: true } }));
    const good = Buffer.concat([head, FOUR]);
    for (let round = 0; round < ROUNDS; round++) {
      let body = Buffer.from(good);
      for (let change = 0; change <= random() * 3; change++) body[Math.floor(random() * body.length)] = random() * 256;
      if (random() < 0.2) body = body.subarray(0, random() * body.length);
      const length = random() < 0.7 ? head.length : Math.floor(random() * 300) - 20;
      const response = await fetch(`${base}/v2/models/pixels/infer`, {
        method: 'POST',
        headers: { [HEADER]: String(length) },
        body: new Uint8Array(body),
      });
      const said = await response.arrayBuffer();
      // 500 is a NaN among the numbers where JSON is asked for; 501 a type that is not offered.
      const detail = `round ${round}: ${response.status} ${Buffer.from(said).toString('latin1').slice(0, 300)}`;
      expect([200, 400, 413, 415, 500, 501].includes(response.status), detail).toBe(true);
      if (response.status === 500) expect(detail).toMatch(/E_MODEL_OUTPUT/);
    }
    expect((await post('pixels', {})).status).toBe(200);
  }, 120_000);
});

describe('a raw body', () => {
  it('is the one input, batch 1, and is answered with bytes', async () => {
    const answer = await readAnswer(await raw('pixels', FOUR));
    expect(answer).toMatchObject({ answer: { outputs: [{ name: 'y', shape: [1, 4], data: [1.5, 2, 3, 4] }] } });
  });

  it('is a picture where the model takes one, and a string where it takes those', async () => {
    const picture = await readAnswer(await raw('pixels', greyPng(9, 8, 7, 6)));
    expect(picture).toMatchObject({ answer: { outputs: [{ shape: [1, 4], data: [9, 8, 7, 6] }] } });
    // Its other output is not of the graph that takes pictures, since the decoder does not read it.
    const one = await readAnswer(await raw('shapes', greyPng(9, 8, 7, 6)));
    expect(one).toMatchObject({ answer: { outputs: [{ name: 'y', data: [9, 8, 7, 6] }] } });
    const text = await readAnswer(await raw('echo-text', Buffer.from('hello')));
    expect(text).toMatchObject({ answer: { outputs: [{ shape: [1], data: ['hello'] }] } });
  });

  it('is refused where it cannot be one', async () => {
    expect(await readAnswer(await raw('echo-two', FOUR))).toEqual({
      status: 400,
      text: expect.stringMatching(/one input; this one has 2/),
    });
    expect(await readAnswer(await raw('pixels', FOUR.subarray(0, 15)))).toEqual({
      status: 400,
      text: expect.stringMatching(/15 bytes; input "x" \[-1,1,1,4\] needs 16/),
    });
  });
});

describe('packed bodies', () => {
  it.each([
    ['gzip', gzipSync],
    ['deflate', deflateSync],
  ] as const)('are taken as %s', async (encoding, pack) => {
    const response = await post('pixels', { headers: { 'content-encoding': encoding }, pack });
    expect(await readAnswer(response)).toMatchObject({ answer: { outputs: [{ data: [1.5, 2, 3, 4] }] } });
  });

  it('are refused where they are larger unpacked, where they are none, and in other ways of packing', async () => {
    const zeros = () => gzipSync(Buffer.alloc(10_000_000));
    expect((await post('pixels', { headers: { 'content-encoding': 'gzip' }, pack: zeros })).status).toBe(413);
    expect((await post('pixels', { headers: { 'content-encoding': 'gzip' } })).status).toBe(400);
    expect((await post('pixels', { headers: { 'content-encoding': 'br' } })).status).toBe(415);
  });
});

describe('HTTP itself', () => {
  it.each([
    ['GET', '/v2/models/pixels/infer', 'POST'],
    ['DELETE', '/v2/models/pixels', 'GET, HEAD'],
    ['GET', '/v2/repository/index', 'POST'],
    ['POST', '/v2/health/live', 'GET, HEAD'],
  ])('answers %s %s with 405 and what it takes', async (method, path, allow) => {
    const response = await fetch(`${base}${path}`, { method });
    expect([response.status, response.headers.get('allow')]).toEqual([405, allow]);
    expect(await response.json()).toEqual({ error: expect.stringMatching(/^E_METHOD/) });
  });

  it('takes what curl says a body is, and no body from a page of another site', async () => {
    const form = { 'content-type': 'application/x-www-form-urlencoded' };
    expect((await post('pixels', { headers: form })).status).toBe(200);
    expect((await post('pixels', { headers: { 'sec-fetch-site': 'cross-site' } })).status).toBe(403);
  });

  it('says a wrong request line and goes on', async () => {
    const socket = connect(inference.service.addresses.http.port, '127.0.0.1');
    const said: Buffer[] = [];
    socket.on('data', (chunk) => said.push(chunk));
    socket.end('NONSENSE\r\n\r\n');
    await new Promise((resolve) => socket.once('close', resolve));
    expect(Buffer.concat(said).toString()).toMatch(/^HTTP\/1.1 400 [\s\S]*\{"error":"E_BAD_REQUEST/);
    expect((await post('pixels', {})).status).toBe(200);
  });
});
