import { once } from 'node:events';
import { statfs } from 'node:fs/promises';
import { createServer, type IncomingMessage } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { BrinkError, ERROR_TABLE, isErrorCode, type Outcome, SCHEMA_NAMES } from '@brink/protocol';
import type { LinkHandlers } from '@brink/runtime';
import { describe, expect, test } from 'vitest';
import { type Control, expectProblem, outcome, startControl, until } from './harness.ts';

const now = (seq: number, fields: Partial<Outcome> = {}) => outcome(seq, { received_ms: Date.now(), ...fields });
const idOf = (seq: number) => `cam-1.front.k3v9.${seq}.0.pets`;

describe('a token', () => {
  test('is asked for everywhere but on pages that say nothing of the site', async () => {
    await using control = await startControl({ token: 'secret-of-the-site' });
    const bare = (path: string, headers = {}) => fetch(control.url + path, { headers });
    for (const path of ['/v1/status', '/v1/decisions', '/v1/events', '/v1/nothing', '/v2/models', '/elsewhere']) {
      const refused = await bare(path);
      expect(refused.status, path).toBe(401);
      expect(refused.headers.get('www-authenticate')).toContain('Bearer');
      expect(await refused.text()).toContain('E_UNAUTHORISED');
    }
    expect((await bare('/v1/status?token=secret-of-the-site')).status).toBe(401);
    expect((await bare('/v1/status', { authorization: 'Bearer secret-of-the-sitf' })).status).toBe(401);
    expect((await control.get('/v1/status')).status).toBe(200);
    for (const path of ['/', '/style.css', '/docs/', '/docs/json', '/docs/errors', '/schemas/v1/config.json']) {
      expect((await bare(path)).status, path).toBe(200);
    }
    expect(await (await bare('/')).text()).not.toContain('plant-7');
  });

  test('is needed to listen beyond loopback', async () => {
    const http = { host: '0.0.0.0', port: 0, token: undefined, rateMax: 100 };
    await expect(startControl({ config: { http } })).rejects.toThrow(/E_SETTING.*BRINK_HTTP_TOKEN_FILE/);
  });

  test('is not needed on loopback, but pages of other sites are kept out', async () => {
    await using control = await startControl();
    expect((await control.get('/v1/status')).status).toBe(200);
    expect((await control.ask('/v1/status', { headers: { origin: 'http://evil.example' } })).body.code).toBe(
      'E_FORBIDDEN',
    );
    const rebound = await raw(control, 'GET /v1/status HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n');
    expect(rebound).toMatch(/^HTTP\/1.1 403/);
    // A picture or a script of a page elsewhere, also on another port of this machine: no Origin comes with it. A link may be followed.
    const drawn = (site: string, mode: string) =>
      raw(
        control,
        `GET /v1/status HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: ${site}\r\nSec-Fetch-Mode: ${mode}\r\nConnection: close\r\n\r\n`,
      );
    for (const site of ['cross-site', 'same-site']) {
      expect(await drawn(site, 'no-cors')).toMatch(/^HTTP\/1.1 403/);
      expect(await drawn(site, 'navigate')).toMatch(/^HTTP\/1.1 200/);
    }
    expect(await drawn('same-origin', 'cors')).toMatch(/^HTTP\/1.1 200/);
  });
});

/** Bytes in, bytes out. */
async function raw(control: Control, text: string): Promise<string> {
  const socket = connect(control.service.addresses.http.port, '127.0.0.1');
  let answer = '';
  socket.on('data', (chunk) => {
    answer += chunk;
  });
  socket.on('error', () => {});
  socket.write(text);
  await once(socket, 'close');
  return answer;
}

