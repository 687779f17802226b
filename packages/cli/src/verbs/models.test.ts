import { once } from 'node:events';
import { cp, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { run } from '../program.ts';

const root = resolve(import.meta.dirname, '../../../..');
let folder: string;
let server: Server | undefined;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'brink-models-'));
});
afterEach(async () => {
  server?.close();
  server = undefined;
  await rm(folder, { recursive: true, force: true });
});

async function brink(argv: string[], env: Record<string, string> = {}) {
  const out: string[] = [];
  const err: string[] = [];
  const terminal = { line: (text: string) => out.push(text), note: (text: string) => err.push(text), colour: false };
  const code = await run(argv, { terminal, env, signal: new AbortController().signal, root });
  return { code, out: out.join('\n'), err: err.join('\n') };
}

/** Control, as far as these verbs ask it. */
async function control(item: Record<string, unknown> | undefined) {
  const asked: string[] = [];
  server = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += String(chunk);
    asked.push(`${request.method} ${request.url} ${body}`.trim());
    const problem = { type: 'x', title: 'x', status: 404, detail: 'there is no model', code: 'E_NOT_FOUND' };
    const answers: Record<string, unknown> = {
      'GET /v1/models': { items: item === undefined ? [] : [item] },
      'GET /v1/models/cats': item,
      'PATCH /v1/models/cats': { name: 'cats', serve: 1, revision: 'abcdef012345' },
    };
    const answer = answers[`${request.method} ${request.url}`];
    response.writeHead(answer === undefined ? 404 : 200, { 'content-type': 'application/json' });
    response.end(JSON.stringify(answer ?? problem));
  });
  const listening = server.listen(0, '127.0.0.1');
  await once(listening, 'listening');
  return { asked, env: { BRINK_URL: `http://127.0.0.1:${(listening.address() as AddressInfo).port}` } };
}

const CATS = {
  name: 'cats',
  versions: [1, 2, 3],
  running: [
    { version: 1, state: 'ready', instance: 'inference' },
    { version: 2, state: 'ready', instance: 'inference', serving: true, provider: 'webgpu' },
    { version: 3, state: 'failed', reason: 'E_MODEL_HASH: model.onnx', instance: 'inference' },
  ],
};

describe('list', () => {
  test('shows state, the version that serves and what computes it', async () => {
    const { env } = await control(CATS);
    const { code, out } = await brink(['models'], env);
    expect(code).toBe(0);
    expect(out.split('\n').map((line) => line.split(/ {2,}/))).toEqual([
      ['cats', '1', 'ready'],
      ['cats', '2', 'serves', 'webgpu', 'ready'],
      ['cats', '3', 'failed: E_MODEL_HASH: model.onnx'],
    ]);
  });

  test('takes the configured version, else the highest that is ready, where nobody says what serves', async () => {
    const running = CATS.running.map(({ serving: _, ...one }) => one);
    const first = await control({ ...CATS, running, serve: 1 });
    expect((await brink(['models'], first.env)).out).toMatch(/cats {2}1 {2}serves/);
    server?.close();
    const second = await control({ ...CATS, running });
    expect((await brink(['models'], second.env)).out).toMatch(/cats {2}2 {2}serves/);
  });
});

describe('serve and rollback', () => {
  test('serve asks control to write the configuration', async () => {
    const { asked, env } = await control(CATS);
    const { code, out } = await brink(['models', 'serve', 'cats', '1'], env);
    expect(code).toBe(0);
    expect(asked[0]).toBe('PATCH /v1/models/cats {"serve":1}');
    expect(out).toBe(
      'cats: version 1 is to serve (ready; version 2 serves until it is ready), configuration abcdef012345',
    );
  });

  test('rollback serves the next version below', async () => {
    const { asked, env } = await control(CATS);
    const { code, out } = await brink(['models', 'rollback', 'cats', '--json'], env);
    expect(code).toBe(0);
    expect(asked).toContain('PATCH /v1/models/cats {"serve":1}');
    expect(JSON.parse(out)).toEqual({ name: 'cats', from: 2, serve: 1, revision: 'abcdef012345' });
  });

  test('rollback is refused where there is none below', async () => {
    const { asked, env } = await control({ ...CATS, versions: [2], running: [CATS.running[1]] });
    const { code, err } = await brink(['models', 'rollback', 'cats'], env);
    expect(code).toBe(1);
    expect(err).toBe('brink models rollback: E_CONFLICT: cats has no version below 2; there is 2');
    expect(asked.some((line) => line.startsWith('PATCH'))).toBe(false);
  });
});

