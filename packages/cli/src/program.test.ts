import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { run } from './program.ts';

const root = resolve(import.meta.dirname, '../../..');

/** Runs a command line and collects what it prints. */
async function brink(argv: string[], env: Record<string, string> = {}) {
  const out: string[] = [];
  const err: string[] = [];
  const terminal = { line: (text: string) => out.push(text), note: (text: string) => err.push(text), colour: false };
  const code = await run(argv, { terminal, env, signal: new AbortController().signal, root });
  return { code, out: out.join('\n'), err: err.join('\n') };
}

let server: Server | undefined;
afterEach(() => {
  server?.close();
  server = undefined;
});

/** Control's entrance, as far as a test needs it: answers by path, and what was asked. */
async function entrance(answers: Record<string, { status?: number; body?: unknown }>) {
  const asked: { method: string; url: string; authorization: string | undefined; body: string }[] = [];
  server = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += String(chunk);
    const { method = '', url = '', headers } = request;
    asked.push({ method, url, authorization: headers.authorization, body });
    const answer = answers[`${method} ${url.split('?')[0]}`] ?? { status: 404, body: {} };
    response.writeHead(answer.status ?? 200, { 'content-type': 'application/json' });
    response.end(answer.body === undefined ? '' : JSON.stringify(answer.body));
  });
  const listening = server.listen(0, '127.0.0.1');
  await once(listening, 'listening');
  return { asked, env: { BRINK_URL: `http://127.0.0.1:${(listening.address() as AddressInfo).port}` } };
}

const VERBS = [
  ['up'],
  ['send'],
  ['watch'],
  ['status'],
  ['doctor'],
  ['completion'],
  ['devices'],
  ['devices', 'list'],
  ['devices', 'add'],
  ['devices', 'approve'],
  ['devices', 'rotate'],
  ['devices', 'show'],
  ['devices', 'revoke'],
  ['models'],
  ['models', 'list'],
  ['models', 'check'],
  ['models', 'add'],
  ['models', 'remove'],
  ['models', 'serve'],
  ['models', 'rollback'],
  ['rules'],
  ['rules', 'list'],
  ['rules', 'state'],
  ['rules', 'test'],
  ['rules', 'arm'],
  ['rules', 'disarm'],
  ['rules', 'snooze'],
  ['rules', 'fire'],
  ['decisions'],
  ['explain'],
  ['dead'],
  ['dead', 'list'],
  ['dead', 'retry'],
  ['actions'],
  ['actions', 'list'],
  ['actions', 'cancel'],
  ['discovered'],
  ['check'],
  ['config'],
  ['config', 'diff'],
  ['config', 'apply'],
  ['config', 'revisions'],
  ['config', 'rollback'],
  ['schema'],
  ['token'],
  ['tokens'],
  ['tokens', 'list'],
  ['tokens', 'add'],
  ['tokens', 'revoke'],
  ['tokens', 'recover'],
  ['audit'],
  ['init'],
];

test.each(VERBS.map((verb) => [verb.join(' '), verb] as const))(
  'the help of %s ends with an example',
  async (_, verb) => {
    const { code, out } = await brink([...verb, '--help']);
    expect(code).toBe(0);
    expect(out).toMatch(new RegExp(`Examples:\\n[^]*brink ${verb.join(' ')}`));
  },
);

test.each([
  [['nope']],
  [['explain']],
  [['devices', 'add', 'Cam+9']],
  [['decisions', '--limit', '501']],
  [['dead', '--code', 'image']],
  [['dead', 'retry', '--state', 'acked']],
  [['actions', '--state', 'maybe']],
  [['actions', 'cancel']],
  [['decisions', '--outcome', 'maybe']],
  [['up', '--port', '70000']],
  [['models', 'add']],
  [['models', 'add', 'x.onnx', '--version', '0']],
  [['models', 'add', 'x.onnx', '--name', 'No']],
  [['models', 'remove', 'cats@x']],
  [['models', 'serve', 'cats']],
  [['models', 'serve', 'cats', 'two']],
  [['models', 'rollback', '../cats']],
  [['config', 'rollback', 'yesterday']],
  [['status', '--nope']],
  [['completion']],
  [['completion', 'tcsh']],
  [['decisions', '--by', '90s']],
  [['watch', '--outcome', 'maybe']],
  [['rules', 'snooze', 'night', 'soon']],
  [['rules', 'state', 'Night']],
  [['rules', 'test', '--since', 'yesterday']],
  [['rules', 'fire', 'night', '--sample', 'cam-1']],
  [['tokens', 'add', 'me']],
  [['tokens', 'add', 'Me', '--scope', 'admin']],
  [['tokens', 'add', 'me', '--scope', 'everything']],
  [['tokens', 'add', 'me', '--scope', 'admin', '--days', '9999']],
])('%j is bad usage: exit 2 and a line that says why', async (argv) => {
  const { code, err } = await brink(argv);
  expect(code).toBe(2);
  expect(err).toMatch(/^error: /);
});

