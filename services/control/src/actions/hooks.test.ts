import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ActionSchema, type TargetConfig, TargetSchema } from '@brink/protocol';
import { systemClock } from '@brink/runtime';
import { Webhook } from 'standardwebhooks';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { LeasedAction } from '../ledger/records.ts';
import { type HookConfig, sendHook } from './hooks.ts';
import { createHttpOut } from './http-out.ts';
import { createSecrets } from './secrets.ts';

interface Taken {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

const taken: Taken[] = [];
let answer: { status: number; headers?: Record<string, string>; body?: string } = { status: 204 };
const server = createServer(async (request, response) => {
  let body = '';
  for await (const piece of request) body += String(piece);
  taken.push({ path: request.url ?? '', headers: request.headers, body });
  response.writeHead(answer.status, answer.headers).end(answer.body);
});
const http = createHttpOut({}, { clock: systemClock });
let dir: string;
let base: string;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'brink-secrets-'));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterEach(() => {
  taken.length = 0;
  answer = { status: 204 };
});
afterAll(async () => {
  await http.stop();
  server.closeAllConnections();
  server.close();
  await rm(dir, { recursive: true, force: true });
});

const secret = (name: string, text: string, mode = 0o600) =>
  writeFile(join(dir, name), text, { mode }).then(() => chmod(join(dir, name), mode));

const ID = 'cam-1.front.k3v9.1.0.pets~flap~0';

function send(action: object, targets: Record<string, object>): Promise<number> {
  const config = ActionSchema.parse(action) as HookConfig;
  const kind = 'webhook' in config ? 'webhook' : 'notify';
  const target = ('webhook' in config ? config.webhook.target : config.notify.target) ?? '';
  const leased: LeasedAction = {
    ...{ id: ID, kind, config, target, outlet: `to:${target}`, decision: 'cam-1.front.k3v9.1.0.pets' },
    ...{ at_ms: 0, asked_ms: 0, attempt: 1, expires_ms: 0, leased_until_ms: 0 },
  };
  const parsed = new Map(
    Object.entries(targets).map(([name, one]) => [
      name,
      TargetSchema.parse({ allow_private: true, ...one }) as TargetConfig,
    ]),
  );
  const context = { http, secrets: createSecrets({ dir }), target: (name: string) => parsed.get(name) };
  return sendHook(leased, config, { ...context, clock: systemClock });
}

const hook = { webhook: { target: 'duty', body: { text: '猫 at cam-1' } } };
const duty = (more: object = {}) => ({ duty: { webhook: `${base}/hook?a=1`, ...more } });

describe('a webhook', () => {
  it('is signed so that the library of the standard takes it', async () => {
    const key = `whsec_${Buffer.alloc(24, 7).toString('base64')}`;
    await secret('duty_hook', `${key}\n`);
    expect(await send(hook, duty({ secret: 'duty_hook' }))).toBe(204);
    const [{ path, headers, body }] = taken as [Taken];
    expect([path, headers['webhook-id'], headers['content-type']]).toEqual(['/hook?a=1', ID, 'application/json']);
    expect(new Webhook(key).verify(body, headers as Record<string, string>)).toEqual({ text: '猫 at cam-1' });
    // The negative control: another key, and another body.
    const other = new Webhook(`whsec_${Buffer.alloc(24, 8).toString('base64')}`);
    expect(() => other.verify(body, headers as Record<string, string>)).toThrow('No matching signature');
    expect(() => new Webhook(key).verify(`${body} `, headers as Record<string, string>)).toThrow('No matching');
  });

  it('is signed with both secrets while one replaces the other', async () => {
    const keys = [3, 4].map((byte) => `whsec_${Buffer.alloc(24, byte).toString('base64')}`);
    await secret('turning', keys.join('\n'));
    await send(hook, duty({ secret: 'turning' }));
    const [{ headers, body }] = taken as [Taken];
    for (const key of keys) new Webhook(key).verify(body, headers as Record<string, string>);
    expect(keys).toHaveLength(2);
  });

  it('without a secret carries no signature', async () => {
    await send(hook, duty());
    expect(taken[0]?.headers).not.toHaveProperty('webhook-signature');
  });

  it('that is sent again has the same id and the same bytes', async () => {
    await send(hook, duty());
    await send(hook, duty());
    const [first, second] = taken;
    expect([second?.headers['webhook-id'], second?.body]).toEqual([first?.headers['webhook-id'], first?.body]);
  });

  it.each([
    [410, 'E_TARGET_GONE', '"duty" answered 410'],
    [500, 'E_UNAVAILABLE', '"duty" answered 500'],
    [429, 'E_UNAVAILABLE', '"duty" answered 429'],
    [408, 'E_UNAVAILABLE', '"duty" answered 408'],
    [400, 'E_ACTION_REFUSED', '"duty" answered 400: no such field'],
    [302, 'E_ACTION_REFUSED', 'redirects are not followed'],
  ])('answered with %i is %s', async (status, code, detail) => {
    answer = { status, headers: { location: `${base}/inside` }, body: 'no  such\n\u0000field' };
    await expect(send(hook, duty())).rejects.toMatchObject({ code, detail: expect.stringContaining(detail) });
    expect(taken).toHaveLength(1);
  });

  it('waits as long as the receiver asks', async () => {
    answer = { status: 503, headers: { 'retry-after': '30' } };
    await expect(send(hook, duty())).rejects.toMatchObject({ code: 'E_UNAVAILABLE', retryAfterMs: 30_000 });
  });

  it('to a target that is not there, or of another kind now, is refused', async () => {
    await expect(send(hook, {})).rejects.toMatchObject({ code: 'E_NOT_FOUND' });
    await expect(send(hook, { duty: { ntfy: `${base}/topic` } })).rejects.toMatchObject({ code: 'E_NOT_FOUND' });
  });

  it('to a private address that is not allowed is refused, with the line to add', async () => {
    const refused = send(hook, duty({ allow_private: false }));
    await expect(refused).rejects.toMatchObject({
      code: 'E_SSRF_BLOCKED',
      detail: expect.stringContaining('the line `allow_private: true`'),
    });
    expect(taken).toEqual([]);
  });
});

