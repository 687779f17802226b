import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PublishedConfigurationSchema } from '@brink/protocol';
import { describe, expect, test } from 'vitest';
import { type Control, SITE, startControl, until, writeFiles } from './harness.ts';

const MODELS = { 'cifar-net/2/model.json': '{}', 'bare/1/model.onnx': 'onnx' };

async function startWith(files: Record<string, string>) {
  const control = await startControl({ files });
  await writeFiles(join(control.folder, 'models'), MODELS);
  return control;
}

const patch = (control: Control, name: string, body: unknown) =>
  control.ask(`/v1/models/${name}`, {
    method: 'PATCH',
    body: JSON.stringify(body),
    headers: { 'content-type': 'application/json' },
  });
const fileOf = (control: Control, name: string) => readFile(join(control.folder, 'config', name), 'utf8');

describe('choosing the version that serves', () => {
  const POLICY = `# ours
models:
  # the good one
  cifar-net: { queue_max: 8 } # as measured
`;

  test('changes one key of one file, keeps the comments, and is active and published when it answers', async () => {
    await using control = await startWith({ 'site.yaml': SITE, 'serving.yaml': POLICY });
    const seen = await control.listen('brink/fleet/config');
    const answer = await patch(control, 'cifar-net', { serve: 2 });
    expect(answer.status).toBe(200);
    const { revision } = (await control.get('/v1/config')).body;
    expect(answer.body).toEqual({ name: 'cifar-net', serve: 2, revision });
    expect(await fileOf(control, 'serving.yaml')).toBe(POLICY.replace('queue_max: 8', 'queue_max: 8, serve: 2'));
    expect(await fileOf(control, 'site.yaml')).toBe(SITE);
    expect(await readdir(join(control.folder, 'config'))).toEqual(['serving.yaml', 'site.yaml']);
    expect((await control.get('/v1/models/cifar-net')).body).toMatchObject({
      serve: 2,
      queue_max: 8,
      versions: [1, 2],
    });
    const published = await until('it is published', () => {
      const last = seen.at(-1);
      const said = last && PublishedConfigurationSchema.parse(JSON.parse(String(last.payload)));
      return said?.revision === revision && said;
    });
    expect(published.configuration.models['cifar-net']?.serve).toBe(2);
  });

  test('makes models.yaml where no file speaks of models, and takes the key away again', async () => {
    await using control = await startWith({ 'site.yaml': SITE });
    expect((await patch(control, 'cifar-net', { serve: 1 })).status).toBe(200);
    expect(await fileOf(control, 'models.yaml')).toMatch(
      /^# yaml-language-server: .*\nversion: 1\nmodels:\n {2}cifar-net:\n {4}serve: 1\n$/,
    );
    expect((await patch(control, 'cifar-net', { serve: null })).status).toBe(200);
    expect((await control.get('/v1/models/cifar-net')).body.serve).toBeUndefined();
    const before = (await control.get('/v1/config')).body.revision;
    expect((await patch(control, 'cifar-net', { serve: null })).body).toMatchObject({ revision: before });
  });

  test('is said of models without a passport too', async () => {
    await using control = await startWith({ 'site.yaml': SITE });
    expect((await patch(control, 'bare', { serve: 1 })).status).toBe(200);
    expect((await control.get('/v1/models')).body.items).toContainEqual(
      expect.objectContaining({ name: 'bare', serve: 1 }),
    );
  });

  test('writes nothing where the version is not there, the files are wrong already, or an alias says it', async () => {
    const aliased = 'models:\n  simple-cnn: &one { queue_max: 4 }\n  cifar-net: *one\n';
    await using control = await startWith({ 'site.yaml': SITE, 'serving.yaml': aliased });
    const gone = await patch(control, 'bare', { serve: 9 });
    expect(gone).toMatchObject({
      status: 422,
      body: { code: 'E_CONFIG', detail: expect.stringContaining('version 9') },
    });
    const alias = await patch(control, 'cifar-net', { serve: 1 });
    expect(alias).toMatchObject({
      status: 409,
      body: { code: 'E_CONFLICT', detail: expect.stringContaining('alias') },
    });
    const anchor = await patch(control, 'simple-cnn', { serve: 1 });
    expect(anchor).toMatchObject({ status: 409, body: { detail: expect.stringContaining('models.cifar-net too') } });
    await control.write('site.yaml', SITE.replace('format: image', 'format: imag'));
    const wrong = await patch(control, 'simple-cnn', { serve: 1 });
    expect(wrong).toMatchObject({ status: 422, body: { code: 'E_CONFIG' } });
    expect(await fileOf(control, 'serving.yaml')).toBe(aliased);
  });

  test('refuses unknown models, other keys and wrong types', async () => {
    await using control = await startWith({ 'site.yaml': SITE });
    expect(await patch(control, 'nope', { serve: 1 })).toMatchObject({ status: 404, body: { code: 'E_NOT_FOUND' } });
    for (const body of [{}, { serve: 0 }, { serve: '1' }, { serve: 1, queue_max: 2 }, null]) {
      expect((await patch(control, 'cifar-net', body)).status).toBe(400);
    }
  });

  test('asks for the token where there is one', async () => {
    await using control = await startControl({ token: 'brk_secret' });
    const answer = await fetch(`${control.url}/v1/models/cifar-net`, { method: 'PATCH', body: '{"serve":1}' });
    expect(answer.status).toBe(401);
  });

  test('many at once come one after the other', async () => {
    await using control = await startWith({ 'site.yaml': SITE });
    const answers = await Promise.all([1, 2, 1, 2, 1].map((serve) => patch(control, 'cifar-net', { serve })));
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200, 200]);
    expect((await control.get('/v1/models/cifar-net')).body.serve).toBe(1);
  });
});
