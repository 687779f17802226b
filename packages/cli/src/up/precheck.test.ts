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

const check = (signal = new AbortController().signal) => checkConfiguration({ root, config, models }, signal);

test('a right configuration may start', async () => {
  await expect(check()).resolves.toBeUndefined();
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

test('Ctrl-C ends it', async () => {
  await expect(check(AbortSignal.abort())).rejects.toMatchObject({ code: 'E_CANCELLED' });
});
