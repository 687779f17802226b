import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { moved } from './harness/counters.ts';
import { growingGraph } from './harness/hostile.ts';
import { eventually, type Inference, pixels, startInference, temporaryFolder, type Unit } from './harness/inference.ts';
import { loopGraph, nanGraph, pixelsGraph, writeModel } from './harness/models.ts';
import { createNeighbour, type Neighbour } from './harness/neighbour.ts';
import { runners } from './harness/processes.ts';

// What must not be answered: each unit gets its code, one counter moves, and the model beside goes on.

const RUN_MS_MAX = 1200;
const names = ['good', 'nan', 'loop', 'growing'] as const;
const graphs = { good: pixelsGraph(), nan: nanGraph(), loop: loopGraph(), growing: growingGraph(1000) };

describe('bad units beside good ones', () => {
  const stack = new AsyncDisposableStack();
  const passports = new Map<string, string>();
  let inference: Inference;
  let neighbour: Neighbour;

  beforeAll(async () => {
    const models = stack.use(await temporaryFolder());
    for (const name of names) passports.set(name, await writeModel(models.path, { name, graph: graphs[name] }));
    inference = stack.use(
      await startInference(models.path, {
        env: { BRINK_RUN_SLOTS: '2' },
        configuration: { models: { loop: { run_ms_max: RUN_MS_MAX }, growing: { memory_mb_max: 512 } } },
      }),
    );
    await inference.until((all) => all.length === names.length && all.every(({ state }) => state === 'ready'));
    neighbour = createNeighbour(inference, of('good'));
    stack.defer(() => neighbour.stop());
  });
  afterAll(() => stack.disposeAsync());

  const of = (name: (typeof names)[number]) => ({ name, passport: passports.get(name) ?? '' });

  /** What `work` gives, and the counters that grew meanwhile. */
  async function watched<T>(work: () => Promise<T>, ...labels: string[]) {
    const before = await inference.metrics();
    const result = await neighbour.during(work);
    return { result, grown: moved(before, await inference.metrics(), ...labels) };
  }

  const tensor = (dtype: string, shape: number[], bytes: number) => ({ dtype, shape, bytes: new Uint8Array(bytes) });
  const wrong: Record<string, Unit> = {
    'a picture that is too wide': pixels(1, 2, 3, 4, 5),
    'a picture that is turned': { tensors: [tensor('uint8', [4, 1, 1], 4)] },
    'a dimension too many': { tensors: [tensor('uint8', [1, 1, 4, 1], 4)] },
    'the bytes of another shape': { tensors: [tensor('uint8', [1, 4, 1], 3)] },
    'no bytes': { tensors: [tensor('uint8', [1, 4, 1], 0)] },
    'floats for bytes': { tensors: [tensor('float32', [1, 4, 1], 16)] },
    'a type that nobody knows': { tensors: [tensor('uint9', [1, 4, 1], 4)] },
    'a type that is a trap': { tensors: [tensor('__proto__', [1, 4, 1], 4)] },
    'a size of 2^32 − 1': { tensors: [tensor('uint8', [1, 0xffff_ffff, 1], 4)] },
    'no tensor': { tensors: [] },
    'two tensors': { tensors: [tensor('uint8', [1, 4, 1], 4), tensor('uint8', [1, 4, 1], 4)] },
  };
  it.each(Object.entries(wrong))('%s is E_SHAPE; the unit beside it in the request is answered', async (_, unit) => {
    const { result, grown } = await watched(
      () => inference.decide(of('good'), [pixels(0, 9, 0, 0), unit]),
      'model="good"',
      '"E_SHAPE"',
    );
    expect(result.map(({ code, result: said }) => code ?? said?.label)).toEqual(['one', 'E_SHAPE']);
    expect(result[1]?.attempt).toBe(false);
    expect(grown).not.toEqual([]);
  });

  it('NaN is E_MODEL_OUTPUT, for the unit that gave it alone', async () => {
    const { result, grown } = await watched(
      () => inference.decide(of('nan'), [pixels(101, 120, 102, 103), pixels(0, 120, 102, 103)]),
      'model="nan"',
      '"E_MODEL_OUTPUT"',
    );
    expect(result.map(({ code, result: said }) => code ?? said?.label)).toEqual(['one', 'E_MODEL_OUTPUT']);
    expect(grown).not.toEqual([]);
  });

  it('a Loop of 2^51 turns fails at run_ms_max; answers for others go on all the while', async () => {
    const startedAt = performance.now();
    const { result, grown } = await watched(
      () => inference.decide(of('loop'), [pixels(255, 0, 0, 0)]),
      'model="loop"',
      '"E_MODEL_TIMEOUT"',
    );
    const tookMs = performance.now() - startedAt;
    expect([result[0]?.code, result[0]?.attempt]).toEqual(['E_MODEL_TIMEOUT', true]);
    expect(grown).not.toEqual([]);
    expect(tookMs).toBeGreaterThanOrEqual(RUN_MS_MAX - 5);
    // Nobody waited for the hang: the longest the neighbour had to wait is less than the hang itself.
    expect(neighbour.gapMs).toBeLessThan(RUN_MS_MAX / 2);
    const again = await eventually('the model is back', async () => {
      const [answer] = await inference.decide(of('loop'), [pixels(0, 0, 0, 0)]).catch(() => []);
      return answer?.result;
    });
    expect(again.task).toBe('classification');
  });

  /** 1000 per step of the pixel: 160 GB at 200, 2.5 GB at 25. */
  it.each([200, 25])(
    'a unit that needs (%i · 1000)² floats is E_MODEL_OOM; small ones are answered after it',
    async (pixel) => {
      const { result, grown } = await watched(
        () => inference.decide(of('growing'), [pixels(pixel, 0, 0, 0)]),
        'model="growing"',
        '"E_MODEL_OOM"',
      );
      expect([result[0]?.code, result[0]?.detail]).toEqual(['E_MODEL_OOM', expect.any(String)]);
      expect(grown).not.toEqual([]);
      const label = await eventually('the model is back', async () => {
        const [answer] = await inference.decide(of('growing'), [pixels(0, 0, 0, 0)]).catch(() => []);
        return answer?.result?.label;
      });
      expect(label).toBe('zero');
    },
  );

  it('negative control: without units that are bad, none of these counters moves', async () => {
    const { grown } = await watched(async () => inference.decide(of('loop'), [pixels(0, 0, 0, 0)]), '"E_');
    expect(grown).toEqual([]);
  });

  it('all models serve on, each with one runner', async () => {
    expect(inference.announced.map(({ name, state }) => [name, state])).toEqual(
      [...names].sort().map((name) => [name, 'ready']),
    );
    await eventually('the runners', async () => (await runners()).length === names.length);
  });
});