test('--version prints the version of the project', async () => {
  const { code, out } = await brink(['--version']);
  expect(code).toBe(0);
  expect(out).toMatch(/^\d+\.\d+\.\d+$/);
});

test('an entrance that does not answer is exit 1, and the line says what to start', async () => {
  const { code, err } = await brink(['status', '--url', 'http://127.0.0.1:1']);
  expect(code).toBe(1);
  expect(err).toMatch(/^brink status: E_UNAVAILABLE: nothing answers at http:\/\/127\.0\.0\.1:1; start Brink/);
});

test('dead retry asks page by page until there are no more, and says how many are sent again', async () => {
  const { asked, env } = await entrance({
    'POST /v1/actions/retry': { body: { retried: 2, ids: ['a~r~0', 'b~r~0'] } },
  });
  const { code, out } = await brink(['dead', 'retry', '--target', 'duty'], env);
  expect([code, out]).toEqual([0, '2 actions are sent again']);
  expect(JSON.parse(asked[0]?.body ?? '')).toEqual({ state: 'dead', target: 'duty' });
});

test('with --json a failure is JSON on stdout', async () => {
  const { code, out } = await brink(['devices', 'list', '--json', '--url', 'http://127.0.0.1:1']);
  expect(code).toBe(1);
  expect(JSON.parse(out)).toMatchObject({ error: { code: 'E_UNAVAILABLE' } });
});

test('a problem document becomes its code and detail', async () => {
  const body = { type: 'x', title: 'x', status: 404, detail: 'no decision "a.b"', code: 'E_NOT_FOUND' };
  const { env } = await entrance({ 'GET /v1/decisions/a.b/explain': { status: 404, body } });
  expect((await brink(['explain', 'null'], env)).err).toMatch(/E_NOT_FOUND: "null" is no id: no action yet\?/);
  const { code, err } = await brink(['explain', 'a.b'], env);
  expect(code).toBe(1);
  expect(err).toBe('brink explain: E_NOT_FOUND: no decision "a.b"');
});

test('devices add registers, makes credentials and prints a line that mosquitto_pub takes', async () => {
  const { asked, env } = await entrance({
    'POST /v1/devices': { status: 201, body: { name: 'cam-9' } },
    'POST /v1/devices/cam-9/credentials': {
      status: 201,
      body: { needed: true, device: 'cam-9', client_id: 'cam-9', username: 'cam-9', password: 'brk_secret' },
    },
    'GET /v1/streams': {
      body: {
        items: [
          { name: 'front', devices: 'cam-*' },
          { name: 'pump', devices: 'pump-*' },
        ],
      },
    },
  });
  const { code, out } = await brink(['devices', 'add', 'cam-9'], {
    ...env,
    BRINK_MQTT_PUBLIC_URL: 'mqtt://box.local:1999',
  });
  expect(code).toBe(0);
  expect(out).toContain(
    "mosquitto_pub -h box.local -p 1999 -i cam-9 -u cam-9 -P 'brk_secret' -t brink/cam-9/up/frames/front -f picture.jpg",
  );
  expect(out).toContain('streams that take this device: front)');
  expect(asked.map(({ method, url }) => `${method} ${url}`)).toEqual([
    'POST /v1/devices',
    'POST /v1/devices/cam-9/credentials',
    'GET /v1/streams',
  ]);
});

test('where no credentials are needed, devices add prints a line without any', async () => {
  const { env } = await entrance({
    'POST /v1/devices': { status: 201, body: { name: 'cam-9' } },
    'POST /v1/devices/cam-9/credentials': { body: { needed: false, device: 'cam-9', detail: 'none is needed here' } },
    'GET /v1/devices/cam-8': { body: { name: 'cam-8' } },
    'POST /v1/devices/cam-8/credentials': {
      body: { needed: false, device: 'cam-8', detail: 'none is needed here', url: 'mqtt://127.0.0.1:1993' },
    },
    'GET /v1/streams': { body: { items: [] } },
  });
  const { out } = await brink(['devices', 'add', 'cam-9'], env);
  expect(out).toContain('cam-9: none is needed here');
  expect(out).toContain('mosquitto_pub -h 127.0.0.1 -p 1883 -t brink/cam-9/up/frames/front');
  expect((await brink(['devices', 'rotate', 'cam-8'], env)).out).toContain('mosquitto_pub -h 127.0.0.1 -p 1993 -t');
});

