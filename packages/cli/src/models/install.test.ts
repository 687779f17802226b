import { chmod, lstat, mkdir, mkdtemp, readdir, readFile, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encode, graph, model, node, value } from '@brink/onnx';
import { PassportSchema } from '@brink/protocol';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { checkModel } from './check.ts';
import { installModel } from './install.ts';
import { removeModel } from './remove.ts';
import { sha256 } from './source.ts';

let root: string;
let modelsDir: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'brink-add-'));
  modelsDir = join(root, 'models');
  await mkdir(modelsDir);
});
afterEach(() => rm(root, { recursive: true, force: true }));

const METADATA = { stride: '32', task: 'detect', imgsz: '[64, 64]', names: "{0: 'cat', 1: 'dog'}" };

/** Never run here. */
const onnx = (metadata: Record<string, string> = {}) =>
  encode(
    model(
      graph({
        inputs: [value('images', 'float32', ['n', 3, 64, 64])],
        outputs: [value('output0', 'float32', ['n', 6, 84])],
        nodes: [node('Identity', ['images'], ['output0'])],
      }),
      { metadata },
    ),
  );

const options = { nowMs: Date.now(), quotaBytes: 2 ** 30 };
const add = (given: string, over: object = {}) => installModel(given, { ...options, modelsDir, ...over });

/** A folder with a passport, as training leaves it. */
async function trained(over: Record<string, unknown> = {}): Promise<string> {
  const folder = join(root, 'trained');
  await mkdir(join(folder, 'golden'), { recursive: true });
  const bytes = onnx();
  await writeFile(join(folder, 'model.onnx'), bytes);
  await writeFile(join(folder, 'golden/cat.jpg'), 'jpg');
  await writeFile(join(folder, 'notes.txt'), 'mine');
  const passport = {
    passport: 1,
    name: 'pets',
    version: 1,
    task: 'detection',
    files: [{ path: 'model.onnx', sha256: sha256(bytes) }],
    inputs: [{ tensor: 'images', image: { width: 64, height: 64 } }],
    output: { decoder: 'yolov8', tensors: { output: 'output0' } },
    golden: [{ input: 'golden/cat.jpg', expect: {} }],
    ...over,
  };
  await writeFile(join(folder, 'model.json'), JSON.stringify(passport));
  return folder;
}

const passportAt = async (path: string) =>
  PassportSchema.parse(JSON.parse(await readFile(join(path, 'model.json'), 'utf8')));

