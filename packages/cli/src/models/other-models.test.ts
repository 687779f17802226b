import { existsSync } from 'node:fs';
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { checkModel } from './check.ts';
import { installModel } from './install.ts';
import { sha256 } from './source.ts';

// Models of other people, with passports that inference runs: check and add must be of the same opinion.

const root = resolve(import.meta.dirname, '../../../..');
const SHARED = join(root, '../shared');
const PASSPORTS = join(root, 'services/inference/test/models');
interface Recipe {
  readonly files: readonly { readonly path: string; readonly from?: string; readonly lines?: readonly string[] }[];
}

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'brink-others-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** `<name>/1` as its passport wants it, with the files of ../shared. */
async function layOut(name: string): Promise<string> {
  const recipe = JSON.parse(await readFile(join(PASSPORTS, `${name}.json`), 'utf8')) as Recipe;
  const path = join(folder, name, '1');
  const files = [];
  for (const file of recipe.files) {
    const to = join(path, file.path);
    await mkdir(dirname(to), { recursive: true });
    if (file.from === undefined) await writeFile(to, `${(file.lines ?? []).join('\n')}\n`);
    else await copyFile(join(SHARED, file.from), to);
    files.push({ path: file.path, sha256: sha256(await readFile(to)) });
  }
  await writeFile(join(path, 'model.json'), JSON.stringify({ ...recipe, files }));
  return path;
}

describe.skipIf(!existsSync(SHARED))("other people's models (skipped where ../shared is absent)", async () => {
  const names = (await readdir(PASSPORTS))
    .filter((file) => file.endsWith('.json'))
    .map((file) => basename(file, '.json'));
  test.each(names)('%s has nothing to put right, and can be added', async (name) => {
    const path = await layOut(name);
    expect((await checkModel(path)).problems).toEqual([]);
    const modelsDir = join(folder, 'models');
    await mkdir(modelsDir, { recursive: true });
    const { installed } = await installModel(path, { modelsDir, quotaBytes: 2 ** 30, nowMs: Date.now() });
    expect(installed).toMatchObject({ name, version: 1, passport: true });
  });

  test.each([
    ['supres.onnx', 'ai.onnx.contrib:SuperResolutionPreProcess'],
    ['pytorch_superresolution_with_pre_post_processing_op18.onnx', 'com.microsoft.extensions:DecodeImage'],
  ])('%s is refused by the name of its operator', async (file, operator) => {
    const { problems } = await checkModel(join(SHARED, 'models/super-resolution', file));
    expect(problems).toMatchObject([{ path: 'model.onnx', given: expect.stringContaining(operator) }]);
  });
});