describe('a secret', () => {
  it.each([
    ['that is not there', 'absent', undefined, 0, 'cannot be read (ENOENT)'],
    ['that others may read', 'open', 'whsec_AAAAAAAAAAAAAAAA', 0o644, 'has mode 0644; expected 0600'],
    ['that is empty', 'empty', '\n\n', 0o600, 'is empty'],
    ['that is no key', 'words', 'open sesame', 0o600, 'expected whsec_ and base64'],
    ['that is too long', 'long', 'A'.repeat(5000), 0o600, 'has 5000 bytes'],
  ])('%s is named, and nothing is sent', async (_, name, text, mode, detail) => {
    if (text !== undefined) await secret(name, text, mode);
    const failed = send(hook, duty({ secret: name }));
    await expect(failed).rejects.toMatchObject({
      code: 'E_SECRET',
      retryable: true,
      detail: expect.stringContaining(detail),
    });
    await expect(failed).rejects.toMatchObject({ detail: expect.not.stringContaining(text?.trim() || 'sesame') });
    expect(taken).toEqual([]);
  });

  it('that is replaced counts from the next attempt on', async () => {
    for (const byte of [5, 6]) {
      const key = `whsec_${Buffer.alloc(24, byte).toString('base64')}`;
      await secret('changing', key);
      await send(hook, duty({ secret: 'changing' }));
      const { headers, body } = taken.at(-1) as Taken;
      new Webhook(key).verify(body, headers as Record<string, string>);
    }
    expect(taken).toHaveLength(2);
  });
});

describe('a notification', () => {
  it('goes to ntfy as JSON, with its token', async () => {
    await secret('phone', 'tk_123');
    const action = { notify: { title: 'Pump silent', message: 'for 60 s 泵', priority: 5, target: 'phone' } };
    expect(await send(action, { phone: { ntfy: `${base}/sub/duty-phone`, secret: 'phone' } })).toBe(204);
    const [{ path, headers, body }] = taken as [Taken];
    expect([path, headers.authorization, headers['idempotency-key']]).toEqual(['/sub/', 'Bearer tk_123', `"${ID}"`]);
    expect(JSON.parse(body)).toEqual({
      topic: 'duty-phone',
      title: 'Pump silent',
      message: 'for 60 s 泵',
      priority: 5,
    });
  });

  it('goes to Gotify, with its token and its priorities', async () => {
    await secret('wall', 'A1b2');
    await send(
      { notify: { title: 'Pump silent', target: 'wall' } },
      { wall: { gotify: `${base}/g/`, secret: 'wall' } },
    );
    const [{ path, headers, body }] = taken as [Taken];
    expect([path, headers['x-gotify-key']]).toEqual(['/g/message', 'A1b2']);
    expect(JSON.parse(body)).toEqual({ message: 'Pump silent', priority: 6 });
  });
});
