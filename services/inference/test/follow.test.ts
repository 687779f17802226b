import { appendFile, cp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Passport } from '@brink/protocol';
import { describe, expect, it } from 'vitest';
import { type Decided, eventually, pixels, startInference, temporaryFolder } from './harness/inference.ts';
import { loopGraph, pixelsGraph, writeModel } from './harness/models.ts';
import { greyPng } from './harness/picture.ts';
import { runners } from './harness/processes.ts';

const withGolden = (label: string) => ({
  files: { 'golden/two.png': greyPng(0, 0, 9, 0) },
  passport: (passport: Passport) => ({ ...passport, golden: [{ input: 'golden/two.png', expect: { label } }] }),
});

type Announced = Awaited<ReturnType<typeof startInference>>['announced'];
const shown = (all: Announced) => all.map(({ version, state, serving }) => [version, state, serving]);

/** Asks without a break until `done`. @returns what was answered, and the codes of requests that were refused */
function askOn(inference: Awaited<ReturnType<typeof startInference>>, passport: string, pixel: number) {
  const answers: Decided[] = [];
  const refused: string[] = [];
  let done = false;
  const one = async () => {
    while (!done) {
      const asked = inference.decide({ name: 'm', version: 1, passport }, [pixels(pixel, 0, 0, 0)]);
      const answer = await asked.catch((error: { code: string }) => error.code);
      if (typeof answer === 'string') {
        refused.push(answer);
        await new Promise((resolve) => setTimeout(resolve, 5));
      } else answers.push(...answer);
    }
  };
  const asking = Promise.all(Array.from({ length: 6 }, one));
  return {
    answers,
    refused,
    async end() {
      done = true;
      await asking;
    },
  };
}

