import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { duplexPair } from 'node:stream';
import { BrinkError, create, isErrorCode, link, toBinary } from '@brink/protocol';
import { pino } from 'pino';
import { afterEach, describe, expect, test } from 'vitest';
import { systemClock } from '../clock.ts';
import { silentLogger } from '../logger.ts';
import { createLinkClient } from './client.ts';
import { FrameDecoder, KIND } from './frame.ts';
import { createUndo, decode, echo, frame, helloFrame, linkOptions, never, temporaryFolder } from './link.testing.ts';
import { createLink } from './peer.ts';
import { createLinkServer } from './server.ts';

const LONG = process.env['BRINK_TEST_SIZE'] === 'long';
const MUTATIONS = LONG ? 100_000 : 2000;
const SOCKETS = LONG ? 2000 : 40;
const SEED = Number(process.env['BRINK_TEST_SEED'] ?? 20_261_122);

const undo = createUndo();
afterEach(() => undo.run());

/** mulberry32: the same bytes for the same seed, everywhere. */
function createRandom(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}
type Random = ReturnType<typeof createRandom>;

const requestHeader = (payloadBytes: number[]) =>
  toBinary(link.RequestSchema, create(link.RequestSchema, { payloadBytes, body: decode }));
const request = (id: number, lengths: number[]) =>
  frame(
    KIND.request,
    id,
    requestHeader(lengths),
    lengths.map((length) => Buffer.alloc(length, id)),
  );

/** A conversation that is right in every byte. */
const GOOD = Buffer.concat([
  helloFrame(),
  request(1, []),
  request(2, [300]),
  request(3, [64, 0, 5000]),
  frame(KIND.cancel, 3, new Uint8Array(0)),
  request(4, [20_000]),
]);

const MUTATE: ((bytes: Buffer, random: Random) => Buffer)[] = [
  (bytes, random) => flip(bytes, random, 1),
  (bytes, random) => flip(bytes, random, 20),
  (bytes, random) => bytes.subarray(0, random(bytes.byteLength)),
  (bytes, random) => {
    const at = random(bytes.byteLength);
    return Buffer.concat([bytes.subarray(0, at), noise(random, 1 + random(200)), bytes.subarray(at)]);
  },
  (bytes, random) => {
    const from = random(bytes.byteLength);
    const to = from + random(bytes.byteLength - from);
    return Buffer.concat([bytes.subarray(0, to), bytes.subarray(from)]);
  },
  (bytes, random) => {
    const copy = Buffer.from(bytes);
    copy.writeUInt32LE(
      [0, 11, 0x7fff_ffff, 0xffff_ffff, random(2 ** 31)][random(5)]!,
      4 * random(bytes.byteLength >> 2),
    );
    return copy;
  },
  (_bytes, random) => noise(random, 1 + random(500)),
];

function flip(bytes: Buffer, random: Random, times: number): Buffer {
  const copy = Buffer.from(bytes);
  for (let i = 0; i < times; i++) {
    const at = random(copy.byteLength);
    copy[at] = copy[at]! ^ (1 << random(8));
  }
  return copy;
}
const noise = (random: Random, bytes: number) => Buffer.from(Array.from({ length: bytes }, () => random(256)));

function* pieces(bytes: Buffer, random: Random): Generator<Buffer> {
  for (let at = 0; at < bytes.byteLength; ) {
    const next = at + 1 + random(8000);
    yield bytes.subarray(at, next);
    at = next;
  }
}

test(
  `${MUTATIONS} mutated conversations each end in a code of the table, and no memory stays`,
  async () => {
    const random = createRandom(SEED);
    const ends = new Map<string, number>();
    const before = process.memoryUsage();
    for (let i = 0; i < MUTATIONS; i++) {
      const mutate = MUTATE[random(MUTATE.length)]!;
      const bytes = mutate(GOOD, random);
      const [here, there] = duplexPair();
      const opening = createLink(
        there,
        { ...linkOptions, service: 'inference' },
        { handlers: echo, clock: systemClock },
      );
      here.on('error', () => {}).resume();
      for (const piece of pieces(bytes, random)) here.write(piece);
      here.end();
      const error = await opening.then((peer) => peer.closed, BrinkError.from);
      ends.set(error.code, (ends.get(error.code) ?? 0) + 1);
      here.destroy();
    }
    const after = process.memoryUsage();
    expect([...ends.keys()].filter((code) => !isErrorCode(code))).toEqual([]);
    expect(ends.get('E_LINK_PROTOCOL')).toBeGreaterThan(MUTATIONS / 10);
    expect(ends.get('E_LINK_CLOSED')).toBeGreaterThan(MUTATIONS / 20);
    expect(after.arrayBuffers - before.arrayBuffers).toBeLessThan(96 * 1024 * 1024);
  },
  LONG ? 600_000 : 60_000,
);

