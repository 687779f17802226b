import { appendFile, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { modelConfig } from '../src/oip/configuration.ts';
import { eventually, temporaryFolder } from './harness/inference.ts';
import { loopGraph, pixelsGraph, writeModel } from './harness/models.ts';
import { runners } from './harness/processes.ts';
import { startModels } from './harness/repository.ts';

const LONG = process.env['BRINK_TEST_SIZE'] === 'long';
const shownIndex = (models: Awaited<ReturnType<typeof startModels>>) =>
  models.repository.index.map(({ version, state, reason }) => `${version} ${state} ${reason}`.trim());

describe('load and unload, as the repository extension of the Open Inference Protocol asks for them', () => {
  it('takes a model out of service and brings it back', async () => {
    await using folder = await temporaryFolder();
    for (const version of [1, 2]) await writeModel(folder.path, { name: 'm', version, graph: pixelsGraph() });
    await using models = await startModels(folder.path);
    expect(shownIndex(models)).toEqual(['1 READY', '2 READY']);
    await models.repository.unload('m', 2);
    expect(shownIndex(models)).toEqual(['1 READY', '2 UNAVAILABLE unloaded']);
    expect((await models.ask('m', [0, 0, 9, 0])).label).toBe('two');
    expect(models.shown).toEqual(['m 1 ready*']);
    await models.repository.unload('m');
    expect(shownIndex(models)).toEqual(['1 UNAVAILABLE unloaded', '2 UNAVAILABLE unloaded']);
    expect(await runners()).toEqual([]);
    expect(() => models.repository.find('m', 0)).toThrow(/E_MODEL_NOT_READY: no version of m serves: 1 UNAVAILABLE/);
    expect(() => models.repository.find('m', 2)).toThrow(/E_MODEL_NOT_READY: m 2 is not loaded: unloaded/);
    // Twice is no mistake.
    await models.repository.unload('m');
    await models.repository.load('m', 1);
    expect(models.shown).toEqual(['m 1 ready*']);
    await models.repository.load('m');
    expect(models.shown).toEqual(['m 1 ready', 'm 2 ready*']);
  });

  it('leaves what is loaded as it is where its files did not change, and loads it again beside where they did', async () => {
    await using folder = await temporaryFolder();
    await writeModel(folder.path, { name: 'm', graph: pixelsGraph() });
    await using models = await startModels(folder.path);
    const before = await runners();
    await models.repository.load('m');
    expect(await runners()).toEqual(before);
    await writeModel(folder.path, {
      name: 'm',
      graph: pixelsGraph(),
      files: { 'labels.txt': 'null\neins\nzwei\ndrei' },
    });
    await models.repository.load('m');
    expect((await models.ask('m', [0, 0, 9, 0])).label).toBe('zwei');
    expect(models.repository.find('m', 1).status.note).toBe('');
    await eventually('the old runner to end', async () => (await runners()).every((pid) => !before.includes(pid)));
    const said = /brink_inference_runners\{model="m",version="1",provider="cpu"[^}]*\} 1/;
    await eventually('one runner in the metrics', async () => said.test(await models.metrics()));
  });

  it('loads with the policy as it is at the end: what changed while the files were read counts', async () => {
    await using folder = await temporaryFolder();
    await writeModel(folder.path, { name: 'm', graph: pixelsGraph() });
    await using models = await startModels(folder.path, { policies: { m: { copies: 1 } } });
    const before = await runners();
    await writeModel(folder.path, { name: 'm', graph: pixelsGraph(), files: { 'more.bin': Buffer.alloc(1) } });
    const loaded = models.repository.load('m');
    await eventually('the new runner to start', async () => (await runners()).some((pid) => !before.includes(pid)));
    models.setPolicies({ m: { copies: 2 } });
    await loaded;
    expect(await eventually('two copies', async () => models.repository.find('m', 1).status.copies === 2)).toBe(true);
    expect(models.repository.find('m', 1).policy.copies).toBe(2);
  });

  it('says why a load failed, and the old one goes on', async () => {
    await using folder = await temporaryFolder();
    await writeModel(folder.path, { name: 'm', graph: pixelsGraph() });
    await using models = await startModels(folder.path);
    await appendFile(join(folder.path, 'm/1/model.onnx'), 'x');
    await expect(models.repository.load('m')).rejects.toMatchObject({ code: 'E_MODEL_HASH' });
    expect(models.shown).toEqual(['m 1 ready*']);
    expect(shownIndex(models)[0]).toMatch(/^1 READY .*could not be loaded again: E_MODEL_HASH/);
    expect((await models.ask('m', [9, 0, 0, 0])).label).toBe('zero');
    await writeModel(folder.path, { name: 'm', version: 2, graph: Buffer.from('broken') });
    await expect(models.repository.load('m', 2)).rejects.toMatchObject({ code: 'E_MODEL_PARSE' });
    expect(models.shown).toEqual(['m 1 ready*', 'm 2 failed']);
    await writeModel(folder.path, { name: 'm', version: 2, graph: pixelsGraph() });
    await models.repository.load('m', 2);
    expect(models.shown).toEqual(['m 1 ready', 'm 2 ready*']);
  });

  it('loads a model whose older version is bad, and not one whose newest is', async () => {
    await using folder = await temporaryFolder();
    await writeModel(folder.path, { name: 'm', graph: Buffer.from('broken') });
    await writeModel(folder.path, { name: 'm', version: 2, graph: pixelsGraph() });
    await using models = await startModels(folder.path);
    await models.repository.load('m');
    expect(models.shown).toEqual(['m 1 failed', 'm 2 ready*']);
    models.setPolicies({ m: { serve: 1 } });
    await expect(models.repository.load('m')).rejects.toMatchObject({ code: 'E_MODEL_PARSE' });
    expect(models.shown).toEqual(['m 1 failed', 'm 2 ready*']);
  });

  it('keeps an unloaded model out until its folder changes', async () => {
    await using folder = await temporaryFolder();
    await writeModel(folder.path, { name: 'm', graph: pixelsGraph() });
    await using models = await startModels(folder.path);
    await models.repository.unload('m');
    // Another model comes meanwhile, so that the folder was looked at.
    await writeModel(folder.path, { name: 'other', graph: pixelsGraph() });
    await models.shows('other 1 ready*');
    expect(shownIndex(models)[0]).toBe('1 UNAVAILABLE unloaded');
    await writeFile(join(folder.path, 'm/1/labels.txt'), await readFile(join(folder.path, 'm/1/labels.txt')));
    await models.shows('m 1 ready*', 'other 1 ready*');
  });

  it('answers what a model has before it is unloaded', async () => {
    await using folder = await temporaryFolder();
    await writeModel(folder.path, { name: 'm', graph: loopGraph() });
    await using models = await startModels(folder.path);
    const asked = Array.from({ length: 20 }, () => models.ask('m', [60, 0, 0, 0]));
    await models.repository.unload('m');
    expect((await Promise.allSettled(asked)).map(({ status }) => status)).toEqual(asked.map(() => 'fulfilled'));
  });

  it('knows what it does not know', async () => {
    await using folder = await temporaryFolder();
    await writeModel(folder.path, { name: 'm', graph: pixelsGraph() });
    await using models = await startModels(folder.path);
    for (const name of ['nobody', '../m', 'm/1']) {
      await expect(models.repository.load(name)).rejects.toMatchObject({ code: 'E_MODEL_UNKNOWN' });
      await expect(models.repository.unload(name)).rejects.toMatchObject({ code: 'E_MODEL_UNKNOWN' });
    }
    await expect(models.repository.load('m', 7)).rejects.toMatchObject({ code: 'E_MODEL_UNKNOWN' });
    expect(models.shown).toEqual(['m 1 ready*']);
  });

  const reloads = LONG ? 100 : 20;
  it(`takes no more memory after ${reloads} reloads`, { timeout: LONG ? 600_000 : 120_000 }, async () => {
    await using folder = await temporaryFolder();
    // Files of some size, so that some that are kept show; one size of batch to be measured.
    const write = (fill: number) =>
      writeModel(folder.path, {
        name: 'm',
        graph: pixelsGraph(),
        files: { 'more.bin': Buffer.alloc(4_000_000, fill) },
        passport: (passport) => ({ ...passport, batch_max: 1 }),
      });
    await write(255);
    await using models = await startModels(folder.path);
    const rss: number[] = [];
    for (let reload = 0; reload < reloads; reload++) {
      await write(reload);
      await models.repository.load('m');
      globalThis.gc?.();
      rss.push(process.memoryUsage().rss);
    }
    expect(await eventually('one runner', async () => (await runners()).length === 1)).toBe(true);
    // What 4 MB more at each would be: no collection has to be complete for this.
    const early = Math.max(...rss.slice(3, 8));
    expect(Math.min(...rss.slice(-5))).toBeLessThan(early + reloads * 2_000_000);
  });
});