describe('a request that is wrong', () => {
  test('is answered with a problem document, its code and the id of the request', async () => {
    await using control = await startControl();
    const json = { 'content-type': 'application/json' };
    const send = (method: string, path: string, body?: string, headers: Record<string, string> = json) =>
      control.ask(path, { method, headers, ...(body === undefined ? {} : { body }) });
    const table: [ask: () => Promise<{ status: number; body: { code: string } }>, status: number, code: string][] = [
      [() => control.get('/v1/nothing'), 404, 'E_NOT_FOUND'],
      [() => control.get('/v1/decisions/none'), 400, 'E_BAD_REQUEST'],
      [() => control.get(`/v1/decisions/${idOf(9)}`), 404, 'E_NOT_FOUND'],
      [() => control.get('/v1/decisions?limit=501'), 400, 'E_BAD_REQUEST'],
      [() => control.get('/v1/decisions?limit=1.0'), 400, 'E_BAD_REQUEST'],
      [() => control.get('/v1/decisions?limit=1&limit=2'), 400, 'E_BAD_REQUEST'],
      [() => control.get('/v1/decisions?devise=cam-1'), 400, 'E_BAD_REQUEST'],
      [() => control.get('/v1/decisions?since=yesterday'), 400, 'E_BAD_REQUEST'],
      [() => control.get('/v1/actions/none/explain'), 404, 'E_NOT_FOUND'],
      [() => send('POST', '/v1/actions/none/retry', undefined, {}), 404, 'E_NOT_FOUND'],
      [() => control.get('/v1/devices/none'), 404, 'E_NOT_FOUND'],
      [() => control.get('/v1/devices/Not_A_Name'), 400, 'E_BAD_REQUEST'],
      [() => control.get('/v1/rules/none/state'), 404, 'E_NOT_FOUND'],
      [() => control.get('/schemas/v1/none.json'), 404, 'E_NOT_FOUND'],
      [() => control.get('/%E0%A4%A'), 400, 'E_BAD_REQUEST'],
      [() => send('PUT', '/v1/decisions', '{}'), 405, 'E_METHOD'],
      [() => send('DELETE', '/v1/status', undefined, {}), 405, 'E_METHOD'],
      [() => send('POST', '/v1/devices', '{"name":'), 400, 'E_BAD_REQUEST'],
      [() => send('POST', '/v1/devices', ''), 400, 'E_BAD_REQUEST'],
      [() => send('POST', '/v1/devices', '{"name":"cam-9","colour":"red"}'), 400, 'E_BAD_REQUEST'],
      [() => send('POST', '/v1/devices', '{"name":7}'), 400, 'E_BAD_REQUEST'],
      [() => control.post('/v1/devices', { name: '<img src=x onerror=alert(1)>' }), 400, 'E_BAD_REQUEST'],
      [() => send('POST', '/v1/frames/%3Cimg%20onerror%3D1%3E/front', 'x', {}), 400, 'E_BAD_REQUEST'],
      [() => control.get('/v1/decisions?device=%3Cscript%3E'), 400, 'E_BAD_REQUEST'],
      [() => send('POST', '/v1/devices', '{"name":"fleet"}'), 400, 'E_NAME'],
      [() => send('POST', '/v1/devices', '{"__proto__":{"name":"cam-9"}}'), 400, 'E_BAD_REQUEST'],
      [() => send('POST', '/v1/devices', '<name/>', { 'content-type': 'text/xml' }), 415, 'E_MEDIA_TYPE'],
      [() => send('POST', '/v1/devices', '{}', { 'content-type': 'application/json\ta' }), 415, 'E_MEDIA_TYPE'],
      [() => send('POST', '/v1/devices', `{"name":"${'a'.repeat(2_000_000)}"}`), 413, 'E_TOO_LARGE'],
      [() => send('POST', '/v1/devices/cam-1/commands', '{"name":"open","expires_ms":"10"}'), 400, 'E_BAD_REQUEST'],
      [() => send('POST', '/v1/frames/cam-1/none', 'x', {}), 404, 'E_STREAM_UNKNOWN'],
      [() => send('POST', '/v1/frames/cam-1/front', undefined, {}), 400, 'E_EMPTY'],
      [() => send('POST', '/v1/frames/cam-1/front', 'x'.repeat(5000), {}), 413, 'E_TOO_LARGE'],
      [() => send('POST', '/v1/frames/cam-1/front?wait_ms=-1', 'x', {}), 400, 'E_BAD_REQUEST'],
      [() => send('POST', '/v1/frames/cam+1/front', 'x', {}), 400, 'E_BAD_REQUEST'],
    ];
    for (const [ask, status, code] of table) {
      const { status: found, body } = await ask();
      expect([found, body.code, code], ask.toString()).toEqual([status, code, code]);
    }
    expect((await control.get('/v1/status')).status).toBe(200);
  });

  test('says where the operations port is', async () => {
    await using control = await startControl();
    for (const path of ['/metrics', '/readyz?verbose', '/livez']) {
      const { status, body } = await control.get(path);
      expect([status, body.detail]).toEqual([
        404,
        `${path.split('?')[0]} is on the operations port: gateway 9101, inference 9102, control 9103`,
      ]);
    }
  });

  test('names each field that is wrong', async () => {
    await using control = await startControl();
    const { body } = await control.post('/v1/devices', { name: 'Cam', colour: 'red' });
    expect(body.errors.map(({ path }: { path: string }) => path).sort()).toEqual(['body/colour', 'body/name']);
  });

  test('says which methods there are', async () => {
    await using control = await startControl();
    const { headers } = await control.ask('/v1/devices', { method: 'PATCH' });
    expect(headers.get('allow')).toBe('GET, HEAD, POST');
    for (const method of ['QUERY', 'PROPFIND', 'OPTIONS']) {
      const refused = await control.ask(`/v1/decisions/${idOf(1)}/explain`, { method });
      expect([refused.status, refused.headers.get('allow')], method).toEqual([405, 'GET, HEAD']);
      expect((await control.ask('/v1/nothing', { method })).status, method).toBe(404);
    }
    // fetch sends no TRACE.
    const trace = 'TRACE /v1/devices HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n';
    expect(await raw(control, trace)).toMatch(/^HTTP\/1.1 405/);
  });

  test('is answered so even where it is no HTTP', async () => {
    await using control = await startControl();
    const problem = (answer: string) => {
      const [head = '', body = ''] = answer.split('\r\n\r\n');
      expect(head).toContain('application/problem+json');
      const parsed = JSON.parse(body);
      expect(isErrorCode(parsed.code)).toBe(true);
      expect(head).toContain(parsed.instance);
      return [head.split('\r\n')[0]?.slice(9, 12), parsed.code];
    };
    const headers = Array.from({ length: 2000 }, (_, i) => `x-${i}: 1234567890`).join('\r\n');
    expect(problem(await raw(control, `GET / HTTP/1.1\r\n${headers}\r\n\r\n`))).toEqual(['431', 'E_TOO_LARGE']);
    expect(problem(await raw(control, 'nonsense\r\n\r\n'))).toEqual(['400', 'E_BAD_REQUEST']);
  });

  test('is given up where it does not arrive', async () => {
    const http = { host: '127.0.0.1', port: 0, token: undefined, rateMax: 100, requestMsMax: 300 };
    await using control = await startControl({ config: { http } });
    // Refused already: that the rest of it never comes is nobody's business any more.
    const large = { name: 'cam-1', note: 'n'.repeat(2 << 20) };
    expect((await control.post('/v1/devices', large)).body.code).toBe('E_TOO_LARGE');
    const head = 'POST /v1/frames/cam-1/front HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nten bytes.';
    const answer = await raw(control, head);
    expect(answer).toMatch(/^HTTP\/1.1 408/);
    expect(answer).toContain('"code":"E_TIMEOUT"');

    // A model is larger: it may take longer.
    const upload = connect(control.service.addresses.http.port, '127.0.0.1').setEncoding('utf8');
    let said = '';
    upload.on('data', (text) => {
      said += text;
    });
    const typed = 'Content-Type: application/x-tar\r\nContent-Length: 1024\r\nConnection: close';
    upload.write(`POST /v1/models/cats/versions HTTP/1.1\r\nHost: localhost\r\n${typed}\r\n\r\n`);
    upload.write(Buffer.alloc(1000));
    expect(await raw(control, head)).toMatch(/^HTTP\/1.1 408/);
    upload.write(Buffer.alloc(24));
    await once(upload, 'close');
    expect(said).toContain('"code":"E_ARCHIVE"');
  });

  test('is counted when there are too many', async () => {
    const http = { host: '127.0.0.1', port: 0, token: undefined, rateMax: 3 };
    await using control = await startControl({ config: { http } });
    for (let i = 0; i < 3; i++) expect((await control.get('/v1/devices')).status).toBe(200);
    const refused = await control.get('/v1/devices');
    expect([refused.status, refused.body.code]).toEqual([429, 'E_RATE']);
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
  });
});

