import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PublishedConfigurationSchema } from '@brink/protocol';
import { describe, expect, test } from 'vitest';
import { SITE, startControl, until } from './harness.ts';

const BAD = SITE.replace('format: image', 'format: imag');
const COMPLAINT =
  'site.yaml:6:13: streams.front.format: found "imag"; expected one of image, audio, signal, text, tensor; did you mean "image"?';

describe('at the first start', () => {
  test('a wrong configuration is refused, with file, line and column', async () => {
    await expect(startControl({ files: { 'site.yaml': BAD } })).rejects.toMatchObject({
      code: 'E_CONFIG',
      detail: expect.stringContaining(COMPLAINT),
    });
  });

  test('a model that is not there is named, with where it was looked for', async () => {
    const files = { 'site.yaml': SITE.replace('cifar-net', 'cifar-nut') };
    await expect(startControl({ files })).rejects.toThrow(
      /"cifar-nut".*models\/cifar-nut\/<version>\/model\.json.*"cifar-net"/,
    );
  });

  test('a condition that does not compile is named to the column', async () => {
    const files = { 'site.yaml': SITE.replace('decision.score >= 0.6', 'decision.score >>= 0.6') };
    await expect(startControl({ files })).rejects.toThrow(/site\.yaml:14:54: rules\.cat-at-the-flap\.when/);
  });
});

describe('an edit', () => {
  test('that is right becomes active, is published and stored', async () => {
    await using control = await startControl();
    const before = (await control.get('/v1/config')).body.revision;
    const seen = await control.listen('brink/fleet/config');
    await control.write('site.yaml', SITE.replace('>= 0.6', '>= 0.7'));
    const after = await until('another revision', async () => {
      const { revision } = (await control.get('/v1/config')).body;
      return revision !== before && revision;
    });
    const published = seen.map(({ payload }) => PublishedConfigurationSchema.parse(JSON.parse(String(payload))));
    await until('it is published', () => seen.length >= 2);
    expect(published[0]?.revision).toBe(before);
    expect(PublishedConfigurationSchema.parse(JSON.parse(String(seen.at(-1)?.payload))).revision).toBe(after);
    const { body } = await control.get('/v1/config/revisions');
    expect(body.items.map(({ revision }: { revision: string }) => revision)).toEqual([after, before]);
    const old = (await control.get(`/v1/config/revisions/${before}`)).body;
    expect(old.configuration.rules['cat-at-the-flap'].when).toContain('0.6');
  });

  test('that is wrong changes nothing but what the status says; put right, it is active', async () => {
    await using control = await startControl();
    const before = (await control.get('/v1/config')).body.revision;
    await control.write('site.yaml', BAD);
    const error = await until('the error', async () => (await control.get('/v1/status')).body.configuration.error);
    expect(error.detail).toContain(COMPLAINT);
    expect(error.problems).toMatchObject([{ line: 6, column: 13, path: 'streams.front.format', found: '"imag"' }]);
    expect((await control.get('/v1/config')).body).toMatchObject({ revision: before, error: { detail: error.detail } });
    expect((await control.get('/v1/streams')).body.items).toMatchObject([{ name: 'front', format: 'image' }]);
    const ready = await fetch(`http://127.0.0.1:${control.service.addresses.ops.port}/readyz`);
    expect([ready.status, await ready.json()]).toMatchObject([200, { ready: true, problems: [] }]);
    const fleet = await control.listen('brink/fleet/control/+');
    await until('the fleet knows', () => fleet.some(({ payload }) => String(payload).includes('imag')));

    await control.write('more.yaml', 'models: { cifar-net: { queue_max: 8 } }\n');
    await control.write('site.yaml', SITE);
    await until('it is right again', async () => (await control.get('/v1/status')).body.configuration.error === null);
    expect((await control.get('/v1/models/cifar-net')).body).toMatchObject({ queue_max: 8, versions: [1] });
  });

  test('that was wrong when control ended does not keep it from starting: the last good one is used', async () => {
    await using first = await startControl();
    const revision = (await first.get('/v1/config')).body.revision;
    await first.service.stop();
    await using second = await startControl({ folder: first.folder, files: { 'site.yaml': BAD } });
    const { body } = await second.get('/v1/config');
    expect(body.revision).toBe(revision);
    expect(body.error.detail).toContain(COMPLAINT);
  });
});

test('validate says the same over HTTP and from the command line, and changes nothing', async () => {
  await using control = await startControl();
  const before = (await control.get('/v1/config')).body.revision;
  const over = await control.post('/v1/config/validate', { files: [{ name: 'site.yaml', text: BAD }] });
  expect(over.body).toMatchObject({
    valid: false,
    problems: [{ line: 6, column: 13, text: expect.stringContaining(COMPLAINT) }],
  });
  expect((await control.post('/v1/config/validate')).body).toEqual({
    ...{ valid: true, revision: before, problems: [], changes: [] },
  });

  const check = async (...args: string[]) => {
    const entry = new URL('../src/check.ts', import.meta.url).pathname;
    const child = spawn(process.execPath, [
      entry,
      join(control.folder, 'config'),
      '--models',
      join(control.folder, 'models'),
      ...args,
    ]);
    let text = '';
    child.stdout.on('data', (chunk) => {
      text += chunk;
    });
    const [code] = await once(child, 'close');
    return { code, text };
  };
  expect(await check()).toMatchObject({ code: 0, text: expect.stringContaining(before) });
  await writeFile(join(control.folder, 'config', 'site.yaml'), BAD);
  expect(await check()).toMatchObject({ code: 1, text: expect.stringContaining(COMPLAINT) });
  const { code, text } = await check('--json');
  expect([code, JSON.parse(text)]).toMatchObject([1, { valid: false, problems: [{ line: 6, column: 13 }] }]);
});

test('the process ends with 78 and one line where the configuration is wrong', async () => {
  await using control = await startControl();
  await control.service.stop();
  await writeFile(join(control.folder, 'config', 'site.yaml'), BAD);
  const entry = new URL('../src/main.ts', import.meta.url).pathname;
  const child = spawn(process.execPath, [entry], {
    env: {
      PATH: process.env['PATH'],
      BRINK_DATA_DIR: join(control.folder, 'fresh'),
      BRINK_CONFIG_DIR: join(control.folder, 'config'),
      BRINK_MODELS_DIR: join(control.folder, 'models'),
      BRINK_LINK_LISTEN: `unix:${join(control.folder, 'other.sock')}`,
      BRINK_MQTT_URL: control.brokerUrl,
      BRINK_HTTP_PORT: '0',
      BRINK_OPS_PORT: '0',
      BRINK_LOG_LEVEL: 'silent',
    },
  });
  let text = '';
  child.stderr.on('data', (chunk) => {
    text += chunk;
  });
  const [code] = await once(child, 'close');
  expect(code).toBe(78);
  expect(text.trim().split('\n')).toEqual([expect.stringContaining(COMPLAINT)]);
});
