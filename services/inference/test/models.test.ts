import { mkdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { encode, graph, model, node, value } from '@brink/onnx';
import type { ImageInput, Passport } from '@brink/protocol';
import { describe, expect, it } from 'vitest';
import { pixels, startInference, temporaryFolder } from './harness/inference.ts';
import { loopGraph, pixelsGraph, WIDTH, writeModel } from './harness/models.ts';
import { greyPng } from './harness/picture.ts';

const withGolden = (expected: { label: string; score?: number }) => ({
  files: { 'golden/two.png': greyPng(0, 0, 9, 0) },
  passport: (passport: Passport) => ({ ...passport, golden: [{ input: 'golden/two.png', expect: expected }] }),
});

describe('loading models', () => {
  it('serves a folder with a model and a passport', async () => {
    await using models = await temporaryFolder();
    const passport = await writeModel(models.path, {
      name: 'pixels',
      graph: pixelsGraph(),
      ...withGolden({ label: 'two' }),
    });
    await using inference = await startInference(models.path);
    const [announced] = await inference.until(([first]) => first?.state === 'ready');
    expect(announced).toMatchObject({ version: 1, passportSha256: passport, serving: true, reason: '' });
    const [decided] = await inference.decide({ name: 'pixels', passport }, [pixels(0, 1, 9, 0)]);
    expect(decided?.result).toMatchObject({ task: 'classification', label: 'two' });
    expect(decided?.top[0]).toEqual({ label: 'two', raw: 9 });
  });

  it('refuses what is wrong by its name and serves the others', async () => {
    await using models = await temporaryFolder();
    const dir = models.path;
    const own = pixelsGraph();
    const good = await writeModel(dir, { name: 'good', graph: own });
    await writeModel(dir, { name: 'text', graph: Buffer.from('this is no onnx file') });
    await writeModel(dir, { name: 'cut', graph: own.subarray(0, own.length / 2) });
    await writeModel(dir, { name: 'golden', graph: own, ...withGolden({ label: 'one' }) });
    await writeModel(dir, { name: 'golden-score', graph: own, ...withGolden({ label: 'two', score: 0.2 }) });
    await writeModel(dir, { name: 'hash', graph: own });
    await writeFile(join(dir, 'hash/1/model.onnx'), pixelsGraph('other'));
    await writeModel(dir, {
      name: 'typo',
      graph: own,
      passport: ({ inputs, ...rest }) => ({ ...rest, input: inputs }),
    });
    await writeModel(dir, { name: 'json', graph: own });
    await writeFile(join(dir, 'json/1/model.json'), '{"passport":');
    await writeModel(dir, { name: 'other-name', graph: own, passport: (passport) => ({ ...passport, name: 'good' }) });
    await writeModel(dir, { name: 'linked', graph: own });
    await rename(join(dir, 'linked/1/model.onnx'), join(dir, 'elsewhere'));
    await symlink(join(dir, 'elsewhere'), join(dir, 'linked/1/model.onnx'));
    await writeModel(dir, { name: 'linked-folder', graph: own, ...withGolden({ label: 'two' }) });
    await rename(join(dir, 'linked-folder/1/golden'), join(dir, 'away'));
    await symlink(join(dir, 'away'), join(dir, 'linked-folder/1/golden'));
    await writeModel(dir, { name: 'missing', graph: own });
    await rm(join(dir, 'missing/1/labels.zh.txt'));
    await writeModel(dir, {
      name: 'tensor',
      graph: own,
      passport: (p) => ({ ...p, output: { ...p.output, tensors: { y: 'z' } } }),
    });
    await writeModel(dir, {
      name: 'shape',
      graph: own,
      passport: (p) => ({ ...p, inputs: [{ tensor: 'x', image: { ...imageOf(p), width: 5 } }] }),
    });
    await writeModel(dir, { name: 'fixed', graph: pixelsGraph(1) });
    await writeModel(dir, { name: 'labels', graph: own, files: { 'labels.txt': 'a\nb', 'labels.zh.txt': 'a\nb' } });
    await writeModel(dir, {
      name: 'operator',
      graph: encode(
        model(
          graph({
            inputs: [value('x', 'float32', ['n', 1, 1, WIDTH])],
            outputs: [value('y', 'float32', ['n', WIDTH])],
            nodes: [node('evil:Run', ['x'], ['y'])],
          }),
          { domains: ['evil'] },
        ),
      ),
    });
    await mkdir(join(dir, 'half-copied/1'), { recursive: true });
    await mkdir(join(dir, 'Not A Name/1'), { recursive: true });

    await using inference = await startInference(dir);
    const announced = await inference.until((all) => all.every(({ state }) => state === 'ready' || state === 'failed'));
    const said = Object.fromEntries(announced.map(({ name, state, reason }) => [name, `${state} ${reason}`]));
    expect(said).toEqual({
      good: 'ready ',
      text: expect.stringMatching(/^failed E_MODEL_PARSE: /),
      cut: expect.stringMatching(/^failed E_MODEL_PARSE: /),
      golden: expect.stringMatching(/^failed E_MODEL_GOLDEN: golden\/two.png gives "two" 0\.99.*expected "one"/),
      'golden-score': expect.stringMatching(/^failed E_MODEL_GOLDEN: .*expected "two" 0.2 ± 0.05/),
      hash: expect.stringMatching(/^failed E_MODEL_HASH: .*model.onnx has .* its passport says/),
      typo: expect.stringMatching(/^failed E_PASSPORT: .*typo\/1\/model.json: .*inputs.*input/),
      json: expect.stringMatching(/^failed E_PASSPORT: .*json\/1\/model.json: /),
      'other-name': expect.stringMatching(/^failed E_PASSPORT: .*expected those of the folder, "other-name", 1/),
      linked: expect.stringMatching(/^failed E_PASSPORT: .*model.onnx: is a symbolic link/),
      'linked-folder': expect.stringMatching(/^failed E_PASSPORT: .*two.png: a folder on the way is a symbolic link/),
      missing: expect.stringMatching(/^failed E_PASSPORT: .*labels.zh.txt: ENOENT/),
      tensor: expect.stringMatching(/^failed E_PASSPORT: output.tensors.y: "z"; .*"y" float32 \[batch, 4\]/),
      shape: expect.stringMatching(/^failed E_PASSPORT: inputs\[0\].image: \[batch, 1, 1, 5\]; .*\[batch, 1, 1, 4\]/),
      fixed: expect.stringMatching(/^failed E_PASSPORT: batch_max: 8; expected 1: .*is fixed/),
      labels: expect.stringMatching(/^failed E_PASSPORT: .*4 values.*2 labels/),
      operator: expect.stringMatching(/^failed E_MODEL_OP: "evil:Run"/),
    });
    const [decided] = await inference.decide({ name: 'good', passport: good }, [pixels(9, 0, 0, 0)]);
    expect(decided?.result?.label).toBe('zero');
    const { host, port } = inference.service.addresses.ops;
    expect((await fetch(`http://${host}:${port}/readyz`)).status).toBe(200);
  });

  it('takes a model whose batch is fixed at 1, one unit at a time', async () => {
    await using models = await temporaryFolder();
    const passport = await writeModel(models.path, {
      name: 'fixed',
      graph: pixelsGraph(1),
      passport: (given) => ({ ...given, batch_max: 1 }),
    });
    await using inference = await startInference(models.path);
    const [announced] = await inference.until(([first]) => first?.state === 'ready');
    expect(announced?.batchBest).toBe(1);
    const decided = await inference.decide({ name: 'fixed', passport }, [pixels(9, 0, 0, 0), pixels(0, 9, 0, 0)]);
    expect(decided.map(({ result, batch }) => [result?.label, batch])).toEqual([
      ['zero', 1],
      ['one', 1],
    ]);
  });

  it('serves the highest version, and the one before where that failed', async () => {
    await using models = await temporaryFolder();
    for (const version of [1, 2]) await writeModel(models.path, { name: 'm', version, graph: pixelsGraph() });
    await writeModel(models.path, { name: 'm', version: 10, graph: Buffer.from('broken') });
    await using inference = await startInference(models.path);
    const announced = await inference.until((all) => all.every(({ state }) => state !== 'loading'));
    expect(announced.map(({ version, state, serving }) => [version, state, serving])).toEqual([
      [1, 'ready', false],
      [2, 'ready', true],
      [10, 'failed', false],
    ]);
  });

  it('takes a version out of service that ends its runner five times in a minute, and serves the one before', async () => {
    await using models = await temporaryFolder();
    const first = await writeModel(models.path, { name: 'm', graph: pixelsGraph() });
    const second = await writeModel(models.path, { name: 'm', version: 2, graph: loopGraph() });
    const configuration = { models: { m: { run_ms_max: 200 } } };
    await using inference = await startInference(models.path, { configuration });
    await inference.until((all) => all.every(({ state }) => state === 'ready') && all[1]?.serving === true);
    // Which loops for ever: run_ms_max ends the runner.
    const codes: (string | undefined)[] = [];
    while (codes.length < 5) {
      const [decided] = await inference.decide({ name: 'm', version: 2, passport: second }, [pixels(255, 0, 0, 0)]);
      codes.push(decided?.code);
    }
    expect(codes).toEqual(Array.from({ length: 5 }, () => 'E_MODEL_TIMEOUT'));
    const announced = await inference.until((all) => all[1]?.state === 'failed');
    expect(announced.map(({ serving }) => serving)).toEqual([true, false]);
    expect(announced[1]?.reason).toMatch(/^E_MODEL_CRASH: .*five times in a minute/);
    const [decided] = await inference.decide({ name: 'm', version: 0, passport: first }, [pixels(0, 0, 9, 0)]);
    expect(decided?.result?.label).toBe('two');
  });

  it('refuses units for another passport, another model, another shape, each by its code', async () => {
    await using models = await temporaryFolder();
    const passport = await writeModel(models.path, { name: 'pixels', graph: pixelsGraph() });
    await writeModel(models.path, { name: 'broken', graph: Buffer.from('broken') });
    await using inference = await startInference(models.path);
    await inference.until((all) => all.every(({ state }) => state !== 'loading'));
    const code = async (of: { name: string; version?: number; passport: string }) =>
      inference.decide(of, [pixels(1, 2, 3, 4)]).then(
        () => 'decided',
        (error: { code: string }) => error.code,
      );
    expect(await code({ name: 'pixels', passport })).toBe('decided');
    expect(await code({ name: 'pixels', passport: 'f'.repeat(64) })).toBe('E_PASSPORT_CHANGED');
    expect(await code({ name: 'pixels', version: 2, passport })).toBe('E_MODEL_UNKNOWN');
    expect(await code({ name: 'nobody', passport })).toBe('E_MODEL_UNKNOWN');
    const broken = JSON.parse(await readFile(join(models.path, 'broken/1/model.json'), 'utf8')) as Passport;
    expect(broken.name).toBe('broken');
    const announced = inference.announced.find(({ name }) => name === 'broken');
    expect(await code({ name: 'broken', passport: announced?.passportSha256 ?? '' })).toBe('E_MODEL_NOT_READY');
    const decided = await inference.decide({ name: 'pixels', passport }, [
      pixels(1, 2, 3),
      pixels(9, 0, 0, 0),
      { pixels: Uint8Array.of(1, 2, 3), shape: [1, 4, 1] },
    ]);
    expect(decided.map(({ result, code: refused }) => refused ?? result?.label)).toEqual([
      'E_SHAPE',
      'zero',
      'E_SHAPE',
    ]);
    expect(decided[0]?.detail).toMatch(/uint8 \[1,3,1\] of 3 bytes; expected uint8 \[1,4,1\]/);
  });
});

function imageOf({ inputs: [input] }: Passport): ImageInput {
  if (input === undefined || !('image' in input)) throw new Error('no picture');
  return input.image;
}