const HOSTILE: Record<string, { send: (socket: Socket, random: Random) => void; codes: string[] }> = {
  'a length over the limit': {
    send: (socket) =>
      socket.write(Buffer.concat([helloFrame(), Buffer.from('ffffffff0200000001000000', 'hex'), Buffer.alloc(4)])),
    codes: ['E_LINK_PROTOCOL'],
  },
  'a hello longer than a hello can be': {
    send: (socket) => socket.write(frame(KIND.hello, 0, Buffer.alloc(100), [Buffer.alloc(200_000)])),
    codes: ['E_LINK_PROTOCOL'],
  },
  'a request before the hello': { send: (socket) => socket.write(request(1, [])), codes: ['E_LINK_PROTOCOL'] },
  'two hellos': {
    send: (socket) => socket.write(Buffer.concat([helloFrame(), helloFrame()])),
    codes: ['E_LINK_PROTOCOL'],
  },
  'a wrong version': {
    send: (socket) => socket.write(helloFrame({ versions: { highest: 9, lowest: 8 } })),
    codes: ['E_LINK_VERSION'],
  },
  'a kind that does not exist': {
    send: (socket) => {
      const bytes = request(1, []);
      bytes[4] = 9;
      socket.write(Buffer.concat([helloFrame(), bytes]));
    },
    codes: ['E_LINK_PROTOCOL'],
  },
  'flags that mean nothing yet': {
    send: (socket) => {
      const bytes = request(1, []);
      bytes[5] = 1;
      socket.write(Buffer.concat([helloFrame(), bytes]));
    },
    codes: ['E_LINK_PROTOCOL'],
  },
  'payload lengths that do not add up': {
    send: (socket) => {
      const bytes = frame(KIND.request, 1, requestHeader([100, 100]), [Buffer.alloc(100)]);
      socket.write(Buffer.concat([helloFrame(), bytes]));
    },
    codes: ['E_LINK_PROTOCOL'],
  },
  'a payload length of 4 GiB': {
    send: (socket) => {
      const bytes = frame(KIND.request, 1, requestHeader([0xffff_ffff]), [Buffer.alloc(10)]);
      socket.write(Buffer.concat([helloFrame(), bytes]));
    },
    codes: ['E_LINK_PROTOCOL'],
  },
  'a number that is in flight': {
    send: (socket) => {
      const slow = frame(
        KIND.request,
        7,
        toBinary(link.RequestSchema, create(link.RequestSchema, { body: { case: 'run', value: {} } })),
      );
      socket.write(Buffer.concat([helloFrame(), slow, slow]));
    },
    codes: ['E_LINK_PROTOCOL'],
  },
  'more requests than the window': {
    send: (socket) => {
      const body = toBinary(link.RequestSchema, create(link.RequestSchema, { body: { case: 'run', value: {} } }));
      socket.write(
        Buffer.concat([helloFrame(), ...Array.from({ length: 9 }, (_, i) => frame(KIND.request, i + 1, body))]),
      );
    },
    codes: ['E_LINK_PROTOCOL'],
  },
  'an answer that nobody asked for': {
    send: (socket) => socket.write(Buffer.concat([helloFrame(), frame(KIND.reply, 5, new Uint8Array(0))])),
    codes: ['E_LINK_PROTOCOL'],
  },
  'a cancel with a body': {
    send: (socket) => socket.write(Buffer.concat([helloFrame(), frame(KIND.cancel, 5, Buffer.alloc(3))])),
    codes: ['E_LINK_PROTOCOL'],
  },
  'a truncated frame': {
    send: (socket) => socket.end(Buffer.concat([helloFrame(), request(1, [5000]).subarray(0, 900)])),
    codes: ['E_LINK_CLOSED'],
  },
  'no hello at all': { send: () => {}, codes: ['E_TIMEOUT'] },
  'half a hello': { send: (socket) => socket.write(helloFrame().subarray(0, 20)), codes: ['E_TIMEOUT'] },
  'an HTTP request': {
    send: (socket) => socket.write('GET / HTTP/1.1\r\nHost: brink\r\n\r\n'),
    codes: ['E_LINK_PROTOCOL'],
  },
  garbage: {
    send: (socket, random) => socket.end(noise(random, 1 + random(5000))),
    codes: ['E_LINK_PROTOCOL', 'E_LINK_CLOSED', 'E_LINK_VERSION'],
  },
};

