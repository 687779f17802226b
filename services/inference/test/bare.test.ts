import { appendFile, mkdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { encode, graph, model, node, tensor, value } from '@brink/onnx';
import { describe, expect, it } from 'vitest';
import { eventually, startInference, temporaryFolder } from './harness/inference.ts';
import { pixelsGraph, WIDTH, writeModel } from './harness/models.ts';
import { greyPng } from './harness/picture.ts';
import { runners } from './harness/processes.ts';
import { startModels } from './harness/repository.ts';

async function writeBare(dir: string, files: Record<string, Uint8Array | string>, version = 1): Promise<string> {
  const folder = join(dir, 'm', String(version));
  await mkdir(folder, { recursive: true });
  for (const [name, content] of Object.entries(files)) await writeFile(join(folder, name), content);
  return folder;
}

/** As Ultralytics' exporter writes it into its files. */
function ultralyticsGraph(): Uint8Array {
  const names = "{0: 'person', 1: 'bicycle'}";
  const metadata = { description: 'Ultralytics YOLOv8n model', task: 'detect', stride: '32', imgsz: '[64, 64]', names };
  const of = graph({
    inputs: [value('images', 'float32', ['batch', 3, 64, 64])],
    outputs: [value('output0', 'float32', ['batch', 6, 84])],
    tensors: [
      tensor('shape', [3], BigInt64Array.of(-1n, 6n, 84n)),
      tensor('starts', [1], BigInt64Array.of(0n)),
      tensor('ends', [1], BigInt64Array.of(504n)),
      tensor('axes', [1], BigInt64Array.of(1n)),
    ],
    nodes: [
      node('Flatten', ['images'], ['flat']),
      node('Slice', ['flat', 'starts', 'ends', 'axes'], ['cut']),
      node('Reshape', ['cut', 'shape'], ['output0']),
    ],
  });
  return encode(model(of, { metadata }));
}

describe('a folder with model.onnx alone', () => {
  it('is there for the Open Inference Protocol, says so, and takes no units', async () => {
    await using folder = await temporaryFolder();
    await writeBare(folder.path, { 'model.onnx': pixelsGraph(), 'labels.txt': 'null\neins\nzwei\ndrei\n' });
    await using inference = await startInference(folder.path);
    const [announced] = await inference.until(([one]) => one?.state === 'ready');
    expect(announced).toMatchObject({ passportSha256: '', serving: true, batchBest: 1 });
    expect(announced?.reason).toMatch(/^no model\.json: it answers the Open Inference Protocol and takes no units/);
    const { host, port } = inference.service.addresses.http;
    const infer = (parameters: object) =>
      fetch(`http://${host}:${port}/v2/models/m/infer`, {
        method: 'POST',
        body: JSON.stringify({
          inputs: [{ name: 'x', datatype: 'FP32', shape: [2, 1, 1, WIDTH], data: [0, 9, 0, 0, 0, 0, 0, 8] }],
          outputs: [{ name: 'y', parameters }],
        }),
      }).then((answer) => answer.json());
    expect(await infer({})).toMatchObject({ outputs: [{ shape: [2, WIDTH], data: [0, 9, 0, 0, 0, 0, 0, 8] }] });
    expect(await infer({ classification: 1 })).toMatchObject({
      outputs: [{ data: ['9.000000:1:eins', '8.000000:3:drei'] }],
    });
    const refused = inference.decide({ name: 'm', passport: '' }, [{ pixels: new Uint8Array(4), shape: [1, 4, 1] }]);
    await expect(refused).rejects.toMatchObject({ code: 'E_UNSUPPORTED' });
  });

  it('knows of its inputs and labels what Ultralytics wrote into the file', async () => {
    await using folder = await temporaryFolder();
    await writeBare(folder.path, { 'model.onnx': ultralyticsGraph() });
    await using models = await startModels(folder.path);
    const loaded = models.repository.find('m', 0).ready();
    expect(loaded.labels?.names).toEqual(['person', 'bicycle']);
    expect(loaded.inputs).toMatchObject([{ tensor: 'images', image: { width: 64, height: 64, fit: 'letterbox' } }]);
  });

  it('takes pictures for a model of which they say how pictures become its input', async () => {
    await using folder = await temporaryFolder();
    await writeBare(folder.path, { 'model.onnx': ultralyticsGraph() });
    await using inference = await startInference(folder.path);
    const [announced] = await inference.until(([one]) => one?.state !== 'loading');
    expect(announced).toMatchObject({ state: 'ready', passportSha256: '' });
    const { host, port } = inference.service.addresses.http;
    const row = Array.from({ length: 64 }, (_, x) => 4 * x);
    const answer = await fetch(`http://${host}:${port}/v2/models/m/infer`, {
      method: 'POST',
      headers: { 'inference-header-content-length': '0', 'content-type': 'application/octet-stream' },
      body: greyPng(...row),
    });
    const bytes = Buffer.from(await answer.arrayBuffer());
    const header = Number(answer.headers.get('inference-header-content-length'));
    expect(JSON.parse(bytes.subarray(0, header).toString())).toMatchObject({
      outputs: [{ name: 'output0', datatype: 'FP32', shape: [1, 6, 84] }],
    });
    // The picture is one row in the middle of the square; the first row of it is grey 114.
    expect(bytes.readFloatLE(header)).toBeCloseTo(114 / 255, 5);
  });

  it('knows nothing that nobody says', async () => {
    await using folder = await temporaryFolder();
    await writeBare(folder.path, { 'model.onnx': pixelsGraph(), 'config.json': '{"half":' });
    await using models = await startModels(folder.path);
    const loaded = models.repository.find('m', 0).ready();
    expect([loaded.inputs, loaded.labels, loaded.passport]).toEqual([[], undefined, undefined]);
  });

  it('is left alone while its file grows, and loaded when it rests', async () => {
    await using folder = await temporaryFolder();
    await writeModel(folder.path, { name: 'other', graph: pixelsGraph() });
    await using models = await startModels(folder.path);
    const bytes = pixelsGraph();
    const path = await writeBare(folder.path, { 'model.onnx': bytes.subarray(0, 10) });
    const states = new Set<string>();
    let at = 10;
    // Longer than several looks take (250 ms each), pieces between any two of them.
    const until = performance.now() + 1500;
    while (performance.now() < until) {
      await appendFile(join(path, 'model.onnx'), bytes.subarray(at, at + 1));
      at += 1;
      for (const { name, status } of models.repository.versions) if (name === 'm') states.add(status.state);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    expect([...states]).toEqual([]);
    await appendFile(join(path, 'model.onnx'), bytes.subarray(at));
    await models.shows('m 1 ready*', 'other 1 ready*');
  });

  it('fails where the file was cut off, and is tried again when it is whole', async () => {
    await using folder = await temporaryFolder();
    const bytes = pixelsGraph();
    const path = await writeBare(folder.path, { 'model.onnx': bytes.subarray(0, bytes.length - 20) });
    await using models = await startModels(folder.path);
    expect(models.shown).toEqual(['m 1 failed']);
    expect(models.repository.problems[0]).toContain('E_MODEL_PARSE');
    await writeFile(join(path, 'new'), bytes);
    await rename(join(path, 'new'), join(path, 'model.onnx'));
    await models.shows('m 1 ready*');
  });

  it('takes units from when its passport comes, without a gap', async () => {
    await using folder = await temporaryFolder();
    await writeModel(folder.path, { name: 'm', graph: pixelsGraph() });
    const passport = join(folder.path, 'm/1/model.json');
    await rename(passport, join(folder.path, 'later'));
    await using models = await startModels(folder.path);
    expect(models.repository.find('m', 0).status.isBare).toBe(true);
    await rename(join(folder.path, 'later'), passport);
    await eventually('the passport', async () => {
      const { status } = models.repository.find('m', 0);
      expect(status.state).toBe('ready');
      return !status.isBare;
    });
    expect((await models.ask('m', [0, 0, 9, 0])).label).toBe('two');
    await eventually('one runner', async () => (await runners()).length === 1);
  });

  it('never takes the place of a version with a passport, but where it is asked for', async () => {
    await using folder = await temporaryFolder();
    await writeModel(folder.path, { name: 'm', graph: pixelsGraph() });
    await writeBare(folder.path, { 'model.onnx': pixelsGraph() }, 2);
    await using models = await startModels(folder.path);
    expect(models.shown).toEqual(['m 1 ready*', 'm 2 ready']);
    models.setPolicies({ m: { serve: 2 } });
    expect(models.shown).toEqual(['m 1 ready', 'm 2 ready*']);
  });
});
