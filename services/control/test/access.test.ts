import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { RECOVERY_FILE } from '@brink/protocol';
import { issueToken } from '@brink/runtime';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { RIGHTS } from '../src/http/scopes.ts';
import { type Answer, type Control, outcome, startControl, until } from './harness.ts';

const ROOT = 'token-of-the-site';
const bearer = (token: string) => ({ authorization: `Bearer ${token}` });

/** Asks with another token than the site's. */
const asking = (control: Control, token: string) => (method: string, path: string, body?: unknown) =>
  control.ask(path, {
    method,
    headers: { ...bearer(token), ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });

async function made(control: Control, wanted: object): Promise<{ id: string; token: string }> {
  const { status, body } = await control.post('/v1/tokens', wanted);
  expect(status).toBe(201);
  return body;
}

const codeOf = ({ status, body }: Answer) => (status < 400 ? status : `${status} ${body.code}`);
const auditOf = async (control: Control, query = '') => (await control.get(`/v1/audit${query}`)).body.items;

// What does not need a site of its own shares one.
let control: Control;
beforeAll(async () => {
  control = await startControl({ token: ROOT });
});
afterAll(() => control?.[Symbol.asyncDispose]());

test('the table of scopes and what is served are the same, and each route asks for its own', async () => {
  const { body } = await control.get('/docs/json');
  const served = Object.entries(body.paths as Record<string, object>).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method.toUpperCase()} ${path.replaceAll(/\{(\w+)\}/g, ':$1')}`),
  );
  expect(served.filter((route) => RIGHTS[route] === undefined)).toEqual([]);
  const hidden = /^(GET|POST) (\/|\/style\.css|\/schemas\/v1|\/v2|\/v2\/\*|\/v2\/repository\/models\/\*)$/;
  expect(Object.keys(RIGHTS).filter((route) => !served.includes(route) && !hidden.test(route))).toEqual([]);

  // A token that may do one harmless thing is turned away from everything else, before anything is looked at.
  const { token } = await made(control, { name: 'one', scopes: ['audit:read'] });
  const ask = asking(control, token);
  for (const [route, { scope }] of Object.entries(RIGHTS)) {
    const [method = '', path = ''] = route.split(' ');
    const found = await ask(method, path.replaceAll(/:\w+/g, 'cam-1').replace('*', 'models'));
    const text = typeof found.body === 'string' ? found.body : JSON.stringify(found.body);
    if (scope === 'open' || scope === 'audit:read') expect([401, 403], route).not.toContain(found.status);
    else expect([route, found.status, text.includes('E_FORBIDDEN')]).toEqual([route, 403, true]);
  }
  expect(codeOf(await ask('GET', '/v1/nothing'))).toBe('404 E_NOT_FOUND');
});

test('tokens are shown once, kept by hash, found in constant time, and give no more than their maker has', async () => {
  const reader = await made(control, { name: 'reader', scopes: ['decisions:read', 'status:read'], days: 30 });
  expect(reader.token).toMatch(new RegExp(`^brk_${reader.id}_[\\w-]{43}$`));
  const ask = asking(control, reader.token);
  expect(codeOf(await ask('GET', '/v1/decisions'))).toBe(200);
  const head = { method: 'HEAD', headers: bearer(reader.token) };
  expect((await fetch(`${control.url}/v1/decisions`, head)).status).toBe(200);
  expect((await fetch(`${control.url}/v1/config`, head)).status).toBe(403);
  expect(codeOf(await ask('POST', '/v1/devices', { name: 'cam-1' }))).toBe('403 E_FORBIDDEN');
  expect((await ask('POST', '/v1/devices', { name: 'cam-1' })).body.detail).toMatch(
    /reader has .*; expected devices:admin/,
  );

  // The secret is in no list, no audit and no file of the ledger.
  const { items } = (await control.get('/v1/tokens')).body;
  expect(items).toContainEqual(expect.objectContaining({ id: reader.id, name: 'reader', created_by: 'root' }));
  const secret = reader.token.slice(-43);
  const kept = await Promise.all(
    ['ledger.db', 'ledger.db-wal'].map((name) =>
      readFile(join(control.folder, 'data', name), 'latin1').catch(() => ''),
    ),
  );
  expect(JSON.stringify([items, await auditOf(control), kept])).not.toContain(secret);

  // Wrong, cut, of another form, in the address, or as a cookie: none of them comes in.
  const wrong = `${reader.token.slice(0, -1)}${reader.token.endsWith('A') ? 'B' : 'A'}`;
  for (const headers of [
    bearer(wrong),
    bearer(reader.token.slice(0, -1)),
    bearer(secret),
    bearer('brk___'),
    { cookie: `token=${ROOT}` },
  ])
    expect((await fetch(`${control.url}/v1/status`, { headers })).status).toBe(401);
  expect((await fetch(`${control.url}/v1/status?access_token=${ROOT}&token=${reader.token}`)).status).toBe(401);

  // Nobody gives, or takes, what they have not.
  const maker = await made(control, { name: 'maker', scopes: ['tokens:admin', 'frames:write'], devices: ['cam-*'] });
  const making = asking(
    control,
    (await made(control, { name: 'lender', scopes: ['tokens:admin', 'frames:write'] })).token,
  );
  expect(codeOf(await making('POST', '/v1/tokens', { name: 'more', scopes: ['admin'] }))).toBe('403 E_FORBIDDEN');
  expect(codeOf(await making('POST', '/v1/tokens', { name: 'more', scopes: ['frames:write'] }))).toBe(201);
  expect(codeOf(await making('DELETE', `/v1/tokens/${reader.id}`))).toBe('403 E_FORBIDDEN');
  expect(codeOf(await making('POST', '/v1/tokens', { name: 'more', scopes: ['frames:write'] }))).toBe('409 E_CONFLICT');
  expect(codeOf(await asking(control, maker.token)('GET', '/v1/tokens'))).toBe('403 E_FORBIDDEN');
  for (const body of [
    { name: 'x', scopes: [] },
    { name: 'x', scopes: ['all'] },
    { name: 'X', scopes: ['admin'] },
    { name: 'x', scopes: ['admin'], days: 0 },
    { name: 'x', scopes: ['admin'], root: true },
  ])
    expect(codeOf(await control.post('/v1/tokens', body))).toBe('400 E_BAD_REQUEST');

  // Of many that ask for one name at once, one gets it; and a token that ends itself hears that it has.
  const many = await Promise.all(
    [1, 2, 3].map(() => control.post('/v1/tokens', { name: 'twin', scopes: ['tokens:admin'] })),
  );
  expect(many.map(codeOf).sort()).toEqual([201, '409 E_CONFLICT', '409 E_CONFLICT']);
  const twin = many.find(({ status }) => status === 201)?.body;
  const ending = asking(control, twin.token);
  expect((await ending('DELETE', `/v1/tokens/${twin.id}`)).body.revoked_at).toBeDefined();
  expect(codeOf(await ending('GET', '/v1/tokens'))).toBe('401 E_UNAUTHORISED');

  // Revoked: refused from now on, and what it has open is closed. Others go on.
  const stream = await fetch(`${control.url}/v1/events`, { headers: bearer(reader.token) });
  const ended = (async () => {
    for await (const _ of stream.body as unknown as AsyncIterable<Uint8Array>);
  })().catch(() => {});
  expect((await control.delete(`/v1/tokens/${reader.id}`)).body).toMatchObject({
    name: 'reader',
    revoked_at: expect.any(String),
  });
  await ended;
  expect((await ask('GET', '/v1/decisions')).body.detail).toContain('was revoked at');
  expect((await control.get('/v1/status')).status).toBe(200);
  expect((await control.get(`/v1/tokens/${reader.id}`)).body.revoked_at).toBeDefined();
});

test('a token that may ask models may not load or unload them, however the address is written', async () => {
  const ask = asking(control, (await made(control, { name: 'asker', scopes: ['models:run'] })).token);
  // Inference is away here: what is let through is answered by that.
  for (const path of ['/v2/models/pets/infer', '/v2/repository/index'])
    expect((await ask('POST', path, {})).status, path).toBe(503);
  for (const verb of ['load', 'unload', '%75nload', 'unload?x=1'])
    expect((await ask('POST', `/v2/repository/models/pets/${verb}`, {})).status, verb).toBe(403);
  const admin = asking(control, (await made(control, { name: 'keeper', scopes: ['models:admin'] })).token);
  expect((await admin('POST', '/v2/repository/models/pets/unload', {})).status).toBe(503);
  expect((await auditOf(control))[0]).toMatchObject({ who: { name: 'keeper' }, status: 503 });
});

test('a token for some devices sees and reaches no others: what is foreign is not there', async () => {
  await control.commit(
    outcome(1, { received_ms: Date.now() }),
    outcome(2, { device: 'cam-2', received_ms: Date.now() }),
  );
  const scopes = ['frames:write', 'decisions:read', 'status:read', 'commands:write', 'devices:admin'];
  const ask = asking(control, (await made(control, { name: 'yard', scopes, devices: ['cam-1', 'yard-*'] })).token);
  const of = (device: string) => `${device}.front.k3v9.${device === 'cam-1' ? 1 : 2}.0.pets`;
  const command = { name: 'open', args: {} };
  for (const [method, path, body] of [
    ['GET', '/v1/decisions?device=DEVICE'],
    ['GET', '/v1/decisions/ID'],
    ['GET', '/v1/decisions/ID/explain'],
    ['GET', '/v1/devices/DEVICE'],
    ['GET', '/v1/devices/DEVICE/state'],
    ['PATCH', '/v1/devices/DEVICE', { note: 'seen' }],
    ['POST', '/v1/devices/DEVICE/commands', command],
    ['POST', '/v1/devices/DEVICE/credentials'],
  ] as const) {
    const at = (device: string) => path.replace('DEVICE', device).replace('ID', of(device));
    expect((await ask(method, at('cam-1'), body)).status, path).toBeLessThan(300);
    expect(codeOf(await ask(method, at('cam-2'), body)), path).toBe('404 E_NOT_FOUND');
  }
  // Of no device or of all: closed.
  for (const path of [
    '/v1/decisions',
    '/v1/decisions?label=cat',
    '/v1/devices',
    '/v1/actions',
    '/v1/events',
    '/v1/status',
    '/v1/dead',
  ])
    expect(codeOf(await ask('GET', path)), path).toBe('403 E_FORBIDDEN');
  expect(codeOf(await ask('GET', '/v1/decisions?device=cam-1&device=cam-2'))).toMatch(/^40[034]/);
  expect(codeOf(await ask('POST', '/v1/devices', { name: 'yard-9' }))).toBe('403 E_FORBIDDEN');
  const frame = await fetch(`${control.url}/v1/frames/cam-2/front`, {
    method: 'POST',
    body: 'x',
    headers: { authorization: `Bearer ${ROOT}x` },
  });
  expect(frame.status).toBe(401);
  // Nothing that was refused has happened.
  expect((await control.get('/v1/devices/cam-2')).body.note).toBeUndefined();
  expect((await control.get('/v1/devices/cam-1')).body.note).toBe('seen');
});

test('what is nested deeper than any check can follow is refused by name', async () => {
  const body = `{"name":"open","args":{"deep":${'['.repeat(20_000)}${']'.repeat(20_000)}}}`;
  const headers = { ...bearer(ROOT), 'content-type': 'application/json' };
  const answer = await control.ask('/v1/devices/cam-1/commands', { method: 'POST', headers, body });
  expect(codeOf(answer)).toBe('422 E_DEPTH');
});

test('a name that every object of JavaScript has is a name like others, and opens no door', async () => {
  const name = 'constructor';
  const received_ms = Date.now();
  // As a device of a rule, the machine of its key is its own: before, nothing was committed any more.
  await control.commit(outcome(1, { device: name, received_ms }), outcome(1, { device: 'cam-8', received_ms }));
  expect((await control.get(`/v1/decisions?device=${name}`)).body.items).toHaveLength(1);
  expect(codeOf(await control.get(`/v1/targets/${name}/state`))).toBe('404 E_NOT_FOUND');
  const frame = {
    method: 'POST',
    body: Buffer.alloc(1 << 20),
    headers: { ...bearer(ROOT), 'content-type': 'image/png' },
  };
  expect(codeOf(await control.ask(`/v1/frames/cam-1/${name}`, frame))).toBe('404 E_STREAM_UNKNOWN');
});

test('each change is in the audit before it is answered: who, what, when, what came of it, and nothing secret', async () => {
  const helper = await made(control, { name: 'helper', scopes: ['devices:admin', 'commands:write'] });
  const ask = asking(control, helper.token);
  const added = await ask('POST', '/v1/devices', { name: 'cam-7', note: '<img src=x onerror=alert(1)>' });
  expect(added.status).toBe(201);
  await ask('POST', '/v1/devices/cam-7/commands', { name: 'open', args: { pin: 'secret-pin' } });
  await ask('POST', '/v1/devices', { name: 'cam-7' });
  await ask('PATCH', '/v1/models/cifar-net', { serve: 1 });
  await ask('GET', '/v1/devices/cam-7');
  const rows = await auditOf(control, '?limit=5');
  expect(
    rows.map(({ who, method, path, status, code }: Record<string, unknown>) => [who, method, path, status, code]),
  ).toMatchObject([
    [{ name: 'helper', id: helper.id, kind: 'token' }, 'PATCH', '/v1/models/cifar-net', 403, 'E_FORBIDDEN'],
    [{ name: 'helper' }, 'POST', '/v1/devices', 409, 'E_CONFLICT'],
    [{ name: 'helper' }, 'POST', '/v1/devices/cam-7/commands', 202, undefined],
    [{ name: 'helper' }, 'POST', '/v1/devices', 201, undefined],
    [{ name: 'root', kind: 'root' }, 'POST', '/v1/tokens', 201, undefined],
  ]);
  expect(rows[3].request).toBe(added.headers.get('x-request-id'));
  expect(rows[3].detail).toMatchObject({ device: 'cam-7' });
  expect(rows[4].detail).toMatchObject({
    name: 'helper',
    scopes: ['devices:admin', 'commands:write'],
    token: helper.id,
  });
  expect(JSON.stringify(rows)).not.toMatch(/secret-pin|onerror|brk_/);
  // Whose order it was stands with the order.
  const [order] = (await control.get('/v1/actions?target=cam-7')).body.items;
  expect(order.id).toBe(rows[2].detail.action);
  // A name that is markup is refused; a note that is one stays text, on no page.
  expect(codeOf(await ask('POST', '/v1/devices', { name: '<img onerror=x>' }))).toBe('400 E_BAD_REQUEST');
  expect((await control.get('/')).body).not.toContain('onerror');

  expect(
    (await auditOf(control, '?who=helper')).every(({ who }: { who: { name: string } }) => who.name === 'helper'),
  ).toBe(true);
  expect(await auditOf(control, '?path=/v1/devices/cam-7')).toHaveLength(1);
  const page = (await control.get('/v1/audit?limit=2')).body;
  expect(page.items).toHaveLength(2);
  expect((await control.get(`/v1/audit?limit=2&before=${page.next}`)).body.items[0].n).toBe(page.next - 1);
  expect((await control.get('/v1/audit/check')).body).toMatchObject({ intact: true });

  // Whoever may change nothing cannot fill it either.
  const nobody = asking(control, (await made(control, { name: 'nobody', scopes: ['status:read'] })).token);
  await Promise.all(Array.from({ length: 80 }, () => nobody('DELETE', '/v1/devices/cam-7')));
  expect(await auditOf(control, '?who=nobody&limit=500')).toHaveLength(60);
});

test('who lost every token comes back in with the files of the box, for a day, and stands in the audit', async () => {
  const file = join(control.folder, 'data', RECOVERY_FILE);
  const { id, token, sha256 } = issueToken();
  expect((await fetch(`${control.url}/v1/status`, { headers: bearer(token) })).status).toBe(401);
  await writeFile(file, '{"id": "short"}');
  await until('what is no token is thrown away', async () => (await stat(file).catch(() => undefined)) === undefined);
  await writeFile(file, JSON.stringify({ id, sha256, name: 'recovered' }));
  await until('it is taken', async () => (await fetch(`${control.url}/v1/tokens`, { headers: bearer(token) })).ok);
  expect(await stat(file).catch(() => undefined)).toBeUndefined();
  const [row] = await auditOf(control);
  expect(row).toMatchObject({ who: { kind: 'box' }, path: '/v1/tokens', detail: { token: id, scopes: ['admin'] } });
});

test('each token has its own allowance of requests; wrong ones share that of their address', async () => {
  const http = { host: '127.0.0.1', port: 0, token: ROOT, rateMax: 8 };
  await using control = await startControl({ token: ROOT, config: { http } });
  const one = asking(control, (await made(control, { name: 'one', scopes: ['status:read'] })).token);
  const answers = await Promise.all(Array.from({ length: 12 }, () => one('GET', '/v1/devices')));
  expect(answers.filter(({ status }) => status === 200)).toHaveLength(8);
  expect(answers.filter(({ status }) => status === 429)).toHaveLength(4);
  // Of the address: one request made the token.
  const wrong = await Promise.all(
    Array.from({ length: 12 }, () => fetch(`${control.url}/v1/status`, { headers: bearer('wrong') })),
  );
  expect(wrong.filter(({ status }) => status === 401)).toHaveLength(7);
  expect(wrong.filter(({ status }) => status === 429)).toHaveLength(5);
  expect(Number(wrong.at(-1)?.headers.get('retry-after'))).toBeGreaterThan(0);
});

test('with site.join: approve a device waits until a person approves it, and the gateways are told whom to take', async () => {
  const site =
    'version: 1\nsite: { name: plant-7, join: approve }\nstreams: { front: { format: image, pipelines: { pets: { model: cifar-net } } } }\n';
  await using control = await startControl({ files: { 'site.yaml': site } });
  const told = await control.listen('brink/fleet/config');
  const approved = () => JSON.parse(told.at(-1)?.payload.toString() ?? '{}').approved;
  await until('the configuration', () => told.length > 0);
  expect(approved()).toEqual([]);
  // A gateway turned it away: that is how it is known.
  const letter = {
    dead: true,
    device: 'cam-5',
    stream: 'front',
    error: { code: 'E_DEVICE', detail: 'waits' },
    sha256: 'a'.repeat(64),
    bytes: 3,
    received_ms: Date.now(),
  };
  await control.commit(letter);
  await until('it is in the list', async () => (await control.get('/v1/devices/cam-5')).body.waiting === true);
  await control.ask('/v1/devices/cam-5', {
    method: 'PATCH',
    body: '{"registered":true,"note":"gate"}',
    headers: { 'content-type': 'application/json' },
  });
  await until('the gateways hear of it', () => approved()?.includes('cam-5'));
  expect((await control.get('/v1/devices/cam-5')).body).toMatchObject({
    waiting: false,
    registered: true,
    note: 'gate',
  });
  await control.post('/v1/devices', { name: 'cam-6' });
  await until('a device that was added', () => approved()?.join() === 'cam-5,cam-6');
  await control.delete('/v1/devices/cam-5/credentials');
  await until('one that was revoked', () => approved()?.join() === 'cam-6');
  await control.delete('/v1/devices/cam-6');
  await until('one that was removed', () => approved()?.length === 0);
  expect((await control.get('/v1/devices/cam-6')).status).toBe(404);
  // An open site tells no list.
  await control.write('site.yaml', site.replace('approve', 'open'));
  await until('the new one', () => told.length > 0 && approved() === undefined);
});
