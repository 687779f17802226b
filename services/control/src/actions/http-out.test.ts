import { createServer, type RequestListener, type Server } from 'node:http';
import { type AddressInfo, createServer as createTcp } from 'node:net';
import { createTestClock, systemClock } from '@brink/runtime';
import { afterEach, describe, expect, it } from 'vitest';
import {
  createHttpOut,
  type HttpAnswer,
  type HttpOut,
  type HttpOutDeps,
  type HttpPost,
  type Resolve,
} from './http-out.ts';

const closing: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function receiver(answer: RequestListener): Promise<{ url: string; port: number; taken: string[] }> {
  const taken: string[] = [];
  const server: Server = createServer((request, response) => {
    taken.push(request.url ?? '');
    answer(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closing.push(() => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(() => resolve()));
  });
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}/hook`, port, taken };
}

function out(d: Partial<HttpOutDeps> = {}): HttpOut {
  const made = createHttpOut({}, { clock: systemClock, ...d });
  closing.push(() => made.stop());
  return made;
}

const to = (url: string, more: Partial<HttpPost> = {}): HttpPost => ({
  ...{ url, headers: { 'content-type': 'application/json' }, body: '{}', allowPrivate: true },
  ...more,
});

/** Gives a name's addresses, one look-up after the other. */
function answers(...lists: string[][]): Resolve & { asked: number } {
  const resolve = Object.assign(
    (_name: string, done: Parameters<Resolve>[1]) => {
      const list = lists[Math.min(resolve.asked++, lists.length - 1)] ?? [];
      done(
        null,
        list.map((address) => ({ address, family: address.includes(':') ? 6 : 4 })),
      );
    },
    { asked: 0 },
  );
  return resolve;
}

describe('an address', () => {
  it.each([
    'http://127.0.0.1/',
    'http://0x7f000001/',
    'http://2130706433/',
    'http://017700000001/',
    'http://127.1/',
    'https://10.0.0.5/hook',
    'https://172.31.255.255/',
    'https://192.168.1.1/',
    'https://100.64.0.1/',
    'http://[::1]/',
    'http://[fd00::1]/',
  ])('%s is refused, with the line to add', async (url) => {
    const refused = out().post(to(url, { allowPrivate: false }));
    await expect(refused).rejects.toMatchObject({
      code: 'E_SSRF_BLOCKED',
      detail: expect.stringContaining('`allow_private: true`'),
    });
    await expect(refused).rejects.toMatchObject({ detail: expect.stringContaining('the line') });
  });

  it.each([
    'http://169.254.169.254/latest/meta-data/',
    'https://[::ffff:10.0.0.1]/',
    'https://[::ffff:169.254.169.254]/',
    'https://[64:ff9b::7f00:1]/',
    'https://[2002:7f00:1::]/',
    'https://[2001:0:7f00:1::]/',
    'https://[fe80::1]/',
    'https://[::]/',
    'https://[::10.0.0.1]/',
    'https://[4000::1]/',
    'http://0.0.0.0/',
    'http://224.0.0.1/',
    'http://255.255.255.255/',
    'http://198.51.100.7/',
  ])('%s is refused, allowed or not', async (url) => {
    for (const allowPrivate of [false, true]) {
      await expect(out().post(to(url, { allowPrivate }))).rejects.toMatchObject({ code: 'E_SSRF_BLOCKED' });
    }
  });

  it('that is public is not reached without TLS', async () => {
    const refused = out().post(to('http://93.184.215.14/', { allowPrivate: true }));
    await expect(refused).rejects.toMatchObject({
      code: 'E_SSRF_BLOCKED',
      detail: expect.stringContaining('https://'),
    });
  });

  it.each(['file:///etc/passwd', 'gopher://127.0.0.1/', 'nothing'])('%s is no address at all', async (url) => {
    await expect(out().post(to(url))).rejects.toMatchObject({ code: 'E_SSRF_BLOCKED' });
  });
});

describe('a name', () => {
  it('is judged by all of its addresses', async () => {
    const resolve = answers(['93.184.215.14', '10.0.0.5']);
    await expect(out({ resolve }).post(to('https://hook.example/', { allowPrivate: false }))).rejects.toMatchObject({
      code: 'E_SSRF_BLOCKED',
      detail: expect.stringContaining('hook.example is 10.0.0.5'),
    });
  });

  it('is looked up once per connection, so that it cannot be another place when it is dialled', async () => {
    const { port, taken } = await receiver((_, response) => response.end('ok'));
    // The first answer is what is checked; the second is where a rebinding name would lead.
    const resolve = answers(['127.0.0.1'], ['169.254.169.254']);
    const { status } = await out({ resolve }).post(to(`http://rebinds.example:${port}/`));
    expect([status, resolve.asked, taken]).toEqual([200, 1, ['/']]);
  });

  it('that leads to this machine is refused before a connection is made', async () => {
    const { port, taken } = await receiver((_, response) => response.end('ok'));
    const url = `https://rebinds.example:${port}/`;
    const refused = out({ resolve: answers(['127.0.0.1']) }).post(to(url, { allowPrivate: false }));
    await expect(refused).rejects.toMatchObject({ code: 'E_SSRF_BLOCKED' });
    expect(taken).toEqual([]);
  });

  it('that does not exist is not reachable', async () => {
    const resolve: Resolve = (_, done) => done(Object.assign(new Error('no'), { code: 'ENOTFOUND' }), []);
    await expect(out({ resolve }).post(to('https://nowhere.invalid/secret-path'))).rejects.toMatchObject({
      code: 'E_UNAVAILABLE',
      detail: 'https://nowhere.invalid is not reachable: ENOTFOUND',
    });
  });

  it('under another rule is not reached over a connection that is open', async () => {
    const { port, taken } = await receiver((_, response) => response.end('ok'));
    const one = out({ resolve: answers(['127.0.0.1']) });
    const url = `http://inside.example:${port}/`;
    await one.post(to(url));
    await expect(one.post(to(url, { allowPrivate: false }))).rejects.toMatchObject({ code: 'E_SSRF_BLOCKED' });
    expect(taken).toHaveLength(1);
  });
});

