import { readdir, readFile, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { silentLogger, systemClock } from '@brink/runtime';
import { describe, expect, it } from 'vitest';
import { createDerivedGraphs } from '../src/models/derived.ts';
import { startInference, temporaryFolder } from './harness/inference.ts';
import { pixelsGraph, writeModel } from './harness/models.ts';

const [A, B, C] = ['a', 'b', 'c'].map((letter) => letter.repeat(64)) as [string, string, string];
const graph = (size: number, fill = 1) => ({ graph: Buffer.alloc(size, fill), inputs: ['x'], states: ['s'] });

function derivedIn(dir: string, bytesMax = 1e6) {
  const graphs = createDerivedGraphs({ dir, bytesMax }, { logger: silentLogger, clock: systemClock });
  let made = 0;
  return {
    get made() {
      return made;
    },
    get: (key: string, of = graph(100)) =>
      graphs.get(key, () => {
        made += 1;
        return of;
      }),
  };
}

describe('derived graphs on disk', () => {
  it('are made once and found again, also by another process', async () => {
    await using folder = await temporaryFolder();
    const first = derivedIn(join(folder.path, 'derived'));
    expect(await first.get(A)).toEqual(graph(100));
    expect(await first.get(A)).toEqual(graph(100));
    expect(await first.get(B, graph(100, 2))).toEqual(graph(100, 2));
    expect(first.made).toBe(2);
    const second = derivedIn(join(folder.path, 'derived'));
    expect(await second.get(A)).toEqual(graph(100));
    expect(second.made).toBe(0);
  });

  it('are made again where the file is damaged, wherever', async () => {
    await using folder = await temporaryFolder();
    const derived = derivedIn(folder.path);
    await derived.get(A);
    const [name] = await readdir(folder.path);
    const file = join(folder.path, name ?? '');
    const whole = await readFile(file);
    const spoilt = (at: number) => Buffer.concat([whole.subarray(0, at), Buffer.from('?'), whole.subarray(at + 1)]);
    const damages = [Buffer.alloc(0), whole.subarray(0, 70), whole.subarray(0, -1), ...[0, 66, 90, 150].map(spoilt)];
    for (const [at, damage] of damages.entries()) {
      await writeFile(file, damage);
      expect(await derived.get(A)).toEqual(graph(100));
      expect(derived.made).toBe(at + 2);
      expect(await readFile(file)).toEqual(whole);
    }
  });

  it('go, those that were not used for longest first, when they take too much room', async () => {
    await using folder = await temporaryFolder();
    const derived = derivedIn(folder.path, 2500);
    await derived.get(A, graph(1000));
    await derived.get(B, graph(1000));
    for (const [at, name] of (await readdir(folder.path)).sort().entries()) {
      await utimes(join(folder.path, name), at, at);
    }
    // Used: now b is the older one.
    await derived.get(A, graph(1000));
    await derived.get(C, graph(1000));
    expect((await readdir(folder.path)).sort()).toEqual([`${A}.derived`, `${C}.derived`]);
    expect(derived.made).toBe(3);
  });

  it('are there for a service that starts again, by model and passport', async () => {
    await using models = await temporaryFolder();
    await using data = await temporaryFolder();
    const env = { BRINK_DATA_DIR: data.path };
    const files = async () => {
      await using inference = await startInference(models.path, { env });
      await inference.until(([one]) => one?.state === 'ready');
      const names = await readdir(join(data.path, 'derived'));
      return Promise.all(names.map(async (name) => (await stat(join(data.path, 'derived', name))).ino));
    };
    await writeModel(models.path, { name: 'm', graph: pixelsGraph() });
    const first = await files();
    expect(first).toHaveLength(1);
    // What else the passport says is none of the graph's business.
    await writeModel(models.path, { name: 'm', graph: pixelsGraph(), files: { 'labels.txt': 'a\nb\nc\nd' } });
    expect(await files()).toEqual(first);
    await writeModel(models.path, { name: 'm', graph: pixelsGraph('n') });
    expect(await files()).toHaveLength(2);
  });

  it('are made each time where there is no room for any, or no disk', async () => {
    await using folder = await temporaryFolder();
    const none = derivedIn(join(folder.path, 'none'), 0);
    await none.get(A);
    await none.get(A);
    expect(none.made).toBe(2);
    await writeFile(join(folder.path, 'file'), '');
    const broken = derivedIn(join(folder.path, 'file/derived'));
    expect(await broken.get(A)).toEqual(graph(100));
  });
});