test('rotate makes no credentials for a device that nobody knows', async () => {
  const { asked, env } = await entrance({
    'POST /v1/devices/cam-88/credentials': { body: { needed: false, device: 'cam-88', detail: 'none is needed here' } },
    'GET /v1/streams': { body: { items: [] } },
  });
  expect((await brink(['devices', 'rotate', 'cam-88'], env)).code).toBe(1);
  expect(asked.map(({ method }) => method)).toEqual(['GET']);
});

test('a word that a verb does not have is named, also where the verb does something without one', async () => {
  for (const verb of ['rules', 'devices', 'tokens', 'dead', 'actions', 'models', 'config']) {
    const { code, err } = await brink([verb, 'remember', 'me']);
    expect([code, err.split('\n')[0]]).toEqual([2, "error: unknown command 'remember'"]);
  }
});

test('the audit takes spans of time, as every other list does', async () => {
  const { asked, env } = await entrance({ 'GET /v1/audit': { body: { items: [] } } });
  await brink(['audit', '--since', '24h'], env);
  expect(asked[0]?.url).toMatch(/since=\d{4}-\d\d-\d\dT/);
});

test('decisions passes its filters on, and none found is exit 1', async () => {
  const { asked, env } = await entrance({ 'GET /v1/decisions': { body: { items: [], next: null } } });
  const { code, out } = await brink(['decisions', '--label', 'cat', '--score-min', '0.6', '--limit', '3'], env);
  expect([code, out]).toEqual([1, 'no decisions']);
  expect(asked[0]?.url).toBe('/v1/decisions?label=cat&score_min=0.6&limit=3');
});

const letter = {
  id: '1',
  device: 'cam-9',
  stream: 'front',
  error: { code: 'E_IMAGE_TYPE', detail: 'looks like text' },
  sha256: 'f'.repeat(64),
  bytes: 12,
  received_at: '2026-11-22T16:00:00.000Z',
};

test('dead lists what was refused and why, and none is exit 1', async () => {
  const { asked, env } = await entrance({ 'GET /v1/dead': { body: { items: [letter] } } });
  const { code, out } = await brink(['dead', '--device', 'cam-9', '--code', 'E_IMAGE_TYPE', '--limit', '3'], env);
  expect([code, out]).toEqual([
    0,
    expect.stringMatching(/ cam-9\/front {2}E_IMAGE_TYPE: looks like text {2}12 bytes$/),
  ]);
  expect(asked[0]?.url).toBe('/v1/dead?device=cam-9&code=E_IMAGE_TYPE&limit=3');
  expect(JSON.parse((await brink(['dead', 'list', '--json'], env)).out)).toEqual({ items: [letter] });
  server?.close();
  const none = await entrance({ 'GET /v1/dead': { body: { items: [] } } });
  expect(await brink(['dead'], none.env)).toMatchObject({ code: 1, out: 'no dead letters' });
});

const found = {
  ...{ device: 'cam-9', stream: 'backyard', topic: 'brink/cam-9/up/frames/backyard', type: 'image/jpeg' },
  ...{ bytes: 4096, frames: 2, per_s: 0.5, last_at_ms: 0, paste: 'streams:\n  backyard:\n    devices: "cam-9"\n' },
};

