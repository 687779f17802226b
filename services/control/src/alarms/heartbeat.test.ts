import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { HeartbeatConfig, TargetConfig } from '@brink/protocol';
import { createTestClock, silentLogger, systemClock } from '@brink/runtime';
import { Webhook } from 'standardwebhooks';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createHttpOut } from '../actions/http-out.ts';
import { createSecrets } from '../actions/secrets.ts';
import { type BeatResult, createHeartbeat } from './heartbeat.ts';

const SECRET = `whsec_${Buffer.from('a secret of the monitor').toString('base64')}`;

let stack: AsyncDisposableStack;
beforeEach(() => {
  stack = new AsyncDisposableStack();
});
afterEach(() => stack.disposeAsync());

/** A monitor that answers 200, or what it is told; and a control that beats to it. */
async function setUp(heartbeat: (url: string) => HeartbeatConfig | undefined) {
  const heard: { headers: IncomingHttpHeaders; body: string }[] = [];
  const monitor = { status: 200 };
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    heard.push({ headers: request.headers, body: Buffer.concat(chunks).toString() });
    response.writeHead(monitor.status).end();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  stack.defer(() => void server.close());
  const folder = await mkdtemp(join(tmpdir(), 'brink-heartbeat-'));
  stack.defer(() => rm(folder, { recursive: true, force: true }));
  await writeFile(join(folder, 'duty_hook'), SECRET, { mode: 0o600 });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/ping`;
  const targets: Record<string, TargetConfig> = {
    duty: { webhook: url, secret: 'duty_hook', allow_private: true, timeout_ms: 5000 },
  };
  const clock = createTestClock();
  const http = createHttpOut({}, { clock: systemClock });
  stack.defer(() => http.stop());
  const site = { name: 'plant-7', heartbeat: heartbeat(url) };
  const problems: string[] = [];
  const results: BeatResult[] = [];
  const told = new EventTarget();
  const beats = createHeartbeat({
    ...{ clock, logger: silentLogger, site: () => site, problems: () => problems },
    hooks: { http, secrets: createSecrets({ dir: folder }), target: (name) => targets[name], clock },
    counted(result) {
      results.push(result);
      told.dispatchEvent(new Event('beat'));
    },
  });
  stack.defer(() => beats.stop());
  return {
    ...{ beats, clock, site, problems, results, heard, monitor, url },
    async next(act: () => unknown): Promise<BeatResult | undefined> {
      const beat = once(told, 'beat');
      await act();
      await beat;
      return results.at(-1);
    },
  };
}

const plain = (url: string): HeartbeatConfig => ({ url, every_ms: 60_000, allow_private: true });

test('the monitor hears of a site at once and then at its pace, and nothing while it is not ready', async () => {
  const { beats, clock, problems, next, heard } = await setUp(plain);
  expect(await next(() => beats.start(new AbortController().signal))).toBe('sent');
  expect(JSON.parse(heard[0]?.body ?? '')).toEqual({ site: 'plant-7', at: expect.any(String), ready: true });
  await clock.advance(59_000);
  expect(heard).toHaveLength(1);
  expect(await next(() => clock.advance(1000))).toBe('sent');
  problems.push('no broker');
  expect(await next(() => clock.advance(60_000))).toBe('withheld');
  problems.pop();
  expect(await next(() => clock.advance(60_000))).toBe('sent');
  expect(heard).toHaveLength(3);
  await beats.stop();
  await clock.advance(600_000);
  expect(heard).toHaveLength(3);
});

test('through a target it is signed, and each beat has an id of its own', async () => {
  const { beats, clock, next, heard } = await setUp(() => ({ target: 'duty', every_ms: 1000, allow_private: false }));
  // The signature is of the time, which receivers compare with theirs.
  await clock.advance(Date.now() - clock.now());
  await next(() => beats.start(new AbortController().signal));
  await next(() => clock.advance(1000));
  for (const { headers, body } of heard)
    expect(new Webhook(SECRET).verify(body, headers as Record<string, string>)).toMatchObject({ site: 'plant-7' });
  expect(new Set(heard.map(({ headers }) => headers['webhook-id'])).size).toBe(2);
});

test('a monitor that refuses, or that may not be reached, is a failed beat, and the next follows', async () => {
  const { beats, clock, site, next, monitor } = await setUp(plain);
  monitor.status = 500;
  expect(await next(() => beats.start(new AbortController().signal))).toBe('failed');
  monitor.status = 200;
  expect(await next(() => clock.advance(60_000))).toBe('sent');
  // Addresses of this machine only where the configuration says so.
  site.heartbeat = { ...(site.heartbeat as HeartbeatConfig), allow_private: false };
  expect(await next(() => beats.look())).toBe('failed');
});

test('it follows the configuration: begun, changed and ended without a restart', async () => {
  const { beats, clock, site, url, next, heard } = await setUp(() => undefined);
  await beats.start(new AbortController().signal);
  await clock.advance(600_000);
  expect(heard).toHaveLength(0);
  site.heartbeat = plain(url);
  await next(() => beats.look());
  beats.look();
  expect(heard).toHaveLength(1);
  site.heartbeat = { ...plain(url), every_ms: 5000 };
  await next(() => beats.look());
  await next(() => clock.advance(5000));
  expect(heard).toHaveLength(3);
  site.heartbeat = undefined;
  beats.look();
  await clock.advance(600_000);
  expect(heard).toHaveLength(3);
});
