import { connect as connectHttp2 } from 'node:http2';
import { connect, type Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import {
  createChildMetrics,
  createLinkMetrics,
  createRegistry,
  silentLogger,
  startAll,
  stopAll,
  systemClock,
} from '@brink/runtime';
import { describe, expect, it } from 'vitest';
import { createMetrics } from '../src/metrics.ts';
import { createDerivedGraphs } from '../src/models/derived.ts';
import { createRepository } from '../src/models/repository.ts';
import { createOipEngine } from '../src/oip/engine.ts';
import { createOipGrpc, type OipGrpcOptions } from '../src/oip/grpc/server.ts';
import { createOipHttp, type OipHttpOptions } from '../src/oip/http/server.ts';
import { createPictureDecoder } from '../src/oip/picture-decoder.ts';
import { createScheduler } from '../src/scheduler/scheduler.ts';
import { startInference, temporaryFolder } from './harness/inference.ts';
import { pixelsGraph, writeModel } from './harness/models.ts';
import { createGrpcClient } from './harness/oip-client.ts';

// Many clients, slow clients, and what a picture can do to the process that decodes it.

const LONG = process.env['BRINK_TEST_SIZE'] === 'long';
const FOUR = Buffer.from(Float32Array.of(1.5, 2, 3, 4).buffer);
const HEAD = `POST /v2/models/pixels/infer HTTP/1.1\r\nHost: x\r\nInference-Header-Content-Length: 0\r\nContent-Length: ${FOUR.length}\r\n`;

/** Everything that comes until the other side closes; '' where it closed without a word. */
function heard(socket: Socket): Promise<string> {
  const chunks: Buffer[] = [];
  socket.on('data', (chunk) => chunks.push(chunk));
  socket.on('error', () => {});
  return new Promise((resolve) => socket.once('close', () => resolve(Buffer.concat(chunks).toString('latin1'))));
}

async function opened(port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject));
  return socket;
}

describe('a crowd', () => {
  const clients = LONG ? 10_000 : 300;

  it(`of ${clients} at once: each is answered, told to come back, or turned away at the door; then all is as before`, async () => {
    await using folder = await temporaryFolder();
    await writeModel(folder.path, { name: 'pixels', graph: pixelsGraph() });
    await using inference = await startInference(folder.path);
    await inference.until((all) => all.length > 0 && all.every(({ state }) => state === 'ready'));
    const { port } = inference.service.addresses.http;
    const ask = async () => {
      const socket = connect(port, '127.0.0.1');
      const answer = heard(socket);
      socket.write(Buffer.concat([Buffer.from(`${HEAD}Connection: close\r\n\r\n`), FOUR]));
      return answer;
    };
    const answers = await Promise.all(Array.from({ length: clients }, ask));
    const kinds = { answered: 0, busy: 0, turnedAway: 0 };
    for (const answer of answers) {
      if (answer === '') kinds.turnedAway += 1;
      else if (/^HTTP\/1\.1 200 /.test(answer)) kinds.answered += 1;
      else {
        expect(answer).toMatch(/^HTTP\/1\.1 503 [\s\S]*retry-after: \d+[\s\S]*E_BUSY/);
        kinds.busy += 1;
      }
    }
    expect(kinds.answered).toBeGreaterThan(0);
    expect(kinds.answered + kinds.busy + kinds.turnedAway).toBe(clients);
    if (!LONG) expect(kinds.turnedAway).toBe(0);
    expect(await ask()).toMatch(/^HTTP\/1\.1 200 /);
  }, 120_000);
});

/** Both faces with limits of their own, over a repository in which nothing is. */
async function startFaces(limits: Partial<OipHttpOptions & OipGrpcOptions>, grpcPort = 0) {
  const folder = await temporaryFolder();
  const registry = createRegistry('inference');
  const d = {
    logger: silentLogger,
    clock: systemClock,
    random: Math.random,
    metrics: createMetrics(registry),
    childMetrics: createChildMetrics(registry),
    linkMetrics: createLinkMetrics(registry),
  };
  const repository = createRepository(
    { dir: folder.path, emptyFolder: folder.path, runSlots: 1, policies: {} },
    {
      ...d,
      scheduler: createScheduler({ runSlots: 1 }, d),
      derived: createDerivedGraphs({ dir: folder.path, bytesMax: 0 }, d),
      changed: () => {},
    },
  );
  const engine = createOipEngine({ instance: 'test' }, { ...d, repository });
  const o = { host: '127.0.0.1', port: 0, token: undefined, bodyBytesMax: 10_000, version: '0', ...limits };
  const [http, grpc] = [createOipHttp(o, { ...d, engine }), createOipGrpc({ ...o, port: grpcPort }, { ...d, engine })];
  const parts = [repository, engine, http, grpc];
  await startAll(parts, AbortSignal.timeout(5000));
  return {
    port: http.address.port,
    grpc: `127.0.0.1:${grpc.address.port}`,
    async [Symbol.asyncDispose]() {
      await stopAll(parts);
      await folder[Symbol.asyncDispose]();
    },
  };
}