test('discovered prints what to paste, each stream once below one key, and nothing that could not be pasted', async () => {
  const change =
    '# streams.front takes the devices "cam-1" alone; to take cam-9 too, change its line to\n#     devices: "cam-*"\n';
  const items = [
    found,
    { ...found, device: 'cam-8' },
    { ...found, stream: 'side', paste: found.paste.replace('backyard', 'side') },
    { ...found, stream: 'front', paste: change },
  ];
  const { env } = await entrance({ 'GET /v1/discovered': { body: { items } } });
  const { code, out } = await brink(['discovered'], env);
  expect(code).toBe(0);
  expect(out.replace(/\d\d:\d\d:\d\d(\.\d+)?/, 'T').split('\n')).toEqual([
    expect.stringMatching(
      /^# cam-9\/backyard: 2 frames \(0\.5 a second\), the last at .*, of 4096 bytes, image\/jpeg$/,
    ),
    ...['# cam-8/backyard', '# cam-9/side', '# cam-9/front'].map((text) => expect.stringContaining(text)),
    ...change.trimEnd().split('\n'),
    ...[expect.stringMatching(/^# to paste/), expect.stringMatching(/^# or below/), 'streams:'],
    ...['  backyard:', '    devices: "cam-9"', '  side:', '    devices: "cam-9"'],
  ]);
});

const complaint =
  'config/streams.yaml:6:13: streams.front.format: found "imag"; expected one of image, audio, signal, text, tensor';
const law = { holds: true, law: 'a = b', items: [] };
const healthy = {
  ...{ site: 'plant-7', version: '1.0.0', now: '', started_at: '', ready: true, problems: [] as string[] },
  configuration: { revision: 'c7f1a2000000', activated_at: '', error: null as object | null, applied: true },
  services: [{ service: 'control', instance: 'control-1', state: 'online', ready: true }] as object[],
  laws: { streams: law, pipelines: law },
  ledger: { n: 1, lag_ms: null, queued: 0, problem: null },
  ...{ actions: {}, dead: [] as object[], disk: null, outbox: { oldest_ms: null }, rules: { set_aside: [] } },
};

async function statusOf(change: Partial<typeof healthy>, discovered: object[] = []) {
  const { env } = await entrance({
    'GET /v1/status': { body: { ...healthy, ...change } },
    'GET /v1/discovered': { body: { items: discovered } },
  });
  return brink(['status'], env);
}

test('status is exit 0 when all is well, and names the verbs that tell more where there is more', async () => {
  const well = await statusOf({});
  expect(well.code).toBe(0);
  expect(well.out).not.toMatch(/brink dead|brink discovered/);
  server?.close();
  const { out } = await statusOf({ dead: [{ code: 'E_IMAGE_TYPE', count: 3 }] }, [found]);
  expect(out).toContain('dead letters   3 E_IMAGE_TYPE (brink dead)');
  expect(out).toContain('undeclared     1 stream (brink discovered)');
});

test('status says once what is wrong with the files, in the words of check, and is exit 1', async () => {
  const detail = `${complaint}\n${complaint.replace('6:13', '9:13')}`;
  const { code, out } = await statusOf({
    configuration: { ...healthy.configuration, error: { since: '', detail, problems: [] } },
    services: [{ ...healthy.services[0], revision_error: detail }],
  });
  expect(code).toBe(1);
  expect(out.split('\n').filter((line) => line.includes('found "imag"'))).toEqual([
    `  ${complaint}`,
    `  ${complaint.replace('6:13', '9:13')}`,
  ]);
});

test('status says once what a service lacks, and is exit 1', async () => {
  const problem = 'inference does not serve "my-model"';
  const { code, out } = await statusOf({
    ready: false,
    problems: [`gateway-1: ${problem}`],
    services: [{ service: 'gateway', instance: 'gateway-1', state: 'online', ready: false, problems: [problem] }],
  });
  expect(code).toBe(1);
  expect(out.split(problem)).toHaveLength(2);
  expect(out).toMatch(/gateway {2}gateway-1 {2}not ready/);
});

test('the token goes along as a bearer, from its file, and a file that holds none is named', async () => {
  const { asked, env } = await entrance({ 'GET /v1/devices': { body: { items: [] } } });
  const file = join(await mkdtemp(join(tmpdir(), 'brink-token-')), 'token');
  await writeFile(file, 'brk_x\n');
  await brink(['devices'], { ...env, BRINK_HTTP_TOKEN_FILE: file });
  expect(asked[0]?.authorization).toBe('Bearer brk_x');
  await writeFile(file, 'two\nlines\n');
  expect((await brink(['devices', '--token-file', file], env)).err).toMatch(/^brink devices list: E_SETTING: .*token/);
  await rm(dirname(file), { recursive: true });
});

test('schema prints a JSON Schema', async () => {
  const { code, out } = await brink(['schema', 'config', '--json']);
  expect(code).toBe(0);
  expect(JSON.parse(out)).toMatchObject({ type: 'object', required: ['version'] });
  expect((await brink(['schema', 'nope'])).err).toMatch(/there are config, /);
});