describe('a models folder that changes while Brink runs', () => {
  it('serves a version that is added; units of the old one are answered meanwhile', async () => {
    await using models = await temporaryFolder();
    const first = await writeModel(models.path, { name: 'm', graph: pixelsGraph() });
    await using inference = await startInference(models.path);
    await inference.until(([one]) => one?.state === 'ready');
    const { host, port } = inference.service.addresses.ops;
    const asking = askOn(inference, first, 9);
    const second = await writeModel(models.path, { name: 'm', version: 2, graph: pixelsGraph(), ...withGolden('two') });
    await inference.until((all) => {
      if (all.length === 2 && all[1]?.state === 'loading') expect(all[0]?.serving).toBe(true);
      return all[1]?.serving === true;
    });
    expect(shown(inference.announced)).toEqual([
      [1, 'ready', false],
      [2, 'ready', true],
    ]);
    expect((await fetch(`http://${host}:${port}/readyz`)).status).toBe(200);
    await asking.end();
    expect(asking.refused).toEqual([]);
    expect(new Set(asking.answers.map(({ result, code }) => code ?? result?.label))).toEqual(new Set(['zero']));
    const [decided] = await inference.decide({ name: 'm', version: 0, passport: second }, [pixels(0, 9, 0, 0)]);
    expect(decided?.result?.label).toBe('one');
  });

  it('leaves the old one serving where a new one is bad, says why, and takes it when it was corrected', async () => {
    await using models = await temporaryFolder();
    await writeModel(models.path, { name: 'm', graph: pixelsGraph() });
    await using inference = await startInference(models.path);
    await inference.until(([one]) => one?.state === 'ready');
    await writeModel(models.path, { name: 'm', version: 2, graph: pixelsGraph(), ...withGolden('one') });
    const failed = await inference.until((all) => all[1]?.state === 'failed');
    expect(shown(failed)).toEqual([
      [1, 'ready', true],
      [2, 'failed', false],
    ]);
    expect(failed[1]?.reason).toMatch(/^E_MODEL_GOLDEN: golden\/two.png gives "two"/);
    await writeModel(models.path, { name: 'm', version: 2, graph: pixelsGraph(), ...withGolden('two') });
    const corrected = await inference.until((all) => all[1]?.state === 'ready');
    expect(shown(corrected)).toEqual([
      [1, 'ready', false],
      [2, 'ready', true],
    ]);
    expect(await runners()).toHaveLength(2);
  });

  it('tries a version that failed at start again when a file that it lists arrives', async () => {
    await using models = await temporaryFolder();
    await writeModel(models.path, { name: 'm', graph: pixelsGraph() });
    const graph = join(models.path, 'm/1/model.onnx');
    await rename(graph, join(models.path, 'later'));
    await using inference = await startInference(models.path);
    const [failed] = await inference.until(([one]) => one?.state === 'failed');
    expect(failed?.reason).toMatch(/^E_PASSPORT: .*model.onnx: ENOENT/);
    await cp(join(models.path, 'later'), graph);
    await inference.until(([one]) => one?.state === 'ready' && one.serving);
  });

  it('keeps a version that serves as it is when its files change, and says so', async () => {
    await using models = await temporaryFolder();
    const passport = await writeModel(models.path, { name: 'm', graph: pixelsGraph() });
    await using inference = await startInference(models.path);
    await inference.until(([one]) => one?.state === 'ready');
    const labels = join(models.path, 'm/1/labels.txt');
    const before = await readFile(labels);
    await appendFile(labels, 'x');
    const [changed] = await inference.until(([one]) => one?.reason !== '');
    expect(changed).toMatchObject({ state: 'ready', serving: true, passportSha256: passport });
    expect(changed?.reason).toMatch(/^changed on disk, .*add a new version/);
    const [decided] = await inference.decide({ name: 'm', passport }, [pixels(0, 0, 9, 0)]);
    expect(decided?.result?.label).toBe('two');
    await writeFile(labels, before);
    await inference.until(([one]) => one?.state === 'ready' && one.reason === '');
  });

  it('retires a version whose folder is gone: what it has is answered, and its runner ends', async () => {
    await using models = await temporaryFolder();
    const first = await writeModel(models.path, { name: 'm', graph: loopGraph() });
    await using inference = await startInference(models.path);
    await inference.until(([one]) => one?.state === 'ready');
    const pixel = await slowPixel(inference, first);
    const asking = askOn(inference, first, pixel);
    await eventually('units', async () => asking.answers.length > 2);
    await writeModel(models.path, { name: 'm', version: 2, graph: pixelsGraph() });
    await inference.until((all) => all[1]?.serving === true);
    await rename(join(models.path, 'm/1'), join(models.path, 'm/away'));
    const [left] = await inference.until((all) => all.length === 1);
    expect(left).toMatchObject({ version: 2, state: 'ready', serving: true });
    await eventually('the refusal', async () => asking.refused.includes('E_MODEL_UNKNOWN'));
    await asking.end();
    expect(asking.answers.filter(({ code }) => code !== undefined)).toEqual([]);
    expect(new Set([...asking.refused, 'E_MODEL_NOT_READY'])).toEqual(
      new Set(['E_MODEL_NOT_READY', 'E_MODEL_UNKNOWN']),
    );
    await eventually('one runner', async () => (await runners()).length === 1);

    // The last one may go as well, and come back.
    await rename(join(models.path, 'm/away'), join(models.path, 'm/1'));
    await rm(join(models.path, 'm/2'), { recursive: true });
    await inference.until((all) => all.length === 1 && all[0]?.version === 1 && all[0].serving);
  });

  it('loads so many versions and no more, says so, and takes the next one when one is gone', async () => {
    await using models = await temporaryFolder();
    const broken = Buffer.from('broken');
    for (let version = 1; version <= 65; version++)
      await writeModel(models.path, { name: 'm', version, graph: broken });
    await using inference = await startInference(models.path);
    await inference.until((all) => all.length === 64 && all.every(({ state }) => state === 'failed'));
    const { host, port } = inference.service.addresses.ops;
    const ready = await fetch(`http://${host}:${port}/readyz`);
    expect(await ready.text()).toContain('64 versions are loaded and no more may be; not loaded: m/65');
    await rm(join(models.path, 'm/1'), { recursive: true });
    await inference.until((all) => all.at(-1)?.version === 65 && all.at(-1)?.state === 'failed');
  });

  it('leaves no process behind when it stops while a version loads', async () => {
    await using models = await temporaryFolder();
    await writeModel(models.path, { name: 'm', graph: pixelsGraph() });
    {
      await using inference = await startInference(models.path);
      await inference.until(([one]) => one?.state === 'ready');
      for (const version of [2, 3, 4]) await writeModel(models.path, { name: 'm', version, graph: pixelsGraph() });
      await inference.until((all) => all.length === 4);
    }
    expect(await runners()).toEqual([]);
  });
});

/** A pixel with which the loop takes 50 ms or more, whatever the machine. */
async function slowPixel(inference: Awaited<ReturnType<typeof startInference>>, passport: string): Promise<number> {
  for (let pixel = 40; pixel < 200; pixel += 5) {
    const startedAt = performance.now();
    await inference.decide({ name: 'm', passport }, [pixels(pixel, 0, 0, 0)]);
    if (performance.now() - startedAt >= 50) return pixel;
  }
  throw new Error('no pixel is slow');
}