const isLive = async (port: number) => (await fetch(`http://127.0.0.1:${port}/v2/health/live`)).status === 200;

describe('a slow client', () => {
  it.each([
    ['half of its headers', 'POST /v2/models/pixels/infer HTTP/1.1\r\nHost: x\r\n'],
    ['half of its body', `${HEAD}\r\n12345678`],
  ])('that sends %s and waits is told so and ended; others are answered meanwhile', async (_what, half) => {
    await using face = await startFaces({ requestMsMax: 400 });
    const socket = await opened(face.port);
    const answer = heard(socket);
    socket.write(half);
    expect(await isLive(face.port)).toBe(true);
    expect(await answer).toMatch(/^HTTP\/1\.1 408 [\s\S]*\{"error":"E_TIMEOUT/);
    expect(await isLive(face.port)).toBe(true);
  });

  it('beyond the number of connections is turned away, and comes in when one leaves', async () => {
    await using face = await startFaces({ connectionsMax: 2 });
    const [first, second] = [await opened(face.port), await opened(face.port)];
    expect(await heard(await opened(face.port))).toBe('');
    first.destroy();
    await expect.poll(() => isLive(face.port).catch(() => false), { timeout: 5000 }).toBe(true);
    second.destroy();
  });
});

it('a port that is taken is said by its name, for both faces', async () => {
  await using faces = await startFaces({});
  await expect(startFaces({ port: faces.port })).rejects.toMatchObject({ code: 'E_PORT' });
  await expect(startFaces({}, Number(faces.grpc.split(':')[1]))).rejects.toMatchObject({ code: 'E_PORT' });
});

describe('a slow client of gRPC', () => {
  it('that sends half a message and waits is told so; others are answered meanwhile', async () => {
    await using faces = await startFaces({ requestMsMax: 300 });
    const session = connectHttp2(`http://${faces.grpc}`);
    const stream = session.request({
      ':method': 'POST',
      ':path': '/inference.GRPCInferenceService/ModelInfer',
      'content-type': 'application/grpc',
      te: 'trailers',
    });
    const status = new Promise((resolve) => {
      const told = (headers: Record<string, unknown>) => {
        if (headers['grpc-status'] !== undefined) resolve(headers['grpc-status']);
      };
      stream.on('response', told);
      stream.on('trailers', told);
    });
    // Not packed, 100 bytes long, and then only three of them.
    stream.write(Buffer.from([0, 0, 0, 0, 100, 1, 2, 3]));
    const client = createGrpcClient(faces.grpc);
    expect((await client.call('serverLive', {})).live).toBe(true);
    expect(await status).toBe('4');
    expect((await client.call('serverLive', {})).live).toBe(true);
    client.close();
    session.destroy();
  });

  it('beyond the number of connections is turned away', async () => {
    await using faces = await startFaces({ connectionsMax: 1 });
    const first = createGrpcClient(faces.grpc);
    expect((await first.call('serverLive', {})).live).toBe(true);
    const port = Number(faces.grpc.split(':')[1]);
    expect(await heard(await opened(port))).toBe('');
    expect((await first.call('serverLive', {})).live).toBe(true);
    first.close();
  });
});

describe('the child that decodes pictures', () => {
  const target = { width: 2, height: 1, fit: 'stretch', pad: 0, kernel: 'nearest', colour: 'grey' } as const;
  const module = fileURLToPath(new URL('./harness/fragile-decode-child.ts', import.meta.url));
  const never = new AbortController().signal;

  function startDecoder() {
    const registry = createRegistry('inference');
    const decoder = createPictureDecoder(
      { instance: 'test', module, decodeMsMax: 300 },
      {
        logger: silentLogger,
        clock: systemClock,
        random: Math.random,
        metrics: createMetrics(registry),
        childMetrics: createChildMetrics(registry),
        linkMetrics: createLinkMetrics(registry),
      },
    );
    const decode = (text: string, signal = never) =>
      decoder.decode(Buffer.from(text), target, signal).then(
        (pixels) => [...pixels],
        ({ code }: { code: string }) => code,
      );
    return { decode, [Symbol.asyncDispose]: () => decoder.stop() };
  }

  it('takes along only the picture that it had', async () => {
    await using decoder = startDecoder();
    const answers = ['\x01', 'crash', '\x02', 'hang', '\x03'].map((text) => decoder.decode(text));
    expect(await Promise.all(answers)).toEqual([[1, 1], 'E_CRASHED', [2, 2], 'E_TIMEOUT', [3, 3]]);
  });

  it('is not asked for pictures that nobody waits for', async () => {
    await using decoder = startDecoder();
    const gone = new AbortController();
    const [first, second] = [decoder.decode('\x01'), decoder.decode('crash', gone.signal)];
    gone.abort();
    expect(await Promise.all([first, second])).toEqual([[1, 1], 'E_CANCELLED']);
  });
});