test('answers carry headers that keep browsers strict', async () => {
  await using control = await startControl();
  const { headers } = await control.get('/');
  expect(headers.get('content-security-policy')).toContain("default-src 'none'");
  expect(headers.get('content-security-policy')).not.toContain('unsafe-inline');
  expect(headers.get('x-content-type-options')).toBe('nosniff');
  expect(headers.get('referrer-policy')).toBe('no-referrer');
});

test('pages, documents and schemas are there', async () => {
  await using control = await startControl({ config: { publicUrl: 'mqtt://127.0.0.1:1993' } });
  const home = (await control.get('/')).body;
  expect(home).toContain('mosquitto_pub -h 127.0.0.1 -p 1993 -t brink/cam-9/up/frames/front');
  const told = (await control.post('/v1/devices/cam-9/credentials')).body;
  expect(told).toMatchObject({ needed: false, url: 'mqtt://127.0.0.1:1993' });
  // The disk is as full here as in the metric that decides, and in `df`.
  const { free_bytes: free, total_bytes: total } = (await control.get('/v1/status')).body.disk;
  const { blocks, bfree, bavail } = await statfs(control.folder);
  expect(1 - free / total).toBeCloseTo((blocks - bfree) / (blocks - bfree + bavail), 2);
  expect(home).toContain('plant-7');
  expect(home).not.toMatch(/<script|style=/);
  const errors = (await control.get('/docs/errors')).body;
  for (const code of Object.keys(ERROR_TABLE)) expect(errors).toContain(`id="${code.toLowerCase()}"`);
  for (const name of SCHEMA_NAMES)
    expect((await control.get(`/schemas/v1/${name}.json`)).body).toHaveProperty('$schema');
  const { body: openapi } = await control.get('/docs/json');
  expect(openapi.openapi).toBe('3.1.0');
  expect(Object.keys(openapi.paths)).toEqual(
    expect.arrayContaining(['/v1/status', '/v1/frames/{device}/{stream}', '/v1/events']),
  );
  const refs = [...JSON.stringify(openapi).matchAll(/"\$ref":"#\/components\/schemas\/([^"]+)"/g)].map(
    ([, name]) => name,
  );
  for (const name of refs) expect(openapi.components.schemas).toHaveProperty([name ?? '']);
});

