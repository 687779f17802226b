import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BrinkError, type PublishedConfiguration } from '@brink/protocol';
import { createTestClock, silentLogger, systemClock } from '@brink/runtime';
import { expect, test } from 'vitest';
import { createConfiguration } from './active.ts';
import { createJudge } from './judge.ts';

async function keeper(activate: (published: PublishedConfiguration) => Promise<void>) {
  const dir = await mkdtemp(join(tmpdir(), 'brink-config-'));
  await writeFile(join(dir, 'site.yaml'), 'version: 1\n');
  const clock = createTestClock();
  const looks: string[] = [];
  const configuration = createConfiguration(
    { dir, modelsDir: dir },
    {
      logger: silentLogger,
      clock,
      judge: createJudge({}, { clock: systemClock }),
      activate,
      lastKnownGood: () => Promise.resolve(undefined),
      onActive: () => {},
      looked: (outcome) => void looks.push(outcome),
    },
  );
  return {
    ...{ configuration, clock, dir, looks },
    async [Symbol.asyncDispose]() {
      await configuration.stop();
      await rm(dir, { recursive: true });
    },
  };
}

test('files that are right but could not be activated are tried again by themselves; what was active stays meanwhile', async () => {
  let busy = false;
  await using kept = await keeper(() =>
    busy ? Promise.reject(new BrinkError('E_BUSY', 'the queue is full')) : Promise.resolve(),
  );
  const { configuration, clock } = kept;
  await configuration.start(new AbortController().signal);
  const { revision } = configuration.active;
  busy = true;
  await writeFile(join(kept.dir, 'site.yaml'), 'version: 1\nsite: { name: other }\n');
  await configuration.reload();
  expect(configuration.active.revision).toBe(revision);
  expect(configuration.problem?.detail).toBe('the queue is full');
  busy = false;
  await clock.advance(5000);
  await configuration.reload();
  expect(configuration.problem).toBeUndefined();
  expect(configuration.active.configuration.site.name).toBe('other');
  expect(kept.looks.slice(0, 3)).toEqual(['active', 'refused', 'active']);
});

test('a file whose name would be passed over in silence is refused', async () => {
  await using kept = await keeper(() => Promise.resolve());
  await writeFile(join(kept.dir, 'more.yml'), 'version: 1\n');
  await expect(kept.configuration.start(new AbortController().signal)).rejects.toThrow(
    /more\.yml:1:1: .*ends in \.yaml/,
  );
});

test('what is active cannot be asked for before there is any', async () => {
  await using kept = await keeper(() => Promise.resolve());
  expect(() => kept.configuration.active).toThrow(/E_UNAVAILABLE/);
  expect(kept.configuration.current).toBeUndefined();
});