/** A server with a good peer that asks without pause, and everything the server said of connections that ended. */
async function startServer(helloTimeoutMs = 20_000) {
  const path = join(temporaryFolder(undo), 'inference.sock');
  const ends: string[] = [];
  const logger = pino(
    {},
    {
      write: (line: string) => void (JSON.parse(line).msg === 'connection refused' && ends.push(JSON.parse(line).code)),
    },
  );
  const server = createLinkServer(
    { ...linkOptions, service: 'inference', listen: { path }, helloTimeoutMs, connectionsMax: 4096 },
    {
      handlers: { ...echo, run: () => new Promise(() => {}) },
      logger,
      onPeerClosed: (_peer, error) => ends.push(error.code),
    },
  );
  await server.start(never);
  undo.add(() => server.stop());
  const good = createLinkClient(
    { ...linkOptions, connect: { path } },
    { handlers: {}, logger: silentLogger, clock: systemClock, random: Math.random },
  );
  await good.start(never);
  undo.add(() => good.stop());
  await expect.poll(() => good.peer !== undefined).toBe(true);
  return { path, ends, server, good, peer: good.peer };
}

describe('a hostile peer', () => {
  for (const [what, { send, codes }] of Object.entries(HOSTILE)) {
    test(`that sends ${what} gets a clear error and its end; a good peer beside it is unharmed`, async () => {
      const random = createRandom(SEED);
      const { path, ends, server, good, peer } = await startServer(codes.includes('E_TIMEOUT') ? 200 : undefined);
      const before = process.memoryUsage().arrayBuffers;
      for (let i = 0; i < SOCKETS; i++) {
        const socket = connect(path);
        socket.on('error', () => {}).resume();
        undo.add(() => socket.destroy());
        // One after the other: a unix socket whose backlog is full refuses (EAGAIN), which is not what is tried here.
        await once(socket, 'connect');
        send(socket, random);
        if (i % 10 === 0) {
          const { payloads } = await good.request(decode, [Buffer.alloc(1000, i)]);
          expect(payloads[0]?.[999]).toBe(i & 255);
        }
      }
      await expect.poll(() => ends.length, { timeout: 30_000 }).toBe(SOCKETS);
      expect(ends.filter((code) => !codes.includes(code))).toEqual([]);
      expect(server.peers.size).toBe(1);
      expect(good.peer).toBe(peer);
      expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(64 * 1024 * 1024 + SOCKETS * 256 * 1024);
    }, 60_000);
  }

  test('is told why', async () => {
    const { path } = await startServer();
    const socket = connect(path);
    const got: Buffer[] = [];
    socket.on('data', (chunk) => got.push(chunk));
    socket.write('GET / HTTP/1.1\r\n\r\n');
    await new Promise((resolve) => socket.once('close', resolve));
    expect(Buffer.concat(got).toString('latin1')).toContain('E_LINK_PROTOCOL');
  });
});

describe('the limit of a frame', () => {
  const announcing = (bytes: number) => {
    const prefix = Buffer.alloc(16);
    prefix.writeUInt32LE(bytes);
    prefix[4] = KIND.request;
    prefix[8] = 1;
    return prefix;
  };
  const allocated = (limit: number) => {
    const before = process.memoryUsage().arrayBuffers;
    const decoder = new FrameDecoder(limit, () => true);
    let code = 'none';
    try {
      decoder.push(announcing(256 * 1024 * 1024));
    } catch (error) {
      code = BrinkError.from(error).code;
    }
    return { code, bytes: process.memoryUsage().arrayBuffers - before, decoder };
  };

  test('is checked before anything is allocated', () => {
    const { code, bytes } = allocated(1024 * 1024);
    expect(code).toBe('E_LINK_PROTOCOL');
    expect(bytes).toBeLessThan(1024 * 1024);
  });

  test('negative control: without it sixteen bytes take 256 MiB', () => {
    const { code, bytes, decoder } = allocated(2 ** 32);
    expect(code).toBe('none');
    expect(bytes).toBeGreaterThan(200 * 1024 * 1024);
    expect(decoder.midFrame).toBe(true);
  });
});