describe('a frame over HTTP', () => {
  const posted = (control: () => Control, commit: boolean, fate: string): LinkHandlers => ({
    async postFrame({ device, stream, contentType, waitMs }, payloads) {
      expect([device, stream, payloads[0]?.toString()]).toEqual(['cam-1', 'front', 'picture']);
      if (contentType === 'image/gif') throw new BrinkError('E_IMAGE_TYPE', 'GIF; expected JPEG, PNG or WebP');
      if (commit) await control().commit(now(1));
      const units = [{ id: idOf(1), fate: waitMs === 0 ? 'pending' : fate }];
      return { body: { case: 'postedFrame', value: { boot: 'k3v9', seq: 1n, units } } };
    },
  });
  const post = (control: Control, query = '', type?: string) =>
    control.ask(`/v1/frames/cam-1/front${query}`, {
      method: 'POST',
      body: Buffer.from('picture'),
      ...(type === undefined ? {} : { headers: { 'content-type': type } }),
    });

  test('is answered with its decisions after COMMIT', async () => {
    let control: Control | undefined;
    await using started = await startControl({ handlers: posted(() => control as Control, true, 'committed') });
    control = started;
    const { status, body } = await post(control, '?wait_ms=2000');
    expect(status).toBe(200);
    expect(body).toMatchObject({
      boot: 'k3v9',
      seq: 1,
      items: [{ id: idOf(1), label: 'cat', n: 1 }],
      pending: [],
      dropped: [],
    });
  });

  test('is answered 202 with ids where nobody waits, or not long enough', async () => {
    await using control = await startControl({ handlers: posted(() => control, false, 'pending') });
    for (const query of ['', '?wait_ms=1']) {
      const { status, body } = await post(control, query);
      expect([status, body.pending, body.items]).toEqual([202, [idOf(1)], []]);
    }
  });

  test('that is refused is a problem with its code and status', async () => {
    await using control = await startControl({ handlers: posted(() => control, false, 'pending') });
    const refused = await post(control, '?wait_ms=100', 'image/gif');
    expect([refused.status, refused.body.code]).toEqual([415, 'E_IMAGE_TYPE']);
  });

  test('that came damaged, and as a form, is told what curl -d does to files; what is on record is not changed', async () => {
    const error = { code: 'E_IMAGE_CORRUPT', detail: 'no end of image' } as const;
    const handlers: LinkHandlers = {
      async postFrame() {
        await control.commit(now(1, { outcome: 'dead', result: undefined, error }));
        const units = [{ id: idOf(1), fate: 'committed' }];
        return { body: { case: 'postedFrame', value: { boot: 'k3v9', seq: 1n, units } } };
      },
    };
    await using control = await startControl({ handlers });
    const { body } = await post(control, '?wait_ms=2000', 'application/x-www-form-urlencoded');
    expect(body.items[0].error.detail).toMatch(/^no end of image; .*--data-binary @file$/);
    expect((await control.get(`/v1/decisions/${idOf(1)}`)).body.error).toEqual(error);
  });

  test('that was dropped is a problem that says so', async () => {
    await using control = await startControl({ handlers: posted(() => control, false, 'dropped') });
    const dropped = await post(control, '?wait_ms=100');
    expect([dropped.status, dropped.body.code]).toEqual([503, 'E_DROPPED']);
  });

  test('waits in memory with others up to a limit, and what it held is free again when its client has gone', async () => {
    const http = { host: '127.0.0.1', port: 0, token: undefined, rateMax: 100, heldBytesMax: 5000 };
    await using control = await startControl({ config: { http } });
    const { port } = control.service.addresses.http;
    const slow = connect(port, '127.0.0.1');
    slow.on('error', () => {});
    slow.write('POST /v1/frames/cam-1/front HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4000\r\n\r\n');
    slow.write(Buffer.alloc(3000));
    const send = () => control.ask('/v1/frames/cam-1/front', { method: 'POST', body: Buffer.alloc(3000) });
    const seen = async (wanted: string) => (await send()).body.code === wanted;
    await until('the second does not fit', () => seen('E_BUSY'));
    // As JSON it counts as well.
    const long = { name: 'cam-1', note: 'n'.repeat(3000) };
    expect((await control.post('/v1/devices', long)).body.code).toBe('E_BUSY');
    slow.destroy();
    await until('there is room', () => seen('E_UNSUPPORTED'));
  });

  test('that is too large is told so, also where it is much too large', async () => {
    await using control = await startControl();
    const frame = { method: 'POST', body: Buffer.alloc(4 << 20) };
    expect((await control.ask('/v1/frames/cam-1/front', frame)).body.code).toBe('E_TOO_LARGE');
  });

  test('without a gateway is a problem, not a wait', async () => {
    await using control = await startControl();
    await control.gateway.stop();
    const refused = await until('the link is down', async () => {
      const answer = await post(control, '?wait_ms=5000');
      return answer.body.code === 'E_UNAVAILABLE' && answer;
    });
    expect(refused.status).toBe(503);
  });
});

