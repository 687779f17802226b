import { cp, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { pixels, startInference, temporaryFolder } from './harness/inference.ts';
import { nanGraph, pixelsGraph, sha256, writeModel } from './harness/models.ts';

describe('loading models', () => {
  it('serves a folder with a model and a passport, in the language of the site', async () => {
    await using models = await temporaryFolder();
    const passport = await writeModel(models.path, { name: 'pixels', graph: pixelsGraph() });
    await using inference = await startInference(models.path);
    const [announced] = await inference.until(([first]) => first?.state === 'ready');
    expect(announced).toMatchObject({
      name: 'pixels',
      version: 1,
      passportSha256: passport,
      serving: true,
      reason: '',
    });
    expect(announced?.batchBest).toBeGreaterThanOrEqual(1);
    const [decided] = await inference.decide({ name: 'pixels', passport }, [pixels(0, 1, 9, 0)]);
    expect(decided?.result).toMatchObject({ task: 'classification', label: 'two' });
    expect(decided?.top[0]).toEqual({ label: 'two', raw: 9 });
  });
});
