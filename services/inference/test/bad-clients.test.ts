import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { moved } from './harness/counters.ts';
import { eventually, type Inference, startInference, temporaryFolder } from './harness/inference.ts';
import { pixelsGraph, writeModel } from './harness/models.ts';
import { createNeighbour, type Neighbour } from './harness/neighbour.ts';

// Clients that lie, wait, or come in masses: each gets its answer or its end, and the gateway beside them notices nothing.

const long = process.env['BRINK_TEST_SIZE'] === 'long';
const CLIENTS = long ? 10_000 : 1000;
const OPTIONS = { timeout: long ? 120_000 : 60_000 };

describe('bad clients', () => {
  const stack = new AsyncDisposableStack();
  let inference: Inference;
  let neighbour: Neighbour;

  beforeAll(async () => {
    const models = stack.use(await temporaryFolder());
    const passport = await writeModel(models.path, { name: 'good', graph: pixelsGraph() });
    inference = stack.use(await startInference(models.path, { env: { BRINK_RUN_SLOTS: '2' } }));
    await inference.until(([first]) => first?.state === 'ready');
    neighbour = createNeighbour(inference, { name: 'good', passport });
    stack.defer(() => neighbour.stop());
  });
  afterAll(() => stack.disposeAsync());

  const http = () => inference.service.addresses.http;

  /** Bytes as they are, over a connection of its own. */
  async function dial(): Promise<Socket> {
    const socket = connect(http().port, http().host);
    stack.defer(() => void socket.destroy());
    socket.on('error', () => {});
    await once(socket, 'connect');
    return socket;
  }

  /** Everything that comes back until the end of the connection, or until `enough`. */
  function heard(socket: Socket, enough: (text: string) => boolean): Promise<string> {
    return new Promise((resolve) => {
      let text = '';
      socket.on('data', (chunk) => {
        text += chunk.toString('latin1');
        if (enough(text)) resolve(text);
      });
      socket.on('error', () => {});
      socket.on('close', () => resolve(text));
    });
  }

  const body = (data: unknown[] = [9, 0, 0, 0]) =>
    JSON.stringify({ inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 1, 1, 4], data }] });

  async function infer(bytes: string | Uint8Array<ArrayBuffer>, headers: Record<string, string> = {}) {
    const response = await fetch(`http://${http().host}:${http().port}/v2/models/good/infer`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: bytes,
    });
    return { status: response.status, text: await response.text() };
  }

  const head = 'POST /v2/models/good/infer HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n';
  const halves: Record<string, string> = {
    'half a request line': 'POST /v2/mod',
    'half its headers': head,
    'half its body': `${head}content-length: 5000\r\n\r\n${body()}`,
    'a chunk that never ends': `${head}transfer-encoding: chunked\r\n\r\nffff\r\n{"inputs"`,
  };
  it.each(Object.entries(halves))('%s, and then nothing: others are answered meanwhile', async (_, text) => {
    const waiting = await Promise.all(Array.from({ length: 20 }, dial));
    await neighbour.during(async () => {
      for (const socket of waiting) socket.write(text);
      for (let i = 0; i < 10; i++) expect((await infer(body())).status).toBe(200);
    });
  });

  const binary = { 'content-type': 'application/octet-stream' };
  /** A request with one binary tensor. @param lie what is said of its lengths */
  function binaryRequest(lie: { header?: string; bytes?: unknown } = {}): {
    bytes: Buffer;
    headers: Record<string, string>;
  } {
    const json = Buffer.from(
      JSON.stringify({
        inputs: [
          { name: 'x', datatype: 'FP32', shape: [1, 1, 1, 4], parameters: { binary_data_size: lie.bytes ?? 16 } },
        ],
      }),
    );
    const bytes = Buffer.concat([json, Buffer.from(Float32Array.of(9, 0, 0, 0).buffer)]);
    return { bytes, headers: { ...binary, 'inference-header-content-length': lie.header ?? String(json.length) } };
  }

  it('what they lie about is answered where they do not', async () => {
    const { bytes, headers } = binaryRequest();
    const answer = await infer(new Uint8Array(bytes), headers);
    expect(answer.status, answer.text).toBe(200);
  });

  const lies: Record<string, Parameters<typeof binaryRequest>[0]> = {
    'a header longer than the body': { header: '100000' },
    'a header of nothing': { header: '0' },
    'a header that ends in the middle': { header: '20' },
    'a negative header': { header: '-1' },
    'a header of 2^53': { header: '9007199254740993' },
    'a header of words': { header: 'all of it' },
    'a header in another base': { header: '0x10' },
    'a tensor longer than the body': { bytes: 1_000_000 },
    'a tensor shorter than its shape': { bytes: 12 },
    'a negative tensor': { bytes: -16 },
    'half a byte': { bytes: 16.5 },
    'a tensor of 2^53': { bytes: 2 ** 53 },
    'a size that is a word': { bytes: '16' },
  };
  it.each(Object.entries(lies))('%s: 400 at once, nobody waits', async (_, lie) => {
    const before = await inference.metrics();
    const { bytes, headers } = binaryRequest(lie);
    const answer = await neighbour.during(() => infer(new Uint8Array(bytes), headers));
    expect([400, 422], answer.text).toContain(answer.status);
    expect(JSON.parse(answer.text)).toEqual({ error: expect.stringMatching(/^E_[A-Z_]+: ./) });
    expect(moved(before, await inference.metrics(), `status="${answer.status}"`)).not.toEqual([]);
  });

  const wrong: Record<string, [unknown, number[]]> = {
    'values too few': [
      [1, 2, 3],
      [1, 1, 1, 4],
    ],
    'values too many': [
      [1, 2, 3, 4, 5],
      [1, 1, 1, 4],
    ],
    'another shape': [
      [1, 2, 3, 4],
      [1, 4, 1, 1],
    ],
    'a negative size': [
      [1, 2, 3, 4],
      [-1, 1, 1, 4],
    ],
    'sizes whose product is beyond 2^53': [[1], [2 ** 30, 2 ** 30, 1, 4]],
    'text for numbers': [
      ['a', 'b', 'c', 'd'],
      [1, 1, 1, 4],
    ],
    nulls: [
      [null, 1, 2, 3],
      [1, 1, 1, 4],
    ],
    'depth for width': [JSON.parse(`${'['.repeat(500)}1${']'.repeat(500)}`), [1, 1, 1, 4]],
    'an object for a number': [
      [{ value: 1 }, 1, 2, 3],
      [1, 1, 1, 4],
    ],
  };
  it.each(Object.entries(wrong))('%s in JSON: refused with a code', async (_, [data, shape]) => {
    const asked = JSON.stringify({ inputs: [{ name: 'x', datatype: 'FP32', shape, data }] });
    const answer = await neighbour.during(() => infer(asked));
    expect([400, 422], answer.text).toContain(answer.status);
    expect(JSON.parse(answer.text)).toEqual({ error: expect.stringMatching(/^E_[A-Z_]+: ./) });
  });

  const deep = (open: string, close: string) => `${open.repeat(300_000)}1${close.repeat(300_000)}`;
  const floods: Record<string, string> = {
    'data nested 300,000 deep': body().replace('[9,0,0,0]', deep('[', ']')),
    'an object nested 300,000 deep': body().replace('[9,0,0,0]', `[${deep('{"a":', '}')},0,0,0]`),
    '100,000 inputs': `{"inputs":[${'{"name":"a","shape":[1],"datatype":"FP32","data":[1]},'.repeat(99_999)}{}]}`,
    '100,000 sizes': body().replace('[1,1,1,4]', `[${'1,'.repeat(99_999)}4]`),
    '100,000 parameters': body().replace(
      '{',
      `{"parameters":{${Array.from({ length: 100_000 }, (_, i) => `"p${i}":1`).join()}},`,
    ),
  };
  it.each(Object.entries(floods))('%s: refused with a code, others are answered meanwhile', async (_, asked) => {
    const answer = await neighbour.during(() => infer(asked));
    expect([400, 422], answer.text.slice(0, 200)).toContain(answer.status);
    expect(answer.text.length).toBeLessThan(1000);
    expect(JSON.parse(answer.text)).toEqual({ error: expect.stringMatching(/^E_[A-Z_]+: ./) });
  });

  it('half a frame on the link, and then nothing: other links go on', async () => {
    const { link } = inference.service.addresses;
    const socket = connect('path' in link ? { path: link.path } : link);
    stack.defer(() => void socket.destroy());
    await once(socket, 'connect');
    await neighbour.during(async () => {
      // A hello of 64 KiB, of which 20 bytes come.
      const frame = Buffer.alloc(20);
      frame.writeUInt32LE(65_536, 0);
      frame[4] = 1;
      frame.writeUInt16LE(0xffff, 6);
      socket.write(frame);
    });
    // It is told to go when its time for a hello is over.
    const gone = heard(socket, () => false);
    await neighbour.during(async () => expect((await gone).length).toBeGreaterThan(0));
  });

  it('a frame of the link that lies about its length ends that link alone, and is counted', async () => {
    const before = await inference.metrics();
    const { link } = inference.service.addresses;
    const socket = connect('path' in link ? { path: link.path } : link);
    stack.defer(() => void socket.destroy());
    await once(socket, 'connect');
    const frame = Buffer.alloc(16);
    frame.writeUInt32LE(0xffff_fff0, 0);
    frame[4] = 2;
    const gone = heard(socket, () => false);
    await neighbour.during(async () => {
      socket.write(frame);
      await gone;
    });
    expect(moved(before, await inference.metrics(), 'brink_link_refused_total', '"E_LINK_PROTOCOL"')).not.toEqual([]);
  });

  /** A client that has connected and says nothing yet. `answer`: all that it hears; '' where it was turned away. */
  async function client(): Promise<{ socket: Socket; answer: Promise<string> }> {
    const socket = connect(http().port, http().host);
    stack.defer(() => void socket.destroy());
    const answer = heard(socket, (text) => text.includes('\r\n\r\n') && /"outputs"|"error"/.test(text));
    await new Promise((resolve) => socket.once('connect', resolve).once('error', resolve));
    return { socket, answer };
  }

  it(
    `${CLIENTS} clients at once: each is answered, told to come back, or turned away at the door`,
    OPTIONS,
    async () => {
      const before = await inference.metrics();
      const statuses = new Map<number, number>();
      const asked = body();
      await neighbour.during(async () => {
        const clients = await Promise.all(Array.from({ length: CLIENTS }, client));
        const done = clients.map(async ({ socket, answer }) => {
          socket.write(`${head}content-length: ${asked.length}\r\n\r\n${asked}`);
          const text = await answer;
          const status = Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1] ?? 0);
          statuses.set(status, (statuses.get(status) ?? 0) + 1);
          if (status === 503) expect(text.toLowerCase()).toContain('retry-after:');
          socket.destroy();
        });
        await Promise.all(done);
      });
      const said = JSON.stringify([...statuses]);
      expect(
        [...statuses.values()].reduce((all, one) => all + one, 0),
        said,
      ).toBe(CLIENTS);
      expect(
        [...statuses.keys()].filter((status) => ![0, 200, 503].includes(status)),
        said,
      ).toEqual([]);
      expect(statuses.get(200) ?? 0, said).toBeGreaterThan(0);
      if (!long) expect(statuses.has(0), said).toBe(false);
      expect(moved(before, await inference.metrics(), 'brink_inference_http_requests_total')).not.toEqual([]);
      await eventually('an answer afterwards', async () => (await infer(asked)).status === 200);
    },
  );
});
