import { symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { NODES_MAX } from '@brink/onnx';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { moved } from './harness/counters.ts';
import {
  crowdedGraph,
  customGraph,
  customInBranchGraph,
  endlessGraph,
  externalGraph,
  externalInBodyGraph,
  garbledGraph,
  giantGraph,
} from './harness/hostile.ts';
import { type Inference, startInference, temporaryFolder } from './harness/inference.ts';
import { nanGraph, pixelsGraph, writeModel } from './harness/models.ts';
import { createNeighbour, type Neighbour } from './harness/neighbour.ts';

// What must not load: each is added to a service that runs, is refused by its name, and the model beside it answers on.

interface Bad {
  readonly graph: Uint8Array;
  readonly code: RegExp;
  readonly says: RegExp;
  /** What else lies in its folder. */
  readonly spoil?: (folder: string) => Promise<void>;
}

const good = pixelsGraph();
const external = (location: string): Bad => ({
  graph: externalGraph(location),
  code: /^E_MODEL_EXTERNAL$/,
  says: /"weights/,
});

const BAD: Readonly<Record<string, Bad>> = {
  // 44, 45
  'external-parent': external('../../secret'),
  'external-absolute': external('/etc/passwd'),
  'external-zero': external('/dev/zero'),
  'external-environ': external('/proc/self/environ'),
  'external-link': {
    ...external('weights.bin'),
    spoil: (folder) => symlink('/etc/passwd', join(folder, 'weights.bin')),
  },
  'external-beside': {
    ...external('weights.bin'),
    spoil: (folder) => writeFile(join(folder, 'weights.bin'), Buffer.alloc(16)),
  },
  'external-in-body': { ...external(''), graph: externalInBodyGraph('/dev/zero') },
  // 46
  empty: { graph: new Uint8Array(0), code: /^E_MODEL_PARSE$/, says: /no ONNX/ },
  truncated: { graph: good.subarray(0, Math.floor(good.length * 0.9)), code: /^E_MODEL_PARSE$/, says: /./ },
  'cut-short': { graph: good.subarray(0, 20), code: /^E_MODEL_PARSE$/, says: /./ },
  garbage: { graph: Uint8Array.from({ length: 4096 }, (_, i) => (i * 131) % 251), code: /^E_MODEL_PARSE$/, says: /./ },
  garbled: { graph: garbledGraph(), code: /^E_MODEL_(PARSE|OP)$/, says: /./ },
  // 47
  custom: { graph: customGraph(), code: /^E_MODEL_OP$/, says: /"vendor\.ops:Sharpen"/ },
  'custom-in-branch': { graph: customInBranchGraph(), code: /^E_MODEL_OP$/, says: /"vendor\.ops:Sharpen"/ },
  crowded: { graph: crowdedGraph(NODES_MAX + 1), code: /^E_MODEL_OP$/, says: /nodes; at most/ },
  // 48: 160 GB at once, and 3.6 GB that are there to be had
  giant: { graph: giantGraph(200_000), code: /^E_MODEL_OOM$/, says: /./ },
  large: { graph: giantGraph(30_000), code: /^E_MODEL_OOM$/, says: /./ },
  // 49
  endless: { graph: endlessGraph(), code: /^E_MODEL_TIMEOUT$/, says: /longer than/ },
  // 50
  'wrong-hash': {
    graph: good,
    code: /^E_MODEL_HASH$/,
    says: /model\.onnx has/,
    spoil: (folder) => writeFile(join(folder, 'model.onnx'), nanGraph()),
  },
};

/** Loaded while it runs: 20 models one after the other, one of which is only ended after 10 s. */
const ALL_MS = 60_000;

describe('a bad model beside a good one', () => {
  const stack = new AsyncDisposableStack();
  let inference: Inference;
  let neighbour: Neighbour;
  let before = '';
  let after = '';
  const reasons = new Map<string, string>();

  beforeAll(async () => {
    const models = stack.use(await temporaryFolder());
    const passport = await writeModel(models.path, { name: 'good', graph: good });
    const policies = Object.keys(BAD).map((name) => [name, { memory_mb_max: 512, run_ms_max: 1000 }]);
    inference = stack.use(
      await startInference(models.path, {
        env: { BRINK_RUN_SLOTS: '2' },
        configuration: { models: Object.fromEntries(policies) },
      }),
    );
    await inference.until(([first]) => first?.state === 'ready');
    before = await inference.metrics();
    neighbour = createNeighbour(inference, { name: 'good', passport });
    stack.defer(() => neighbour.stop());
    await neighbour.during(async () => {
      for (const [name, { graph, spoil }] of Object.entries(BAD)) {
        await writeModel(models.path, { name, graph });
        await spoil?.(join(models.path, name, '1'));
      }
      const all = await inference.until(
        (now) =>
          now.length > Object.keys(BAD).length && now.every(({ state }) => state === 'ready' || state === 'failed'),
        ALL_MS,
      );
      for (const { name, state, reason } of all) reasons.set(name, `${state} ${reason}`);
    });
    after = await inference.metrics();
  }, ALL_MS + 30_000);
  afterAll(() => stack.disposeAsync());

  it.each(Object.entries(BAD))('%s is refused with its code, which is counted', (name, { code, says }) => {
    const [state, given = '', ...rest] = (reasons.get(name) ?? '').split(' ');
    expect([name, state]).toEqual([name, 'failed']);
    expect(given.replace(/:$/, ''), rest.join(' ')).toMatch(code);
    expect(rest.join(' ')).toMatch(says);
    expect(moved(before, after, `model="${name}"`, `code="${given.replace(/:$/, '')}"`)).not.toEqual([]);
  });

  it('the good one never noticed, and the service is well', async () => {
    expect(reasons.get('good')).toBe('ready ');
    const { host, port } = inference.service.addresses.ops;
    expect((await fetch(`http://${host}:${port}/readyz`)).status).toBe(200);
    expect((await fetch(`http://${host}:${port}/livez`)).status).toBe(200);
    // A runner that takes 3.6 GB may take the machine's attention for a moment, not more.
    expect(neighbour.gapMs).toBeLessThan(3000);
  });
});