describe('a receiver', () => {
  it('that sends elsewhere is not followed', async () => {
    const there = await receiver((_, response) => response.end('inside'));
    const { url } = await receiver((_, response) => response.writeHead(302, { location: there.url }).end());
    expect(await out().post(to(url))).toMatchObject({ status: 302 });
    expect(there.taken).toEqual([]);
  });

  it('that answers without end is read as far as the limit, and hung up on', async () => {
    let written = 0;
    let closed = false;
    const { url } = await receiver((_, response) => {
      const piece = Buffer.alloc(64 * 1024, 'x');
      const more = () => {
        for (let room = true; room && !response.destroyed; ) {
          room = response.write(piece);
          written += piece.length;
        }
      };
      response.on('drain', more).on('close', () => {
        closed = true;
      });
      more();
    });
    const { status, body } = await out().post(to(url));
    expect([status, body.length]).toEqual([200, 64 * 1024]);
    await expect.poll(() => closed).toBe(true);
    // What fits into the buffers of both sockets, not what four seconds of reading would bring.
    expect(written).toBeLessThan(16 * 1024 * 1024);
  });

  it('that compresses is not unpacked', async () => {
    const { url } = await receiver((request, response) => {
      expect(request.headers['accept-encoding']).toBe('identity');
      response.writeHead(200, { 'content-encoding': 'gzip' }).end(Buffer.from('1f8b0800', 'hex'));
    });
    expect((await out().post(to(url))).body).not.toBe('');
  });

  it('that takes the request and never answers costs the time that it may', async () => {
    const clock = createTestClock();
    const { url, taken } = await receiver(() => {});
    const post = out({ clock }).post(to(`${url}?key=secret`, { timeoutMs: 5000 }));
    const failed = expect(post).rejects.toMatchObject({
      code: 'E_TIMEOUT',
      detail: expect.not.stringContaining('secret'),
    });
    await expect.poll(() => taken.length).toBe(1);
    await clock.advance(5000);
    await failed;
  });

  it('that answers and never ends its answer has answered', async () => {
    const clock = createTestClock();
    const { url } = await receiver((_, response) => void response.writeHead(202).write('drip'));
    let answer: HttpAnswer | undefined;
    const post = out({ clock }).post(to(url, { timeoutMs: 60_000 }));
    const done = post.then((value) => {
      answer = value;
    });
    // In small steps: whether the head has been read nobody says, and it must have been when the time is up.
    await expect
      .poll(() => clock.advance(1000).then(() => answer), { interval: 10, timeout: 10_000 })
      .toMatchObject({ status: 202, body: 'drip' });
    await done;
  });

  it('that hangs up is not reachable', async () => {
    const server = createTcp((socket) => socket.destroy());
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    closing.push(() => new Promise((resolve) => server.close(() => resolve())));
    const { port } = server.address() as AddressInfo;
    await expect(out().post(to(`http://127.0.0.1:${port}/`))).rejects.toMatchObject({ code: 'E_UNAVAILABLE' });
  });

  it('says when it wants to be asked again', async () => {
    const { url } = await receiver((_, response) => response.writeHead(429, { 'retry-after': '7' }).end());
    expect(await out().post(to(url))).toMatchObject({ status: 429, retryAfterMs: 7000 });
  });

  it('is left when the caller gives up', async () => {
    const { url, taken } = await receiver(() => {});
    const given = new AbortController();
    const post = out().post(to(url, { signal: given.signal }));
    const failed = expect(post).rejects.toMatchObject({ code: 'E_CANCELLED' });
    await expect.poll(() => taken.length).toBe(1);
    given.abort();
    await failed;
  });
});

it('proxies of the environment are not used', async () => {
  const proxy = await receiver((_, response) => response.end());
  const { url, taken } = await receiver((_, response) => response.end());
  const before = process.env.http_proxy;
  process.env.http_proxy = proxy.url;
  try {
    await out().post(to(url));
  } finally {
    if (before === undefined) delete process.env.http_proxy;
    else process.env.http_proxy = before;
  }
  expect([taken.length, proxy.taken.length]).toEqual([1, 0]);
});