describe('remove', () => {
  beforeEach(async () => {
    for (const version of [1, 2]) {
      await mkdir(join(folder, 'cats', String(version)), { recursive: true });
      await writeFile(join(folder, 'cats', String(version), 'model.onnx'), 'x');
    }
  });
  const remove = (what: string, env: Record<string, string>, ...more: string[]) =>
    brink(['models', 'remove', what, ...more], { ...env, BRINK_MODELS_DIR: folder });

  test('refuses the version that serves, unless it is forced', async () => {
    const { env } = await control({ ...CATS, versions: [1, 2] });
    for (const what of ['cats@2', 'cats']) {
      const { code, err } = await remove(what, env);
      expect(code).toBe(1);
      expect(err).toMatch(/E_CONFLICT: version 2 of cats serves/);
    }
    expect(await readdir(join(folder, 'cats'))).toEqual(['1', '2']);
    expect(await remove('cats@1', env)).toMatchObject({ code: 0, out: 'removed  cats version 1' });
    const forced = await remove('cats', env, '--force');
    expect(forced).toMatchObject({
      code: 0,
      out: expect.stringMatching(/^removed {2}cats version 2\nwhere the configuration names it/),
    });
    expect(await readdir(folder)).toEqual([]);
  });

  test('needs no Brink that runs, but one that is named must answer', async () => {
    const away = { BRINK_URL: 'http://127.0.0.1:1' };
    const named = await remove('cats@1', {}, '--url', 'http://127.0.0.1:1');
    expect(named.err).toMatch(/E_UNAVAILABLE/);
    expect(await remove('cats@1', away)).toMatchObject({ code: 0 });
  });
});

test('the only version is removed with --force, and that is said', async () => {
  const { env } = await control({ ...CATS, versions: [2] });
  const { code, err } = await brink(['models', 'remove', 'cats', '--models-dir', folder], env);
  expect(code).toBe(1);
  expect(err).toMatch(/version 2 of cats serves; it is the only one: --force removes it/);
});

test('a model that lies beside the folders of versions is told by list and by check', async () => {
  await mkdir(join(folder, 'plain'));
  await cp(join(root, 'models/cifar-net/1'), join(folder, 'plain'), { recursive: true });
  const { env } = await control(CATS);
  const list = await brink(['models', '--models-dir', folder], env);
  expect([list.code, list.err]).toEqual([0, expect.stringContaining(`belong in ${join(folder, 'plain/1')}/`)]);
  const check = await brink(['models', 'check', join(folder, 'plain'), '--models-dir', folder]);
  expect([check.code, check.out]).toEqual([1, expect.stringContaining(`belong in ${join(folder, 'plain/1')}/`)]);
});

describe('add and check', () => {
  const MODEL = join(root, 'models/cifar-net/1');
  test('add installs the next version, with JSON if asked; a wrong model is exit 1 with the report', async () => {
    const added = await brink(['models', 'add', MODEL, '--models-dir', folder, '--json']);
    expect(added.code).toBe(0);
    expect(JSON.parse(added.out)).toMatchObject({ ok: true, name: 'cifar-net', version: 1, passport: true });
    expect((await brink(['models', 'check', join(folder, 'cifar-net/1')])).code).toBe(0);
    const other = await brink(['models', 'add', MODEL, '--models-dir', folder, '--name', 'pets', '--version', '7']);
    expect(other.out).toMatch(/^added {2}pets version 7: /);
    expect((await brink(['models', 'check', join(folder, 'pets/7')])).code).toBe(0);

    const wrong = join(folder, 'wrong.onnx');
    await writeFile(wrong, 'no model');
    const refused = await brink(['models', 'add', wrong, '--models-dir', folder]);
    expect(refused.code).toBe(1);
    expect(refused.out).toMatch(/model\.onnx\n {2}given {5}E_MODEL_PARSE/);
    expect((await brink(['models', 'check', wrong])).out).toBe(refused.out);
    const json = await brink(['models', 'add', wrong, '--models-dir', folder, '--json']);
    expect(JSON.parse(json.out)).toMatchObject({ ok: false, problems: [{ path: 'model.onnx' }] });
  });

  test('add of a model that says too little of itself says what to write, where, and what then', async () => {
    const bare = join(folder, 'bare.onnx');
    await cp(join(MODEL, 'model.onnx'), bare);
    const { code, out } = await brink(['models', 'add', bare, '--models-dir', folder]);
    expect(code).toBe(0);
    const path = join(folder, 'bare/1');
    for (const said of [
      `write     ${path}/model.json`,
      `then      npx brink models add ${path} `,
      'docs/add-a-model.md',
    ])
      expect(out).toContain(said);
    expect(out).toContain('--name');
  });

  test('add keeps to the quota', async () => {
    const { code, err } = await brink(['models', 'add', MODEL, '--models-dir', folder, '--quota-mb', '1']);
    expect(code).toBe(1);
    expect(err).toMatch(/E_STORAGE_FULL: .* needs 3\.\d MB, the limit is 1\.0 MB/);
    expect(await readdir(folder)).toEqual([]);
  });
});
