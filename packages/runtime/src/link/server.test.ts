import { spawnSync } from 'node:child_process';
import { statSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import type { BrinkError } from '@brink/protocol';
import { afterEach, describe, expect, test } from 'vitest';
import { createTestClock, systemClock } from '../clock.ts';
import { silentLogger } from '../logger.ts';
import { Registry } from '../metrics.ts';
import { formatLinkAddress, type LinkAddress, parseLinkAddress } from './address.ts';
import { createLinkClient } from './client.ts';
import { createUndo, decode, echo, helloFrame, linkOptions, never, temporaryFolder } from './link.testing.ts';
import type { LinkOptions } from './messages.ts';
import { createLinkMetrics } from './metrics.ts';
import { createLinkServer } from './server.ts';

const undo = createUndo();
afterEach(() => undo.run());

async function serve(
  listen: LinkAddress,
  o: Partial<LinkOptions> = {},
  d: Partial<Parameters<typeof createLinkServer>[1]> = {},
) {
  const server = createLinkServer(
    { ...linkOptions, service: 'inference', ...o, listen },
    { handlers: echo, logger: silentLogger, ...d },
  );
  undo.add(() => server.stop());
  await server.start(never);
  return server;
}

async function dial(
  to: LinkAddress,
  o: Partial<LinkOptions> = {},
  d: Partial<Parameters<typeof createLinkClient>[1]> = {},
) {
  const client = createLinkClient(
    { ...linkOptions, baseMs: 5, capMs: 50, ...o, connect: to },
    { handlers: {}, logger: silentLogger, clock: systemClock, random: Math.random, ...d },
  );
  undo.add(() => client.stop());
  await client.start(never);
  return client;
}
const socketPath = () => join(temporaryFolder(undo), 'run', 'it.sock');

describe('a link server on a unix socket', () => {
  test('makes its folder, lets only its owner in, and leaves nothing behind', async () => {
    const path = socketPath();
    const server = await serve({ path });
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const client = await dial({ path });
    await expect.poll(() => client.problem).toBeUndefined();
    await client.request(decode, [Buffer.alloc(100_000)]);
    await server.stop();
    expect(() => statSync(path)).toThrow();
  });

  test('takes the place of a socket that a killed process left', async () => {
    const path = socketPath();
    await (await serve({ path })).stop();
    const dying = `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`;
    spawnSync(process.execPath, ['-e', dying]);
    expect(statSync(path).isSocket()).toBe(true);
    await serve({ path });
    const client = await dial({ path });
    await expect.poll(() => client.problem).toBeUndefined();
  });

  test('does not push out a live one, nor a file', async () => {
    const path = socketPath();
    await serve({ path });
    await expect(serve({ path })).rejects.toMatchObject({ code: 'E_PORT' });
    const file = join(temporaryFolder(undo), 'file');
    writeFileSync(file, 'precious');
    await expect(serve({ path: file })).rejects.toMatchObject({ code: 'E_PORT' });
  });
});

describe('a link server on TCP', () => {
  const loopback = { host: '127.0.0.1', port: 0 };

  test('does not start without a token', async () => {
    await expect(serve(loopback)).rejects.toMatchObject({ code: 'E_SETTING' });
  });

  test('says its real port, and E_PORT when that is taken', async () => {
    const server = await serve(loopback, { token: 't' });
    expect(server.address).toMatchObject({ host: '127.0.0.1' });
    await expect(serve(server.address, { token: 't' })).rejects.toMatchObject({ code: 'E_PORT' });
  });

  test('serves who has the token and tells the others E_LINK_TOKEN, which stands in their problem', async () => {
    const server = await serve(loopback, { token: 'right' });
    const friend = await dial(server.address, { token: 'right' });
    const stranger = await dial(server.address, { token: 'wrong' });
    await expect.poll(() => friend.problem).toBeUndefined();
    const reply = await friend.request(decode, [Buffer.alloc(300_000, 5)]);
    expect(reply.payloads[0]?.[299_999]).toBe(5);
    await expect.poll(() => stranger.problem).toContain('E_LINK_TOKEN');
    await expect(stranger.request(decode)).rejects.toMatchObject({ code: 'E_LINK_CLOSED' });
  });
});

describe('a host that vanishes', () => {
  test('without a word is noticed when a request to it times out, and the link is dialled again', async () => {
    const clock = createTestClock();
    const sockets: Socket[] = [];
    const vanishing = createServer((socket) => {
      sockets.push(socket);
      socket.on('error', () => {}).resume();
      socket.write(helloFrame());
      undo.add(() => socket.destroy());
    });
    await new Promise<void>((resolve) => vanishing.listen(0, '127.0.0.1', resolve));
    undo.add(() => new Promise((resolve) => vanishing.close(resolve)));
    const { port } = vanishing.address() as AddressInfo;
    const downs: string[] = [];
    const client = await dial(
      { host: '127.0.0.1', port },
      { token: 't' },
      { clock, onDown: (e) => downs.push(e.detail) },
    );
    await expect.poll(() => client.peer !== undefined).toBe(true);
    const short = client.request(decode, [], { timeoutMs: 5000 }).catch((error: BrinkError) => error.code);
    const long = client.request(decode, [], { timeoutMs: 15_000 }).catch((error: BrinkError) => error.code);
    await clock.advance(5000);
    expect(await short).toBe('E_TIMEOUT');
    expect(downs).toEqual([]);
    await clock.advance(10_000);
    expect(await long).toBe('E_TIMEOUT');
    await expect.poll(() => downs).toEqual([expect.stringContaining('not one frame')]);
    await expect.poll(() => clock.advance(5000).then(() => sockets.length)).toBeGreaterThan(1);
  });
});

describe('a link client', () => {
  test('starts without its peer, finds it, and finds it again after it was gone', async () => {
    const path = socketPath();
    const events: string[] = [];
    const client = await dial(
      { path },
      {},
      { onUp: () => events.push('up'), onDown: (error) => events.push(error.code) },
    );
    expect(client.problem).toBeDefined();
    await expect(client.request(decode)).rejects.toMatchObject({ code: 'E_LINK_CLOSED' });
    const first = await serve({ path });
    await expect.poll(() => client.problem).toBeUndefined();
    await first.stop();
    await expect.poll(() => client.peer).toBeUndefined();
    await serve({ path });
    await expect.poll(() => client.problem, { timeout: 5000 }).toBeUndefined();
    await client.request(decode);
    expect(events).toEqual(['up', 'E_LINK_CLOSED', 'up']);
  });

  test('states a version that does not fit in its problem', async () => {
    const path = socketPath();
    await serve({ path }, { versions: { highest: 3, lowest: 2 } });
    const client = await dial({ path });
    await expect.poll(() => client.problem).toContain('E_LINK_VERSION');
  });

  test('waits longer from attempt to attempt, up to its cap, by its own random', async () => {
    const path = socketPath();
    const clock = createTestClock();
    const waits: number[] = [];
    const counting = {
      ...clock,
      setTimeout(fn: () => void, ms: number) {
        if (ms !== 5000) waits.push(ms);
        return clock.setTimeout(fn, ms);
      },
    };
    await dial({ path }, { helloTimeoutMs: 5000 }, { clock: counting, random: () => 1 });
    const tick = () => clock.advance(50).then(() => waits.length);
    await expect.poll(tick).toBeGreaterThanOrEqual(6);
    expect(waits.slice(0, 6)).toEqual([5, 10, 20, 40, 50, 50]);
  });

  test('gives up a peer that accepts and says nothing, and tries again', async () => {
    const path = join(temporaryFolder(undo), 's');
    let accepted = 0;
    const deaf = createServer((socket) => {
      accepted += 1;
      socket.on('error', () => {}).resume();
      undo.add(() => socket.destroy());
    });
    await new Promise<void>((resolve) => deaf.listen(path, resolve));
    undo.add(() => new Promise((resolve) => deaf.close(resolve)));
    const client = await dial({ path }, { helloTimeoutMs: 20 });
    await expect.poll(() => accepted, { timeout: 5000 }).toBeGreaterThan(2);
    expect(client.problem).toContain('E_TIMEOUT');
  });

  test('hands the peer to onUp before it handles its first request', async () => {
    const path = socketPath();
    const order: string[] = [];
    await serve(
      { path },
      {},
      {
        onPeer: (peer) => void peer.request({ case: 'announce', value: { instance: 'i', models: [] } }),
      },
    );
    await dial(
      { path },
      {},
      {
        onUp: () => order.push('up'),
        handlers: {
          announce: async () => {
            order.push('announce');
            return { body: { case: 'done', value: {} } };
          },
        },
      },
    );
    await expect.poll(() => order).toEqual(['up', 'announce']);
  });
});

describe('metrics of links', () => {
  test('show what is up and what was carried, also by links that are gone', async () => {
    const registry = new Registry();
    const path = socketPath();
    await serve({ path });
    const client = await dial({ path }, {}, { metrics: createLinkMetrics(registry) });
    await expect.poll(() => client.problem).toBeUndefined();
    await client.request(decode);
    const text = await registry.metrics();
    expect(text).toContain('brink_link_up{peer="inference"} 1');
    expect(text).toContain('brink_link_requests_sent_total{peer="inference"} 1');
    await client.stop();
    const after = await registry.metrics();
    expect(after).not.toContain('brink_link_up{peer="inference"} 1');
    expect(after).toContain('brink_link_requests_sent_total{peer="inference"} 1');
  });
});

describe('link addresses', () => {
  test('are read and written', () => {
    for (const text of ['unix:/run/brink/i.sock', 'tcp://127.0.0.1:7000', 'tcp://[::1]:7000', 'unix:data/run/i.sock']) {
      expect(formatLinkAddress(parseLinkAddress(text))).toBe(text);
    }
    expect(parseLinkAddress('unix:///run/i.sock')).toEqual({ path: '/run/i.sock' });
  });

  test('that are wrong say what was expected', () => {
    for (const text of [
      '',
      'unix:',
      'http://x:1',
      'tcp://x',
      'tcp://x:99999',
      'tcp://::1:5',
      `unix:/${'x'.repeat(200)}`,
    ]) {
      expect(() => parseLinkAddress(text)).toThrow(/E_SETTING.*expected|E_SETTING.*shorter/);
    }
  });
});
