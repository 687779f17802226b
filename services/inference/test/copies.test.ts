import { describe, expect, it } from 'vitest';
import { eventually, temporaryFolder } from './harness/inference.ts';
import { loopGraph, pixelsGraph, writeModel } from './harness/models.ts';
import { runners } from './harness/processes.ts';
import { startModels } from './harness/repository.ts';

const one = (passport: object) => ({ ...passport, batch_max: 1 });
const count = (most: number) => eventually(`${most} runners`, async () => (await runners()).length === most);

describe('copies of a model', () => {
  it('are as many as there are run slots where the graph takes one unit at a time', async () => {
    await using folder = await temporaryFolder();
    await writeModel(folder.path, { name: 'm', graph: pixelsGraph(1), passport: one });
    await using models = await startModels(folder.path, { runSlots: 3 });
    const { status } = models.repository.find('m', 0);
    await eventually('three copies', async () => status.copies === 3);
    expect(await runners()).toHaveLength(3);
    expect(await models.metrics()).toMatch(/brink_inference_runners\{model="m",version="1",provider="cpu"[^}]*\} 3/);
  });

  it('is one where the graph takes batches', async () => {
    await using folder = await temporaryFolder();
    await writeModel(folder.path, { name: 'm', graph: pixelsGraph(), passport: one });
    await using models = await startModels(folder.path, { runSlots: 3 });
    expect(models.repository.find('m', 0).status.copies).toBe(1);
    expect(await runners()).toHaveLength(1);
  });

  it('come and go with the policy, and no request is lost', async () => {
    await using folder = await temporaryFolder();
    await writeModel(folder.path, { name: 'm', graph: loopGraph() });
    await using models = await startModels(folder.path, { policies: { m: { copies: 1 } } });
    const { status } = models.repository.find('m', 0);
    let done = false;
    const answers: (string | undefined)[] = [];
    const client = async () => {
      while (!done) answers.push((await models.ask('m', [50, 0, 0, 0])).task);
    };
    const clients = Promise.all(Array.from({ length: 12 }, client));
    const changes = [
      { copies: 3, memory_mb_max: 2048 },
      { copies: 1, memory_mb_max: 2048 },
      // Other runners altogether.
      { copies: 2, memory_mb_max: 1000 },
    ];
    for (const { copies, ...more } of changes) {
      models.setPolicies({ m: { copies, ...more } });
      await eventually(`${copies} copies`, async () => status.copies === copies);
      await count(copies);
    }
    done = true;
    await clients;
    expect(new Set(answers)).toEqual(new Set(['classification']));
    expect(status.note).toBe('');
  });

  it('each come back after a crash while the others go on', async () => {
    await using folder = await temporaryFolder();
    await writeModel(folder.path, { name: 'm', graph: pixelsGraph() });
    await using models = await startModels(folder.path, { policies: { m: { copies: 2 } } });
    const { status } = models.repository.find('m', 0);
    await eventually('two copies', async () => status.copies === 2);
    const [first] = await runners();
    if (first === undefined) throw new Error('no runner');
    process.kill(first, 'SIGKILL');
    await eventually('the crash', async () => status.copies === 1);
    expect((await models.ask('m', [0, 9, 0, 0])).label).toBe('one');
    await eventually('its return', async () => status.copies === 2);
    expect(status.state).toBe('ready');
  });
});

describe('execution providers', () => {
  it('a strict one that is not there fails the version, and it is tried again when the policy changes', async () => {
    await using folder = await temporaryFolder();
    await writeModel(folder.path, { name: 'm', graph: pixelsGraph() });
    const policies = { m: { providers: ['cuda' as const], strict: true } };
    await using models = await startModels(folder.path, { policies });
    expect(models.shown).toEqual(['m 1 failed']);
    expect(models.repository.problems[0]).toContain('E_MODEL_PROVIDER');
    models.setPolicies({});
    await models.shows('m 1 ready*');
    expect(models.repository.find('m', 0).status.provider).toBe('cpu');
  });

  it('without strict the next one is taken, which is said and counted', async () => {
    await using folder = await temporaryFolder();
    await writeModel(folder.path, { name: 'm', graph: pixelsGraph() });
    await using models = await startModels(folder.path, { policies: { m: { providers: ['cuda', 'cpu'] } } });
    const { status } = models.repository.find('m', 0);
    expect(status).toMatchObject({ state: 'ready', provider: 'cpu' });
    expect(status.note).toContain('cuda');
    expect(await models.metrics()).toMatch(/brink_inference_provider_fallbacks_total\{model="m",version="1"[^}]*\} 1/);
  });

  it('a change to one that is not there leaves the runners that there are', async () => {
    await using folder = await temporaryFolder();
    await writeModel(folder.path, { name: 'm', graph: pixelsGraph() });
    await using models = await startModels(folder.path);
    const before = await runners();
    models.setPolicies({ m: { providers: ['cuda'], strict: true } });
    const { status } = models.repository.find('m', 0);
    await eventually('the note', async () => status.note.includes('E_MODEL_PROVIDER'));
    expect(models.shown).toEqual(['m 1 ready*']);
    expect(await eventually('the runner that was there', async () => `${await runners()}` === `${before}`)).toBe(true);
    expect((await models.ask('m', [0, 9, 0, 0])).label).toBe('one');
    models.setPolicies({});
    await eventually('the end of the note', async () => status.note === '');
  });
});
