import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BrinkError } from '@brink/protocol';
import { afterEach, describe, expect, test } from 'vitest';
import { systemClock } from '../clock.ts';
import type { LinkHandlers, LinkOptions, LinkPeer, RequestBody } from './messages.ts';
import { createLink, type LinkDependencies } from './peer.ts';

const undo: (() => void | Promise<void>)[] = [];
afterEach(async () => {
  for (const fn of undo.splice(0).reverse()) await fn();
});

const base: LinkOptions = { service: 'gateway', instance: 'gateway-1', window: 8, frameBytesMax: 1024 * 1024 };

/** Both ends of a connected unix socket. */
async function socketPair(): Promise<[Socket, Socket]> {
  const folder = mkdtempSync(join(tmpdir(), 'brink-link-'));
  const server = createServer();
  const accepted = new Promise<Socket>((resolve) => server.once('connection', resolve));
  await new Promise<void>((resolve) => server.listen(join(folder, 's'), resolve));
  const dialled = connect(join(folder, 's'));
  const other = await accepted;
  undo.push(() => {
    dialled.destroy();
    other.destroy();
    server.close();
    rmSync(folder, { recursive: true, force: true });
  });
  return [dialled, other];
}

type Side = Partial<LinkOptions> & { handlers?: LinkHandlers; deps?: Partial<LinkDependencies> };

async function linked(a: Side, b: Side): Promise<[LinkPeer, LinkPeer, Socket, Socket]> {
  const [dialled, accepted] = await socketPair();
  const open = ({ handlers = {}, deps = {}, ...options }: Side, socket: Socket, service: string) =>
    createLink(socket, { ...base, service, ...options }, { handlers, clock: systemClock, ...deps });
  const [left, right] = await Promise.all([open(a, dialled, 'gateway'), open(b, accepted, 'inference')]);
  return [left, right, dialled, accepted];
}

const echo: LinkHandlers = {
  decode: async (_value, payloads) => ({ body: { case: 'done', value: {} }, payloads }),
};
const decode: RequestBody = { case: 'decode', value: { pixelsMax: 1, targets: [] } };
const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => 'resolved',
    (error: unknown) => (error instanceof BrinkError ? error.code : String(error)),
  );

describe('a link', () => {
  test('says hello both ways and tells each side who the other is', async () => {
    const [left, right] = await linked({ window: 3 }, { window: 5, frameBytesMax: 2048 });
    expect(left.info).toEqual({
      service: 'inference',
      instance: 'gateway-1',
      version: 1,
      window: 5,
      frameBytesMax: 2048,
    });
    expect(right.info).toMatchObject({ service: 'gateway', window: 3 });
  });

  test('carries payloads unchanged, aligned to 64 bytes, whatever their lengths', async () => {
    const [left] = await linked({}, { handlers: echo });
    for (const lengths of [
      [],
      [0],
      [1],
      [64],
      [0, 0],
      [63, 0, 65],
      [49_152],
      [1, 100_000, 7],
      [2000, 3],
      [0, 0, 70_000, 0],
    ]) {
      const payloads = lengths.map((length, i) => Buffer.alloc(length, i + 1));
      const reply = await left.request(decode, payloads);
      expect(reply.payloads.map((payload) => payload.byteLength)).toEqual(lengths);
      reply.payloads.forEach((payload, i) => {
        expect(payload.equals(payloads[i]!)).toBe(true);
        expect(payload.byteOffset % 64).toBe(0);
      });
      const filled = reply.payloads.filter((payload) => payload.byteLength > 0);
      expect(new Set(filled.map((payload) => payload.buffer)).size).toBeLessThanOrEqual(1);
    }
  });

  test('lays typed arrays over payloads', async () => {
    const [left] = await linked({}, { handlers: echo });
    const reply = await left.request(decode, [new Uint8Array(3), new Uint8Array(new Float32Array([1.5, 2.5]).buffer)]);
    const [, floats] = reply.payloads;
    expect([...new Float32Array(floats!.buffer, floats!.byteOffset, 2)]).toEqual([1.5, 2.5]);
  });

  test('answers in any order', async () => {
    const gates: (() => void)[] = [];
    const [left] = await linked(
      {},
      {
        handlers: {
          report: async ({ json }) => {
            await new Promise<void>((resolve) => gates.push(resolve));
            return { body: { case: 'committed', value: { count: Number(json) } } };
          },
        },
      },
    );
    const order: number[] = [];
    const asked = [1, 2, 3].map(async (n) => {
      const { body } = await left.request({ case: 'report', value: { json: String(n) } });
      if (body.case === 'committed') order.push(body.value.count);
    });
    await expect.poll(() => gates.length).toBe(3);
    for (const gate of gates.reverse()) {
      gate();
      const before = order.length;
      await expect.poll(() => order.length).toBe(before + 1);
    }
    await Promise.all(asked);
    expect(order).toEqual([3, 2, 1]);
  });

  test('goes both ways over one connection', async () => {
    const [left, right] = await linked({ handlers: echo }, { handlers: echo });
    const [a, b] = await Promise.all([
      left.request(decode, [Buffer.from('a')]),
      right.request(decode, [Buffer.from('b')]),
    ]);
    expect([String(a.payloads[0]), String(b.payloads[0])]).toEqual(['a', 'b']);
  });
});