describe('events', () => {
  test('after a reconnect go on from the last one, without gap or repetition', async () => {
    await using control = await startControl();
    await control.commit(...Array.from({ length: 20 }, (_, i) => now(i + 1, { pipeline: 'article' })));
    const again = await control.events('/v1/events', 15);
    await control.commit(...Array.from({ length: 5 }, (_, i) => now(i + 21, { pipeline: 'article' })));
    await until('all ten', () => again.seen.length >= 10);
    expect(again.seen.map(({ id }) => id)).toEqual([16, 17, 18, 19, 20, 21, 22, 23, 24, 25]);
    again.close();
    const filtered = await control.events('/v1/events?after=0&pipeline=pets');
    await control.commit(now(100));
    await until('the one', () => filtered.seen.some(({ event }) => event === 'decision'));
    expect(filtered.seen.filter(({ event }) => event === 'decision').map(({ id }) => id)).toEqual([26]);
    filtered.close();
  });

  test('for a client that does not read are dropped beyond its megabyte, it is told, and the stream goes on', async () => {
    await using control = await startControl();
    const socket = connect({ port: control.service.addresses.http.port, host: '127.0.0.1' });
    socket.on('error', () => {});
    socket.write('GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n');
    await once(socket, 'data');
    socket.pause();
    const classes = Array.from({ length: 100 }, (_, i) => ({ label: `a label that is rather long ${i}`, score: 0.5 }));
    const result = { task: 'classification', label: 'dog', score: 0.5, classes } as const;
    const metrics = async () => (await fetch(`http://127.0.0.1:${control.service.addresses.ops.port}/metrics`)).text();
    let seq = 0;
    await until('it lags', async () => {
      await control.commit(...Array.from({ length: 100 }, () => now(++seq, { pipeline: 'article', result })));
      return /events_lagged_total\{[^}]*\} 1/.test(await metrics());
    });
    let text = '';
    socket.on('data', (chunk) => {
      text += chunk;
    });
    socket.resume();
    await until('the event lagged', async () => {
      await control.commit(now(++seq, { pipeline: 'article' }));
      return text.includes('event: lagged');
    });
    const { missed, last } = JSON.parse(/event: lagged\ndata: (.*)/.exec(text)?.[1] ?? '{}');
    expect(missed).toBeGreaterThan(0);
    expect(text).toContain(`id: ${last}\n`);
    expect(text.slice(text.indexOf('event: lagged'))).toContain('event: decision');
    socket.destroy();
  });
});

