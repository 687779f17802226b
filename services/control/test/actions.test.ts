import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { ActionExplanationSchema } from '@brink/protocol';
import { Webhook } from 'standardwebhooks';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { outcome, SITE, startControl, until } from './harness.ts';

// Webhooks and notifications with everything real: from an outcome over the link to a receiver that checks the signature.

const KEY = `whsec_${Buffer.alloc(24, 9).toString('base64')}`;
const arrived: { id: string; path: string; text: string }[] = [];
let status = 200;
const server = createServer(async (request, response) => {
  let body = '';
  for await (const piece of request) body += String(piece);
  const headers = request.headers as Record<string, string>;
  if (request.url === '/hook') new Webhook(KEY).verify(body, headers);
  arrived.push({ id: headers['webhook-id'] ?? '', path: request.url ?? '', text: body });
  response.writeHead(status).end('no room');
});
let control: Awaited<ReturnType<typeof startControl>>;

beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const site = SITE.replace('site: { ', 'site: { notify: phone, ');
  control = await startControl({
    files: {
      'site.yaml': `${site}      - webhook: { target: duty, body: { text: "\${decision.label} at \${device}" } }
      - notify: { title: "A \${decision.label}", message: "\${decision.score}" }
      - webhook: { target: inside, body: {} }
targets:
  duty: { webhook: "${base}/hook", secret: duty_hook, allow_private: true }
  phone: { ntfy: "${base}/cats", allow_private: true }
  inside: { webhook: "${base.replace('http://127.0.0.1', 'https://localhost')}/hook" }
`,
    },
  });
  const secrets = join(control.folder, 'secrets');
  await mkdir(secrets);
  await writeFile(join(secrets, 'duty_hook'), KEY);
  await chmod(join(secrets, 'duty_hook'), 0o600);
});
afterAll(async () => {
  await control[Symbol.asyncDispose]();
  server.closeAllConnections();
  server.close();
});

const cat = (seq: number, device = 'cam-1') => outcome(seq, { device, received_ms: Date.now() });
const idOf = (seq: number, index: number, device = 'cam-1') =>
  `${device}.front.k3v9.${seq}.0.pets~cat-at-the-flap~${index}`;
const action = async (id: string) => (await control.get(`/v1/actions/${encodeURIComponent(id)}`)).body;

test('a webhook is signed, taken, and explained back to the hash of the frame', async () => {
  await control.commit(cat(1));
  await until('the webhook is acknowledged', async () => (await action(idOf(1, 1))).state === 'acked');
  expect(arrived.find(({ path }) => path === '/hook')).toEqual({
    ...{ id: idOf(1, 1), path: '/hook', text: '{"text":"cat at cam-1"}' },
  });
  const { body } = await control.get(`/v1/actions/${encodeURIComponent(idOf(1, 1))}/explain`);
  const chain = ActionExplanationSchema.parse(body);
  expect(chain.ack?.status).toBe(200);
  expect(chain.attempts).toMatchObject([{ attempt: 1, result: 'sent' }]);
  expect(chain.frame?.sha256).toBe('f'.repeat(64));
});

test('a notification goes where the site says', async () => {
  await until('the notification is acknowledged', async () => (await action(idOf(1, 2))).state === 'acked');
  const text = arrived.find(({ path }) => path === '/')?.text ?? '';
  expect(JSON.parse(text)).toEqual({ topic: 'cats', title: 'A cat', message: '0.91', priority: 3 });
  expect((await action(idOf(1, 2))).target).toBe('phone');
});

test('a private address that nobody allowed is dead at once, and the reason has the line to add', async () => {
  await until('it is dead', async () => (await action(idOf(1, 3))).state === 'dead');
  const { error, attempts } = await action(idOf(1, 3));
  expect([error.code, attempts]).toEqual(['E_SSRF_BLOCKED', 1]);
  expect(error.detail).toContain('the line `allow_private: true`');
});

test('what was refused is listed, sent again in bulk, and arrives under its key', async () => {
  status = 400;
  for (const n of [2, 3, 4]) await control.commit(cat(n, `cam-${n}`));
  const dead = async () => (await control.get('/v1/actions?state=dead&target=duty')).body.items;
  await until('three are dead', async () => (await dead()).length === 3);
  expect((await dead())[0].error).toEqual({ code: 'E_ACTION_REFUSED', detail: '"duty" answered 400: no room' });
  status = 200;
  const { body } = await control.post('/v1/actions/retry', { target: 'duty', limit: 2 });
  expect(body).toMatchObject({ retried: 2, next: expect.any(Number) });
  const more = await control.post('/v1/actions/retry', { target: 'duty', before: body.next });
  expect(more.body).toEqual({ retried: 1, ids: [idOf(2, 1, 'cam-2')] });
  const acked = async () => (await control.get('/v1/actions?state=acked&target=duty')).body.items;
  await until('all are acknowledged', async () => (await acked()).length === 4);
  for (const n of [2, 3, 4]) expect(arrived.filter(({ id }) => id === idOf(n, 1, `cam-${n}`))).toHaveLength(2);
});

test('one is sent again by its id; a refused frame cannot be, and the answer says why', async () => {
  const id = idOf(1, 3);
  expect((await control.post(`/v1/dead/${encodeURIComponent(id)}/retry`)).body.state).toBe('pending');
  const hash = 'c'.repeat(64);
  await control.commit({
    ...{ dead: true, device: 'cam-1', stream: 'front', boot: 'k3v9', seq: 99, sha256: hash, bytes: 9 },
    ...{ error: { code: 'E_TYPE', detail: 'text' }, received_ms: Date.now() },
  });
  const [letter] = (await control.get('/v1/dead')).body.items;
  const refused = await control.post(`/v1/dead/${letter.id}/retry`);
  expect([refused.status, refused.body.code]).toEqual([409, 'E_CONFLICT']);
  expect(refused.body.detail).toContain('its bytes are not kept');
  expect((await control.post('/v1/dead/77/retry')).status).toBe(404);
  expect((await control.post('/v1/actions/retry', { nonsense: 1 })).status).toBe(400);
});

test('the state of a target says whether it gets anything', async () => {
  expect((await control.get('/v1/targets/duty/state')).body).toEqual({
    ...{ target: 'duty', state: 'closed', in_flight: 0, failures: 0 },
  });
  expect((await control.get('/v1/targets/nobody/state')).status).toBe(404);
});

test('no secret stands in configuration, revisions, messages or answers', async () => {
  const published = await control.listen('brink/fleet/config');
  await until('the configuration is there', () => published.length > 0);
  const texts = [
    published.map(({ payload }) => String(payload)).join(),
    ...(await Promise.all(['/v1/config', '/v1/config/revisions', '/v1/actions', '/v1/status'].map(control.get))).map(
      ({ body }) => JSON.stringify(body),
    ),
  ];
  for (const text of texts) expect(text).not.toContain(KEY.slice(8));
  expect(texts[0]).toContain('duty_hook');
});