describe('add', () => {
  test('installs what the passport names and nothing else, as it is', async () => {
    const folder = await trained();
    const { installed } = await add(folder);
    expect(installed).toMatchObject({ name: 'pets', version: 1, passport: true });
    const path = join(modelsDir, 'pets/1');
    expect((await readdir(path)).sort()).toEqual(['golden', 'model.json', 'model.onnx']);
    expect(await readFile(join(path, 'model.json'))).toEqual(await readFile(join(folder, 'model.json')));
    expect((await checkModel(path)).problems).toEqual([]);
    expect(await readdir(join(modelsDir, 'pets'))).toEqual(['1']);
  });

  test('installs the next version, and says so in its passport', async () => {
    const folder = await trained();
    await add(folder);
    expect((await add(folder)).installed).toMatchObject({ version: 2 });
    expect(await passportAt(join(modelsDir, 'pets/2'))).toMatchObject({ name: 'pets', version: 2 });
    expect((await add(folder, { name: 'others', version: 7 })).installed).toMatchObject({ name: 'others', version: 7 });
    expect(await passportAt(join(modelsDir, 'others/7'))).toMatchObject({ name: 'others', version: 7 });
    expect((await checkModel(join(modelsDir, 'others/7'))).problems).toEqual([]);
  });

  test('takes a language model with its tokenizer, as Hugging Face lays them out', async () => {
    const folder = join(root, 'sentiment');
    await mkdir(join(folder, 'onnx'), { recursive: true });
    const names = ['input_ids', 'attention_mask'];
    const parts = {
      inputs: names.map((name) => value(name, 'int64', ['n', 's'])),
      outputs: [value('logits', 'float32', ['n', 2])],
      nodes: [node('Cast', ['input_ids'], ['logits'], { to: 1 })],
    };
    await writeFile(join(folder, 'onnx/model.onnx'), encode(model(graph(parts))));
    const config = { architectures: ['BertForSequenceClassification'], id2label: { 0: 'calm', 1: 'angry' } };
    await writeFile(join(folder, 'config.json'), JSON.stringify(config));
    const without = await add(join(folder, 'onnx'));
    expect(without.installed).toMatchObject({ name: 'sentiment', version: 1, passport: false });
    expect(without.installed?.draft?.missing).toEqual([expect.stringContaining('there is no tokenizer.json')]);
    await writeFile(join(folder, 'tokenizer.json'), '{}');
    expect((await add(join(folder, 'onnx'))).installed).toMatchObject({ version: 2, passport: true });
    const path = join(modelsDir, 'sentiment/2');
    const { inputs, files } = await passportAt(path);
    expect(inputs).toEqual(
      ['ids', 'mask'].map((as, i) => ({
        tensor: names[i],
        text: { tokenizer: 'tokenizer.json', length_max: 128, as },
      })),
    );
    expect(files.map((file) => file.path)).toEqual(['model.onnx', 'tokenizer.json', 'labels.txt']);
    expect((await checkModel(path)).problems).toEqual([]);
    // Another tokenizer makes other numbers: it must not change unnoticed.
    await writeFile(join(path, 'tokenizer.json'), '{"a":1}');
    expect((await checkModel(path)).problems).toMatchObject([{ path: 'files[1].sha256' }]);
  });

  test('refuses a version that is there, and leaves it as it was', async () => {
    const folder = await trained();
    await add(folder);
    const before = await lstat(join(modelsDir, 'pets/1/model.json'));
    await expect(add(folder, { version: 1 })).rejects.toMatchObject({
      code: 'E_CONFLICT',
      detail: /the next one is 2/,
    });
    expect((await lstat(join(modelsDir, 'pets/1/model.json'))).ino).toBe(before.ino);
  });

  test('refuses a wrong folder with the report of check, and installs nothing', async () => {
    const folder = await trained({ inputs: [{ tensor: 'images', image: { width: 32, height: 64 } }] });
    const { check, installed } = await add(folder);
    expect(installed).toBeUndefined();
    expect(check.problems).toMatchObject([
      { path: 'inputs[0].image', expected: expect.stringContaining('dimension 3 is 64, not 32') },
    ]);
    expect(await readdir(modelsDir)).toEqual([]);
  });

  test('refuses links in place of files, which inference would not take', async () => {
    const folder = await trained();
    await rm(join(folder, 'golden/cat.jpg'));
    await symlink('/etc/hostname', join(folder, 'golden/cat.jpg'));
    expect((await add(folder)).check.problems).toMatchObject([
      { path: 'golden[0].input', given: 'golden/cat.jpg, a link' },
    ]);
  });

  test('writes passport and labels where the metadata say enough', async () => {
    await writeFile(join(root, 'YOLO11n_best.onnx'), onnx(METADATA));
    const { installed } = await add(join(root, 'YOLO11n_best.onnx'));
    expect(installed).toMatchObject({ name: 'yolo11n-best', version: 1, passport: true });
    const path = join(modelsDir, 'yolo11n-best/1');
    expect(await readFile(join(path, 'labels.txt'), 'utf8')).toBe('cat\ndog\n');
    expect(await passportAt(path)).toMatchObject({ output: { decoder: 'yolov8', labels: { file: 'labels.txt' } } });
    expect((await checkModel(path)).problems).toEqual([]);
  });

  test("finds Hugging Face's files beside the model, or above its folder", async () => {
    const repository = join(root, 'vit-pets');
    await mkdir(join(repository, 'onnx'), { recursive: true });
    const bytes = encode(
      model(
        graph({
          inputs: [value('pixel_values', 'float32', ['n', 3, 'h', 'w'])],
          outputs: [value('logits', 'float32', ['n', 2])],
          nodes: [node('Identity', ['pixel_values'], ['logits'])],
        }),
      ),
    );
    await writeFile(join(repository, 'onnx/model.onnx'), bytes);
    const config = { architectures: ['ViTForImageClassification'], id2label: { 0: 'cat', 1: 'dog' } };
    await writeFile(join(repository, 'config.json'), JSON.stringify(config));
    const preprocessor = { size: { height: 224, width: 224 }, image_mean: [0.5, 0.5, 0.5], image_std: [0.5, 0.5, 0.5] };
    await writeFile(join(repository, 'preprocessor_config.json'), JSON.stringify(preprocessor));
    const { installed } = await add(join(repository, 'onnx/model.onnx'));
    expect(installed).toMatchObject({ name: 'vit-pets', passport: true });
    expect((await checkModel(join(modelsDir, 'vit-pets/1'))).problems).toEqual([]);
    expect(await readFile(join(modelsDir, 'vit-pets/1/labels.txt'), 'utf8')).toBe('cat\ndog\n');
  });

  test('installs the bare model where they do not, and says what is missing', async () => {
    await writeFile(join(root, 'any.onnx'), onnx());
    const { installed } = await add(join(root, 'any.onnx'));
    expect(installed).toMatchObject({ passport: false, draft: { complete: false } });
    expect(await readdir(join(modelsDir, 'any/1'))).toEqual(['model.onnx']);
    expect(installed?.draft?.missing.length).toBeGreaterThan(0);
  });

  test('asks for a name where there is none', async () => {
    await writeFile(join(root, '猫.onnx'), onnx());
    await expect(add(join(root, '猫.onnx'))).rejects.toMatchObject({ code: 'E_NAME', detail: /--name/ });
  });

  test('keeps to the quota of the whole folder: used, needed, limit', async () => {
    const folder = await trained();
    await writeFile(join(modelsDir, 'big'), Buffer.alloc(3 * 2 ** 20));
    await expect(add(folder, { quotaBytes: 3 * 2 ** 20 })).rejects.toMatchObject({
      code: 'E_STORAGE_FULL',
      detail: expect.stringMatching(/has 3\.0 MB, this model needs 0\.0 MB, the limit is 3\.0 MB/),
    });
    expect(await readdir(modelsDir)).toEqual(['big']);
    await expect(add(folder, { quotaBytes: 4 * 2 ** 20 })).resolves.toMatchObject({ installed: { version: 1 } });
  });

  test.skipIf(process.getuid?.() === 0)(
    'says that the folder cannot be written (skipped: root may write everywhere)',
    async () => {
      await chmod(modelsDir, 0o500);
      await expect(add(await trained())).rejects.toMatchObject({ code: 'E_STORAGE_READONLY' });
      await chmod(modelsDir, 0o700);
    },
  );

  test('sweeps copies that were cut off an hour ago, and no younger ones', async () => {
    const [old, young] = ['.adding-1-a', '.adding-2-b'].map((name) => join(modelsDir, 'pets', name));
    for (const path of [old!, young!]) await mkdir(path, { recursive: true });
    const hoursAgo = new Date(options.nowMs - 2 * 3_600_000);
    await utimes(old!, hoursAgo, hoursAgo);
    await add(await trained());
    expect((await readdir(join(modelsDir, 'pets'))).sort()).toEqual(['.adding-2-b', '1']);
  });

  test('needs a models folder', async () => {
    await expect(add(await trained(), { modelsDir: join(root, 'nope') })).rejects.toMatchObject({
      code: 'E_NOT_FOUND',
    });
  });

  test('twice at once gives two versions or one refusal, never half of one', async () => {
    const folder = await trained();
    const ends = await Promise.allSettled([add(folder), add(folder), add(folder)]);
    for (const end of ends) if (end.status === 'rejected') expect(end.reason).toMatchObject({ code: 'E_CONFLICT' });
    const versions = await readdir(join(modelsDir, 'pets'));
    expect(versions.length).toBeGreaterThan(0);
    for (const version of versions) expect((await checkModel(join(modelsDir, 'pets', version))).problems).toEqual([]);
  });
});

describe('remove', () => {
  test('takes one version, then all, then the name', async () => {
    const folder = await trained();
    for (let i = 0; i < 3; i++) await add(folder);
    expect(await removeModel(modelsDir, 'pets', 2)).toEqual([2]);
    expect((await readdir(join(modelsDir, 'pets'))).sort()).toEqual(['1', '3']);
    expect(await removeModel(modelsDir, 'pets', undefined)).toEqual([1, 3]);
    expect(await readdir(modelsDir)).toEqual([]);
  });

  test('says what is there where the version is not', async () => {
    await add(await trained());
    await expect(removeModel(modelsDir, 'pets', 9)).rejects.toMatchObject({
      code: 'E_NOT_FOUND',
      detail: /there is 1$/,
    });
    await expect(removeModel(modelsDir, 'nope', undefined)).rejects.toMatchObject({ code: 'E_NOT_FOUND' });
  });
});
