import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encode, graph, model, node, value } from '@brink/onnx';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { checkModel } from './check.ts';

let root: string;
let folder: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'brink-model-'));
  folder = join(root, 'mine/3');
  await mkdir(folder, { recursive: true });
});
afterEach(() => rm(root, { recursive: true, force: true }));

const sha = (bytes: Uint8Array | string) => createHash('sha256').update(bytes).digest('hex');

/** Takes pictures of 128×128, gives ten scores; never run here. */
const tiny = () =>
  encode(
    model(
      graph({
        inputs: [value('image', 'float32', ['batch', 3, 128, 128])],
        outputs: [value('logits', 'float32', ['batch', 10])],
        nodes: [node('Identity', ['image'], ['logits'])],
      }),
    ),
  );

/** A right folder, changed by the test. */
async function write(change: (passport: Record<string, unknown>) => object = (passport) => passport): Promise<string> {
  const onnx = tiny();
  const labels = Array.from({ length: 10 }, (_, i) => `class ${i}`).join('\n');
  await writeFile(join(folder, 'model.onnx'), onnx);
  await writeFile(join(folder, 'labels.txt'), labels);
  const draft = (await checkModel(folder)).draft?.draft;
  const right = {
    ...draft,
    files: [
      { path: 'model.onnx', sha256: sha(onnx), bytes: onnx.length },
      { path: 'labels.txt', sha256: sha(labels) },
    ],
  };
  await writeFile(join(folder, 'model.json'), JSON.stringify(change(right)));
  return folder;
}

test('without a passport there is a draft of one, and what it lacks', async () => {
  await writeFile(join(folder, 'model.onnx'), tiny());
  const { problems, draft } = await checkModel(folder);
  expect(problems).toEqual([]);
  expect(draft).toMatchObject({ complete: false, draft: { name: 'mine', version: 3, task: 'classification' } });
  expect(draft?.missing).toEqual([
    'inputs[0].image.scale, mean, std: how the model was trained; 1/255 is a guess',
    'output.labels.file: labels.txt, 10 lines, one for each class',
  ]);
});

test('a whole folder has nothing to put right', async () => {
  const result = await checkModel(await write());
  expect(result).toMatchObject({ name: 'mine', version: 3, problems: [] });
});

test('a wrong hash says what was given, what the file has, and the line to write', async () => {
  const files = [
    { path: 'model.onnx', sha256: '0'.repeat(64) },
    { path: 'labels.txt', sha256: '1'.repeat(64) },
  ];
  const { problems } = await checkModel(await write((passport) => ({ ...passport, files })));
  expect(problems).toHaveLength(2);
  expect(problems[0]).toMatchObject({
    path: 'files[0].sha256',
    given: expect.stringMatching(/^no hash: 64 zeros/),
    write: expect.stringContaining('"sha256": "'),
  });
});

test('a picture size that the graph does not take is named with the right one', async () => {
  const inputs = [{ tensor: 'input', image: { width: 64, height: 64 } }];
  const { problems } = await checkModel(
    await write((passport) => ({
      ...passport,
      inputs: [{ ...(passport['inputs'] as object[])[0], ...{ image: inputs[0]?.image } }],
    })),
  );
  expect(problems[0]).toMatchObject({
    path: 'inputs[0].image',
    write: expect.stringContaining('"width":128,"height":128'),
  });
});

test.each([
  [
    'an unknown tensor',
    { output: { decoder: 'classification', tensors: { scores: 'nope' } } },
    'output.tensors.scores',
  ],
  ['another name than the folder', { name: 'yours' }, 'name'],
  ['another version than the folder', { version: 4 }, 'version'],
  ['a field that does not exist', { activation: 'softmax' }, 'model.json'],
  [
    'a golden file that is not there',
    { golden: [{ input: 'golden/x.jpg', expect: { label: 'cat' } }] },
    'golden[0].input',
  ],
])('%s is one problem, with its path', async (_, change, path) => {
  const { problems } = await checkModel(await write((passport) => ({ ...passport, ...change })));
  expect(problems.map((problem) => problem.path)).toEqual([path]);
});

test('a file that is not ONNX is a problem, not a crash', async () => {
  await write();
  await writeFile(join(folder, 'model.onnx'), 'not a model');
  const { problems } = await checkModel(folder);
  expect(problems.map((problem) => problem.path)).toContain('model.onnx');
});

test('a hash that is none yet hides nothing else, and the right one is said', async () => {
  const files = [
    { path: 'model.onnx', sha256: '…' },
    { path: 'labels.txt', sha256: '…' },
  ];
  const { problems } = await checkModel(await write((passport) => ({ ...passport, files, name: 'yours' })));
  expect(problems.map(({ path }) => path)).toEqual(['name', 'files[0].sha256', 'files[1].sha256']);
  expect(problems[1]?.write).toContain(sha(tiny()));
});

test('a model that was cut off is to be got again: its hash is not the one to write', async () => {
  await write();
  await writeFile(join(folder, 'model.onnx'), tiny().subarray(0, 40));
  const { problems } = await checkModel(folder);
  const hash = problems.find(({ path }) => path === 'files[0].sha256');
  expect(hash?.expected).toMatch(/\(40 bytes\) cannot be read; get it again/);
  expect(hash).not.toHaveProperty('write');
});

test('a file that is not there is told as that', async () => {
  await expect(checkModel(join(root, 'nosuch.onnx'))).rejects.toThrow(/nosuch\.onnx does not exist/);
});

test('an empty folder says what is expected there', async () => {
  await expect(checkModel(folder)).rejects.toMatchObject({ code: 'E_NOT_FOUND' });
});
