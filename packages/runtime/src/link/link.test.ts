import { BrinkError, create, link, toBinary } from '@brink/protocol';
import { afterEach, describe, expect, test } from 'vitest';
import { KIND } from './frame.ts';
import {
  codeOf,
  createGate,
  createUndo,
  decode,
  echo,
  frame,
  helloFrame,
  linked,
  open,
  type Side,
  socketPair,
} from './link.testing.ts';

const undo = createUndo();
afterEach(() => undo.run());
const pair = (a: Side, b: Side) => linked(undo, a, b);

describe('a link', () => {
  test('says hello both ways and tells each side who the other is', async () => {
    const [left, right] = await pair({ window: 3 }, { window: 5, frameBytesMax: 2048 });
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
    const [left] = await pair({}, { handlers: echo });
    const shapes = [[], [0], [1], [64], [0, 0], [63, 0, 65], [49_152], [1, 100_000, 7], [2000, 3], [0, 0, 70_000, 0]];
    for (const lengths of shapes) {
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
    const [left] = await pair({}, { handlers: echo });
    const reply = await left.request(decode, [new Uint8Array(3), new Uint8Array(new Float32Array([1.5, 2.5]).buffer)]);
    const [, floats] = reply.payloads;
    expect([...new Float32Array(floats!.buffer, floats!.byteOffset, 2)]).toEqual([1.5, 2.5]);
  });

  test('takes its bytes in pieces of any size', async () => {
    const [left, accepted] = await socketPair(undo);
    const serving = open(accepted, 'inference', { handlers: echo });
    const header = toBinary(link.RequestSchema, create(link.RequestSchema, { payloadBytes: [300], body: decode }));
    const bytes = Buffer.concat([helloFrame(), frame(KIND.request, 1, header, [Buffer.alloc(300, 7)])]);
    for (const byte of bytes) left.write(Buffer.of(byte));
    const got: Buffer[] = [];
    left.on('data', (chunk) => got.push(chunk));
    await serving;
    await expect.poll(() => Buffer.concat(got).includes(Buffer.alloc(300, 7))).toBe(true);
  });

  test('answers in any order', async () => {
    const gates: (() => void)[] = [];
    const [left] = await pair(
      {},
      {
        handlers: {
          announce: async ({ instance: word }) => {
            await new Promise<void>((resolve) => gates.push(resolve));
            return { body: { case: 'committed', value: { count: Number(word) } } };
          },
        },
      },
    );
    const order: number[] = [];
    const asked = [1, 2, 3].map(async (n) => {
      const { body } = await left.request({ case: 'announce', value: { instance: String(n) } });
      if (body.case === 'committed') order.push(body.value.count);
    });
    await expect.poll(() => gates.length).toBe(3);
    for (const gate of gates.reverse()) {
      const before = order.length;
      gate();
      await expect.poll(() => order.length).toBe(before + 1);
    }
    await Promise.all(asked);
    expect(order).toEqual([3, 2, 1]);
  });

  test('goes both ways over one connection', async () => {
    const [left, right] = await pair({ handlers: echo }, { handlers: echo });
    const asked = [left.request(decode, [Buffer.from('a')]), right.request(decode, [Buffer.from('b')])];
    const [a, b] = await Promise.all(asked);
    expect([String(a!.payloads[0]), String(b!.payloads[0])]).toEqual(['a', 'b']);
  });

  test('uses the buffer of a released frame again, and no other', async () => {
    const pixels = async () => ({ body: { case: 'done', value: {} } as const, payloads: [Buffer.alloc(50_000)] });
    const [left] = await pair({}, { handlers: { decode: pixels } });
    const ask = () => left.request(decode);
    const kept = await ask();
    const released = await ask();
    released.release();
    released.release();
    const next = await ask();
    const other = await ask();
    expect(next.payloads[0]!.buffer).toBe(released.payloads[0]!.buffer);
    expect(other.payloads[0]!.buffer).not.toBe(released.payloads[0]!.buffer);
    expect(kept.payloads[0]!.buffer).not.toBe(next.payloads[0]!.buffer);
  });
});

describe('the window', () => {
  test('is never exceeded; what does not fit waits and goes on', async () => {
    const gate = createGate();
    let most = 0;
    let running = 0;
    const [left] = await pair(
      {},
      {
        window: 2,
        handlers: {
          decode: async () => {
            running += 1;
            most = Math.max(most, running);
            await gate.pass();
            running -= 1;
            return { body: { case: 'done', value: {} } };
          },
        },
      },
    );
    const asked = Array.from({ length: 7 }, () => left.request(decode));
    expect([left.inFlight, left.waiting]).toEqual([2, 5]);
    for (let i = 0; i < 7; i++) {
      await expect.poll(() => gate.count).toBeGreaterThan(0);
      gate.openOne();
    }
    await Promise.all(asked);
    expect(most).toBe(2);
    expect([left.inFlight, left.waiting]).toEqual([0, 0]);
  });

  test('refuses with E_BUSY what may not even wait', async () => {
    const gate = createGate();
    const slow = { decode: () => gate.pass().then(() => ({ body: { case: 'done', value: {} } }) as const) };
    const [left] = await pair({ waitingMax: 2 }, { window: 1, handlers: slow });
    const three = [left.request(decode), left.request(decode), left.request(decode)];
    await expect(left.request(decode)).rejects.toMatchObject({ code: 'E_BUSY' });
    for (let i = 0; i < 3; i++) {
      await expect.poll(() => gate.count).toBe(1);
      gate.openOne();
    }
    await Promise.all(three);
    const again = left.request(decode);
    await expect.poll(() => gate.count).toBe(1);
    gate.openOne();
    await again;
  });

  test('of a peer that takes no requests is an error at once, not a wait for ever', async () => {
    const [left] = await pair({}, { window: 0 });
    await expect(left.request(decode)).rejects.toMatchObject({ code: 'E_UNSUPPORTED' });
  });
});

describe('giving up', () => {
  test('rejects at once, aborts the handler, and frees the place when the peer has answered', async () => {
    const gate = createGate();
    const reasons: unknown[] = [];
    const [left] = await pair(
      {},
      {
        window: 1,
        handlers: {
          decode: async (_value, _payloads, { signal }) => {
            signal.addEventListener('abort', () => reasons.push(signal.reason));
            await gate.pass();
            return { body: { case: 'done', value: {} } };
          },
        },
      },
    );
    const caller = new AbortController();
    const asked = left.request(decode, [], { signal: caller.signal });
    await expect.poll(() => gate.count).toBe(1);
    caller.abort();
    await expect(asked).rejects.toMatchObject({ code: 'E_CANCELLED' });
    await expect.poll(() => reasons).toMatchObject([{ code: 'E_CANCELLED' }]);
    expect(left.inFlight).toBe(1);
    const next = left.request(decode);
    expect(left.waiting).toBe(1);
    gate.openOne();
    await expect.poll(() => gate.count).toBe(1);
    gate.openOne();
    await next;
    expect(left.inFlight).toBe(0);
  });

  test('before it was sent sends nothing', async () => {
    const gate = createGate();
    let calls = 0;
    const counting = async () => {
      calls += 1;
      await gate.pass();
      return { body: { case: 'done', value: {} } } as const;
    };
    const [left] = await pair({}, { window: 1, handlers: { decode: counting } });
    const first = left.request(decode);
    const caller = new AbortController();
    const second = left.request(decode, [], { signal: caller.signal });
    caller.abort();
    await expect(second).rejects.toMatchObject({ code: 'E_CANCELLED' });
    expect(left.waiting).toBe(0);
    await expect(left.request(decode, [], { signal: caller.signal })).rejects.toMatchObject({ code: 'E_CANCELLED' });
    await expect.poll(() => gate.count).toBe(1);
    gate.openOne();
    await first;
    expect(calls).toBe(1);
  });

  test('by time is E_TIMEOUT; the late answer is taken and ignored', async () => {
    const gate = createGate();
    const slow = { decode: () => gate.pass().then(() => ({ body: { case: 'done', value: {} } }) as const), ...{} };
    const [left] = await pair(
      {},
      { handlers: { ...slow, announce: async () => ({ body: { case: 'done', value: {} } }) } },
    );
    await expect(left.request(decode, [], { timeoutMs: 10 })).rejects.toMatchObject({ code: 'E_TIMEOUT' });
    gate.openOne();
    await left.request({ case: 'announce', value: { instance: '' } });
    await expect.poll(() => left.inFlight).toBe(0);
  });
});

describe('an error of a handler', () => {
  test('comes back with its code and detail', async () => {
    const [left] = await pair(
      {},
      { handlers: { decode: () => Promise.reject(new BrinkError('E_IMAGE_CORRUPT', 'byte 17')) } },
    );
    await expect(left.request(decode)).rejects.toMatchObject({ code: 'E_IMAGE_CORRUPT', detail: 'byte 17' });
  });

  test('that is not of the table is E_INTERNAL, and is told where it can be logged', async () => {
    const told: unknown[] = [];
    const [left] = await pair(
      {},
      {
        handlers: {
          decode: () => {
            throw new TypeError('x is not a function');
          },
        },
        deps: { onHandlerError: (error, kind) => told.push(kind, (error as Error).message) },
      },
    );
    await expect(left.request(decode)).rejects.toMatchObject({ code: 'E_INTERNAL' });
    expect(told).toEqual(['decode', 'x is not a function']);
  });

  test('with a detail longer than a header still fits', async () => {
    const [left] = await pair(
      {},
      { handlers: { decode: () => Promise.reject(new BrinkError('E_DECODE', '長'.repeat(100_000))) } },
    );
    await expect(left.request(decode)).rejects.toMatchObject({ code: 'E_DECODE' });
  });

  test('of a kind without a handler is E_UNSUPPORTED, and the link lives', async () => {
    const [left] = await pair({}, { handlers: echo });
    await expect(left.request({ case: 'announce', value: { instance: '' } })).rejects.toMatchObject({
      code: 'E_UNSUPPORTED',
    });
    await left.request(decode);
  });

  test('of a kind that a newer peer knows is E_UNSUPPORTED, and the link lives', async () => {
    const [raw, accepted] = await socketPair(undo);
    const serving = open(accepted, 'inference', { handlers: echo });
    // field 99, length-delimited, empty: an unknown case of the oneof
    raw.write(Buffer.concat([helloFrame(), frame(KIND.request, 1, Buffer.of(0x9a, 0x06, 0x00))]));
    const got: Buffer[] = [];
    raw.on('data', (chunk) => got.push(chunk));
    const peer = await serving;
    await expect.poll(() => Buffer.concat(got).includes('E_UNSUPPORTED')).toBe(true);
    const state = await Promise.race([peer.closed, Promise.resolve('open')]);
    expect(state).toBe('open');
  });
});

describe('sizes', () => {
  test('over what the peer takes are refused here, before a byte is sent', async () => {
    const [left] = await pair({}, { handlers: echo, frameBytesMax: 4096 });
    await expect(left.request(decode, [Buffer.alloc(5000)])).rejects.toMatchObject({ code: 'E_TOO_LARGE' });
    const json = 'x'.repeat(70_000);
    await expect(left.request({ case: 'announce', value: { instance: json } })).rejects.toMatchObject({
      code: 'E_TOO_LARGE',
    });
    await left.request(decode, [Buffer.alloc(3000)]);
  });

  test('of an answer over what the requester takes become an E_TOO_LARGE of that request alone', async () => {
    const big = async () => ({ body: { case: 'done', value: {} } as const, payloads: [Buffer.alloc(8000)] });
    const [left] = await pair({ frameBytesMax: 4096 }, { handlers: { decode: big, load: echo.decode as never } });
    await expect(left.request(decode)).rejects.toMatchObject({ code: 'E_TOO_LARGE' });
    await left.request({ case: 'load', value: {} });
  });
});

describe('the end of a link', () => {
  test('rejects what is in flight and what waits, aborts handlers, and says why', async () => {
    const signals: AbortSignal[] = [];
    const [left, right] = await pair(
      {},
      {
        window: 1,
        handlers: {
          decode: (_value, _payloads, { signal }) => {
            signals.push(signal);
            return new Promise(() => {});
          },
        },
      },
    );
    const asked = [codeOf(left.request(decode)), codeOf(left.request(decode))];
    await expect.poll(() => signals.length).toBe(1);
    left.close();
    expect(await Promise.all(asked)).toEqual(['E_LINK_CLOSED', 'E_LINK_CLOSED']);
    expect((await right.closed).code).toBe('E_LINK_CLOSED');
    expect(signals[0]!.aborted).toBe(true);
    await expect(left.request(decode)).rejects.toMatchObject({ code: 'E_LINK_CLOSED' });
  });

  test('reaches the peer after the answers that were on their way', async () => {
    const [left, right] = await pair({}, { handlers: echo });
    const answered = left.request(decode, [Buffer.alloc(200_000, 1)]);
    answered.catch(() => {});
    await answered;
    right.close();
    expect((await left.closed).code).toBe('E_LINK_CLOSED');
  });
});

describe('a peer that does not read', () => {
  test('makes requests wait and then E_BUSY; bytes here stay bounded; nothing for stallMs ends the link', async () => {
    const [left, accepted] = await socketPair(undo);
    const opening = open(left, 'gateway', { outgoingBytesMax: 4 * 1024 * 1024, waitingMax: 4, stallMs: 200 });
    accepted.write(helloFrame({ window: 1000, frameBytesMax: 1024 * 1024 }));
    const peer = await opening;
    const payload = Buffer.alloc(512 * 1024);
    const codes = Array.from({ length: 40 }, () => codeOf(peer.request(decode, [payload])));
    expect(left.writableLength).toBeLessThanOrEqual(4 * 1024 * 1024 + 64 * 1024);
    expect(peer.waiting).toBe(4);
    const ends = await Promise.all(codes);
    expect(ends.filter((code) => code === 'E_BUSY').length).toBeGreaterThan(20);
    expect(ends.filter((code) => code === 'E_LINK_CLOSED').length).toBe(
      40 - ends.filter((code) => code === 'E_BUSY').length,
    );
    expect((await peer.closed).detail).toContain('took none of');
  });

  test('but asks gets refusals, is then not read, and is ended', async () => {
    const [raw, accepted] = await socketPair(undo);
    let handled = 0;
    const big = async () => {
      handled += 1;
      return { body: { case: 'done', value: {} } as const, payloads: [Buffer.alloc(900_000)] };
    };
    const serving = open(accepted, 'inference', { handlers: { decode: big }, outgoingBytesMax: 1, stallMs: 300 });
    raw.write(helloFrame());
    const peer = await serving;
    const header = toBinary(link.RequestSchema, create(link.RequestSchema, { payloadBytes: [], body: decode }));
    let id = 0;
    let most = 0;
    const flood = () => {
      for (let i = 0; i < 4 && raw.writable; i++) {
        id += 1;
        raw.write(frame(KIND.request, id, header));
      }
      most = Math.max(most, accepted.writableLength);
    };
    const timer = setInterval(flood, 5);
    undo.add(() => clearInterval(timer));
    raw.on('error', () => {});
    expect((await peer.closed).code).toBe('E_LINK_CLOSED');
    expect(handled).toBeLessThan(12);
    expect(most).toBeLessThan(16 * 1024 * 1024);
  });
});