test('/v2 is passed on to inference as it is, without our token, and answers in its form when it is away', async () => {
  const seen: { method: string | undefined; url: string | undefined; body: string; token: string | undefined }[] = [];
  const inference = createServer((request: IncomingMessage, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const { method, url, headers } = request;
      seen.push({ method, url, body: Buffer.concat(chunks).toString(), token: headers.authorization });
      response.writeHead(url?.includes('none') ? 404 : 200, {
        'content-type': 'application/json',
        'x-from': 'inference',
      });
      response.end('{"answer":1}');
    });
  });
  inference.listen(0, '127.0.0.1');
  await once(inference, 'listening');
  const url = `http://127.0.0.1:${(inference.address() as AddressInfo).port}`;
  await using control = await startControl({ token: 'ours', config: { inference: { url, token: 'theirs' } } });
  const headers = { 'content-type': 'application/octet-stream', 'inference-header-content-length': '2' };
  const answer = await control.ask('/v2/models/cifar-net/infer?x=1', { method: 'POST', body: '{}bytes', headers });
  expect([answer.status, answer.body, answer.headers.get('x-from')]).toEqual([200, { answer: 1 }, 'inference']);
  expect((await control.get('/v2/models/none')).status).toBe(404);
  expect((await control.get('/v2')).status).toBe(200);
  expect(seen).toEqual([
    { method: 'POST', url: '/v2/models/cifar-net/infer?x=1', body: '{}bytes', token: 'Bearer theirs' },
    { method: 'GET', url: '/v2/models/none', body: '', token: 'Bearer theirs' },
    { method: 'GET', url: '/v2', body: '', token: 'Bearer theirs' },
  ]);
  inference.closeAllConnections();
  await new Promise((resolve) => inference.close(resolve));
  const away = await control.get('/v2/models/cifar-net');
  expect([away.status, Object.keys(away.body)]).toEqual([503, ['error']]);
});

test('a second control on the same data refuses to start', async () => {
  await using control = await startControl();
  await expect(startControl({ folder: control.folder })).rejects.toMatchObject({ code: 'E_LOCKED' });
  expect((await control.get('/v1/status')).status).toBe(200);
});

test('every refusal of a route that does not exist is still a problem', async () => {
  await using control = await startControl();
  expectProblem(await control.ask('/', { method: 'POST' }));
});
