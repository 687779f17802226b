import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { checkConfiguration } from './precheck.ts';

const root = resolve(import.meta.dirname, '../../../..');
const models = join(root, 'models');

let config: string;
beforeEach(async () => {
  config = await mkdtemp(join(tmpdir(), 'brink-precheck-'));
  await cp(join(root, 'config'), config, { recursive: true });
});
afterEach(() => rm(config, { recursive: true, force: true }));

const check = (signal = new AbortController().signal, ranBefore = false) =>
  checkConfiguration({ root, config, models, ranBefore }, signal);

test('a right configuration may start', async () => {
  await expect(check()).resolves.toEqual([]);
});

test('a typo is refused with file, line and column, however often it occurs', async () => {
  const file = join(config, 'streams.yaml');
  await writeFile(file, (await readFile(file, 'utf8')).replaceAll('delivery:', 'delivry:'));
  const problem = 'streams\\.yaml:\\d+:\\d+: .*found the unknown key "delivry".*';
  await expect(check()).rejects.toMatchObject({
    code: 'E_CONFIG',
    detail: expect.stringMatching(new RegExp(`^2 problems in .*:\\n.*${problem}\\n.*${problem}$`)),
  });
});

test('a model that has gone keeps a box that ran before from nothing; a typo does', async () => {
  const file = join(config, 'streams.yaml');
  const text = await readFile(file, 'utf8');
  await writeFile(file, text.replaceAll('model: simple-cnn', 'model: gone'));
  await expect(check()).rejects.toMatchObject({ code: 'E_CONFIG' });
  await expect(check(undefined, true)).resolves.toEqual([
    expect.stringMatching(/the model "gone", of which there is no/),
  ]);
  await writeFile(file, text.replaceAll('model: simple-cnn', 'model: gone').replaceAll('delivery:', 'delivry:'));
  await expect(check(undefined, true)).rejects.toMatchObject({ code: 'E_CONFIG' });
});

test('Ctrl-C ends it', async () => {
  await expect(check(AbortSignal.abort())).rejects.toMatchObject({ code: 'E_CANCELLED' });
});