describe('which versions are loaded', () => {
  it('is what the policy says, and changes with it: beside first, then the others are drained', async () => {
    await using folder = await temporaryFolder();
    for (const version of [1, 2, 3]) await writeModel(folder.path, { name: 'm', version, graph: pixelsGraph() });
    await using models = await startModels(folder.path, { policies: { m: { versions: [1] } } });
    expect(models.shown).toEqual(['m 1 ready*']);
    expect(shownIndex(models).slice(1)).toEqual([
      '2 UNAVAILABLE not among those that are to be loaded',
      '3 UNAVAILABLE not among those that are to be loaded',
    ]);
    const before = models.ask('m', [0, 0, 9, 0]);
    expect(modelConfig(models.repository.find('m', 1))['version_policy']).toEqual({ specific: { versions: [1] } });
    models.setPolicies({ m: { versions: 'latest' } });
    await models.shows('m 3 ready*');
    expect(modelConfig(models.repository.find('m', 3))['version_policy']).toEqual({ latest: { num_versions: 1 } });
    expect((await before).label).toBe('two');
    models.setPolicies({ m: { versions: 'latest', serve: 2 } });
    await models.shows('m 2 ready*', 'm 3 ready');
    models.setPolicies({ m: { versions: 'all' } });
    await models.shows('m 1 ready', 'm 2 ready', 'm 3 ready*');
    expect(modelConfig(models.repository.find('m', 3))['version_policy']).toEqual({ all: {} });
    models.setPolicies({ m: { versions: [1, 2] } });
    await models.shows('m 1 ready', 'm 2 ready*');
    expect(await eventually('two runners', async () => (await runners()).length === 2)).toBe(true);
  });

  it('latest: the one before serves until the new one is ready, and comes back where it is bad', async () => {
    await using folder = await temporaryFolder();
    await writeModel(folder.path, { name: 'm', graph: pixelsGraph() });
    await using models = await startModels(folder.path, { policies: { m: { versions: 'latest' } } });
    await writeModel(folder.path, { name: 'm', version: 2, graph: Buffer.from('broken') });
    await models.shows('m 1 ready*', 'm 2 failed');
    await writeModel(folder.path, { name: 'm', version: 3, graph: pixelsGraph() });
    await models.shows('m 3 ready*');
    await rm(join(folder.path, 'm/3'), { recursive: true });
    await models.shows('m 1 ready*', 'm 2 failed');
  });

  it('latest at start: below a bad one the next is loaded', async () => {
    await using folder = await temporaryFolder();
    for (const version of [1, 2]) await writeModel(folder.path, { name: 'm', version, graph: pixelsGraph() });
    await writeModel(folder.path, { name: 'm', version: 3, graph: Buffer.from('broken') });
    await using models = await startModels(folder.path, { policies: { m: { versions: 'latest' } } });
    expect(models.shown).toEqual(['m 2 ready*', 'm 3 failed']);
  });

  it('keeps what serves while nothing that is wanted can', async () => {
    await using folder = await temporaryFolder();
    await writeModel(folder.path, { name: 'm', graph: pixelsGraph() });
    await writeModel(folder.path, { name: 'm', version: 2, graph: Buffer.from('broken') });
    await using models = await startModels(folder.path);
    models.setPolicies({ m: { versions: [2], serve: 2 } });
    await models.shows('m 1 ready*', 'm 2 failed');
    expect(models.repository.problems[0]).toMatch(/^m: version 2 is asked for but failed.*; serving 1$/);
  });

  it('five crashes in a minute take a version out of service, and the one before comes back', async () => {
    await using folder = await temporaryFolder();
    for (const version of [1, 2]) await writeModel(folder.path, { name: 'm', version, graph: pixelsGraph() });
    await using models = await startModels(folder.path, { policies: { m: { versions: 'latest' } } });
    expect(models.shown).toEqual(['m 2 ready*']);
    let last: number[] = [];
    for (let crash = 0; crash < 5; crash++) {
      const [pid] = await eventually('a runner that takes units', async () => {
        const found = (await runners()).filter((one) => !last.includes(one));
        return found.length === 1 && models.repository.find('m', 2).status.copies === 1 ? found : undefined;
      });
      if (pid === undefined) throw new Error('no runner');
      last = [pid];
      process.kill(pid, 'SIGKILL');
    }
    await models.shows('m 1 ready*', 'm 2 failed');
    expect(models.repository.problems.join()).toMatch(/m 2 is failed: E_MODEL_CRASH: .*five times in a minute/);
    expect((await models.ask('m', [0, 9, 0, 0])).label).toBe('one');
  });

  it('a folder that is moved away under latest is retired, and what was below it serves', async () => {
    await using folder = await temporaryFolder();
    for (const version of [1, 2]) await writeModel(folder.path, { name: 'm', version, graph: pixelsGraph() });
    await using models = await startModels(folder.path, { policies: { m: { versions: 'latest' } } });
    await rename(join(folder.path, 'm/2'), join(folder.path, 'away'));
    await models.shows('m 1 ready*');
  });
});
