import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BrinkError } from '@brink/protocol';
import { createTestClock, silentLogger } from '@brink/runtime';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Activation } from '../ledger/records.ts';
import { type ConfigurationKeeper, createConfiguration } from './active.ts';
import { type ConfigurationEditor, createConfigurationEditor } from './edit.ts';
import { createJudge } from './judge.ts';

const SITE = 'version: 1\nsite: { name: one } # ours\n';
let dir: string;
let keeper: ConfigurationKeeper;
let editor: ConfigurationEditor;
let activations: (Activation & { revision: string })[];
/** What keeps the next one from being active. */
let refusal: BrinkError | undefined;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'brink-edit-'));
  await writeFile(join(dir, 'site.yaml'), SITE);
  activations = [];
  refusal = undefined;
  const clock = createTestClock();
  keeper = createConfiguration(
    { dir, modelsDir: dir },
    {
      ...{ logger: silentLogger, clock, judge: createJudge({}, { clock }) },
      async activate({ revision }, activation) {
        if (refusal !== undefined) throw refusal;
        activations.push({ ...activation, revision });
      },
      lastKnownGood: () => Promise.resolve(undefined),
      onActive: () => {},
      looked: () => {},
    },
  );
  await keeper.start(new AbortController().signal);
  editor = createConfigurationEditor({ dir }, { configuration: keeper });
});
afterEach(async () => {
  await keeper.stop();
  await rm(dir, { recursive: true, force: true });
});

const files = async () => {
  const names = (await readdir(dir)).sort();
  return Object.fromEntries(
    await Promise.all(names.map(async (name) => [name, await readFile(join(dir, name), 'utf8')])),
  );
};

test('what cannot be made active is taken back: the files are as they were, and the error is the one that it was', async () => {
  const { revision } = keeper.active;
  refusal = new BrinkError('E_STORAGE_FULL', 'the disk is full');
  await expect(editor.putSite({ name: 'two' })).rejects.toMatchObject({ code: 'E_STORAGE_FULL' });
  const target = { webhook: 'https://hooks.example/x' };
  await expect(editor.put('targets', 'duty', target)).rejects.toMatchObject({ code: 'E_STORAGE_FULL' });
  const whole = [
    { name: 'a.yaml', text: 'version: 1\nsite: { name: three }\n' },
    { name: 'b.yaml', text: 'targets: {}\n' },
  ];
  await expect(editor.putFiles(whole)).rejects.toMatchObject({ code: 'E_STORAGE_FULL' });
  expect(await files()).toEqual({ 'site.yaml': SITE });
  expect([keeper.active.revision, keeper.problem]).toEqual([revision, undefined]);
  refusal = undefined;
  expect(await editor.putFiles(whole)).toMatchObject({ changed: true });
  expect(keeper.active.configuration.site.name).toBe('three');
  expect(Object.keys(await files())).toEqual(['a.yaml', 'b.yaml']);
});

test('an activation is told with who asked for it and with the files that it was read from', async () => {
  const { revision } = await editor.putSite({ name: 'two' }, { by: 'anna' });
  const text = SITE.replace('one', 'two');
  expect(activations.at(-1)).toEqual({
    ...{ revision, origin: { how: 'http', by: 'anna' } },
    files: [{ name: 'site.yaml', text }],
  });
  const first = activations[0]?.files ?? [];
  await editor.rollBack({ configuration: keeper.active.configuration, files: first }, { by: 'bert' });
  expect(activations.at(-1)?.origin).toEqual({ how: 'rollback', by: 'bert' });
  expect(await files()).toEqual({ 'site.yaml': SITE });
});

test('going back to a revision whose files nobody kept writes its values into those that there are', async () => {
  const before = structuredClone(keeper.active.configuration);
  await editor.put('targets', 'duty', { webhook: 'https://hooks.example/x' });
  await editor.putSite({ name: 'two', language: 'zh' });
  await editor.rollBack({ configuration: before });
  expect(keeper.active.configuration).toEqual(before);
  expect((await files())['site.yaml']).toBe('version: 1\nsite: { name: one, language: en } # ours\n');
});

test('an edit that a kill interrupted is finished at the next look', async () => {
  await mkdir(join(dir, '.making'));
  const changes = [
    { name: 'site.yaml', text: SITE.replace('one', 'four') },
    { name: 'more.yaml', text: 'targets: {}\n' },
  ];
  await writeFile(join(dir, '.making/changes.json'), JSON.stringify(changes));
  await rename(join(dir, '.making'), join(dir, '.pending'));
  await keeper.reload();
  expect(keeper.active.configuration.site.name).toBe('four');
  expect(Object.keys(await files())).toEqual(['more.yaml', 'site.yaml']);
});
