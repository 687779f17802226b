import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encode, graph, model, node, value } from '@brink/onnx';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { checkModel } from './check.ts';
import { repairModel } from './repair.ts';

let root: string;
let folder: string;
const labels = Array.from({ length: 10 }, (_, i) => `class ${i}`).join('\n');

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'brink-repair-'));
  folder = join(root, 'mine/3');
  await mkdir(folder, { recursive: true });
  const parts = {
    inputs: [value('image', 'float32', [1, 3, 128, 128])],
    outputs: [value('logits', 'float32', [1, 10])],
    nodes: [node('Identity', ['image'], ['logits'])],
  };
  await writeFile(join(folder, 'model.onnx'), encode(model(graph(parts))));
  await writeFile(join(folder, 'labels.txt'), labels);
});
afterEach(() => rm(root, { recursive: true, force: true }));

async function passport(change: (right: Record<string, unknown>) => object): Promise<void> {
  await rm(join(folder, 'model.json'), { force: true });
  const draft = (await checkModel(folder)).draft?.draft;
  await writeFile(join(folder, 'model.json'), JSON.stringify(change({ ...draft, batch_max: 1 })));
}
const written = async () => JSON.parse(await readFile(join(folder, 'model.json'), 'utf8'));

test('hashes, sizes, name, version and what the graph fixes are written; then there is nothing to put right', async () => {
  await passport((right) => ({
    ...right,
    name: 'yours',
    version: 9,
    batch_max: 8,
    files: [{ path: 'model.onnx', sha256: '0'.repeat(64) }],
  }));
  const { check, written: paths } = await repairModel(folder);
  expect(check.problems).toEqual([]);
  expect([...paths].sort()).toEqual(['batch_max', 'files[0].sha256', 'name', 'output.labels.file', 'version']);
  expect(await written()).toMatchObject({
    name: 'mine',
    version: 3,
    batch_max: 1,
    files: [{ path: 'model.onnx' }, { path: 'labels.txt' }],
  });
  expect(await readdir(folder)).toEqual(['labels.txt', 'model.json', 'model.onnx']);
});

test('what is a guess stays to be put right by a person, and what is right already is not written again', async () => {
  await passport((right) => right);
  const before = await readFile(join(folder, 'model.json'), 'utf8');
  expect((await repairModel(folder)).written).toEqual([]);
  expect(await readFile(join(folder, 'model.json'), 'utf8')).toBe(before);
  await passport((right) => ({ ...right, output: { ...(right['output'] as object), tensors: { logits: 'logit' } } }));
  const { check, written: paths } = await repairModel(folder);
  expect(paths).toEqual([]);
  expect(check.problems).toMatchObject([{ path: 'output.tensors.logits' }]);
});

test('a model that was cut off gets no hash', async () => {
  await passport((right) => right);
  await writeFile(join(folder, 'model.onnx'), 'cut');
  const before = await readFile(join(folder, 'model.json'), 'utf8');
  const { check, written: paths } = await repairModel(folder);
  expect(paths).toEqual([]);
  expect(check.problems.length).toBeGreaterThan(0);
  expect(await readFile(join(folder, 'model.json'), 'utf8')).toBe(before);
});
