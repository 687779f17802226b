import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ConfigurationSchema, create, createTopics, link, type Outcome, OutcomeSchema } from '@brink/protocol';
import {
  createChildMetrics,
  createLinkMetrics,
  createRegistry,
  type LinkPeer,
  silentLogger,
  systemClock,
} from '@brink/runtime';
import { describe, expect, it } from 'vitest';
import { readConfig } from '../src/config.ts';
import { applyPlan, createDataPath, finish } from '../src/data-path.ts';
import { planOf } from '../src/ingest/plan.ts';
import { decided, resultPayloads, writePassport } from './harness/neighbours.ts';
import { png } from './harness/pictures.ts';
import { expectLaws, until } from './harness/site.ts';

const FRAGILE = fileURLToPath(new URL('./harness/fragile-child.ts', import.meta.url));
const PNG = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);

const FRONT = { format: 'image', frame_age_ms_max: 20_000, pipelines: { pets: { model: 'cats' } } } as const;

const plan = (front: object) =>
  planOf({
    revision: '0123456789ab',
    configuration: ConfigurationSchema.parse({ version: 1, streams: { front: { ...FRONT, ...front } } }),
  });

/**
 * The data path alone; inference, which serves `cats`, and control answer at once.
 * @param o.module a decoder that crashes and hangs at will, in place of the real one
 */
async function startPath(o: { module?: string; front?: object }) {
  const folder = await mkdtemp(join(tmpdir(), 'brink-path-'));
  const registry = createRegistry('gateway');
  const outcomes: Outcome[] = [];
  const inference: LinkPeer['request'] = async (body) => {
    const units = body.case === 'decide' ? (body.value.units ?? []) : [];
    const results = units.map(() => create(link.UnitResultSchema, decided()));
    return {
      body: { case: 'decided', value: create(link.DecidedSchema, { results }) },
      payloads: resultPayloads(results),
      release: () => {},
    };
  };
  const control: LinkPeer['request'] = async (_body, payloads = []) => {
    for (const payload of payloads) outcomes.push(OutcomeSchema.parse(JSON.parse(Buffer.from(payload).toString())));
    return { body: { case: 'committed', value: create(link.CommittedSchema, {}) }, payloads: [], release: () => {} };
  };
  const config = readConfig({ BRINK_MODELS_DIR: folder, BRINK_DECODE_MS_MAX: '300' });
  const path = createDataPath(
    { ...config, topics: createTopics() },
    {
      logger: silentLogger,
      clock: systemClock,
      random: () => 0,
      registry,
      childMetrics: createChildMetrics(registry),
      linkMetrics: createLinkMetrics(registry),
      inference,
      control,
      publish: () => {},
      gate: { open: () => {}, close: () => {} },
      failpoint: () => {},
      ...(o.module === undefined ? {} : { module: o.module }),
    },
  );
  applyPlan(path, plan(o.front ?? {}));
  const cats = await writePassport(folder, { name: 'cats' });
  path.models.announce([create(link.ModelStateSchema, cats)]);
  path.outbox.linkUp();
  await path.pool.start(new AbortController().signal);
  path.dispatch.start();
  await until(() => path.models.current('cats') !== undefined);
  return {
    path,
    outcomes,
    exits: async (reason: string) =>
      new RegExp(`brink_child_exits_total\\{.*reason="${reason}".*\\} (\\d+)`).exec(await registry.metrics())?.[1],
    skipped: async () =>
      Number(
        /^brink_gateway_kept_skipped_total\{.*reason="failed".*\} (\d+)/m.exec(await registry.metrics())?.[1] ?? 0,
      ),
    send: (device: string, what: string | Buffer) =>
      path.ingest.receive({
        topic: `brink/${device}/up/frames/front/k3v9-1`,
        payload: typeof what === 'string' ? Buffer.concat([PNG, Buffer.from(what)]) : what,
        retain: false,
      }),
    async [Symbol.asyncDispose]() {
      await finish(
        path,
        { unitsMs: 100, outcomesMs: 100, inferenceUp: () => true, controlUp: () => true },
        systemClock,
      );
      await path.pool.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

it('a picture that crashes its decoder is dead after three attempts; the pictures beside it are decided', async () => {
  await using gateway = await startPath({ module: FRAGILE });
  for (const device of ['good-1', 'poison', 'good-2', 'good-3'])
    gateway.send(device, device === 'poison' ? 'crash' : 'fine');
  await until(() => gateway.outcomes.length === 4);
  const poison = gateway.outcomes.find(({ device }) => device === 'poison');
  expect(poison).toMatchObject({ outcome: 'dead', error: { code: 'E_ATTEMPTS' }, evidence: { attempts: 3 } });
  expect(gateway.outcomes.filter(({ outcome }) => outcome === 'decided')).toHaveLength(3);
  await until(async () => (await gateway.exits('crashed')) === '3');
  expectLaws({ service: gateway.path });
});

it('a picture that hangs its decoder ends the same way, by the deadline', async () => {
  await using gateway = await startPath({ module: FRAGILE });
  gateway.send('poison', 'hang');
  gateway.send('good', 'fine');
  await until(() => gateway.outcomes.length === 2, 'both have an outcome', 20_000);
  expect(gateway.outcomes.find(({ device }) => device === 'poison')).toMatchObject({
    outcome: 'dead',
    error: { code: 'E_ATTEMPTS', detail: expect.stringContaining('E_TIMEOUT') },
  });
  expect(gateway.outcomes.find(({ device }) => device === 'good')?.outcome).toBe('decided');
  await until(async () => (await gateway.exits('killed-deadline')) === '3');
});

describe('a picture that is decoded while the configuration of its stream changes', () => {
  const front = { keep_s: 60, mask: [{ regions: [[0, 0, 0.5, 0.5]] }] };
  const [forModel, forRing] = [FRONT.pipelines, { pets: { model: 'nobody-serves' } }];
  it.each([
    ['a model', 'other masks', forModel, { mask: [{ regions: [[0, 0, 1, 0.5]] }] }, 0],
    ['a model', 'the same masks', forModel, { frame_bytes_max: 100_000 }, 1],
    ['the ring alone', 'other masks', forRing, { mask: [] }, 0],
    ['the ring alone', 'the same masks', forRing, { frame_bytes_max: 100_000 }, 1],
  ])('for %s to one with %s is kept only where they are the same', async (_, __, pipelines, change, kept) => {
    await using gateway = await startPath({ front: { ...front, pipelines } });
    const { path, skipped } = gateway;
    gateway.send('cam-1', png(16, 16));
    // Its masks are asked for first. No answer of a child can be here before this turn of the event loop is over.
    await Promise.resolve();
    expect(path.pool.inFlight).toBe(1);
    applyPlan(path, plan({ ...front, pipelines, ...change }));
    await until(async () => path.keeper.ring.frames + (await skipped()) === 1, 'the end of its decode');
    expect([path.keeper.ring.frames, await skipped()]).toEqual([kept, 1 - kept]);
  });
});

it('what checks the laws sees a count that was forgotten', async () => {
  await using gateway = await startPath({ module: FRAGILE });
  gateway.send('good', 'fine');
  expectLaws({ service: gateway.path });
  gateway.path.counts.frames('good', 'front').received += 1;
  expect(() => expectLaws({ service: gateway.path })).toThrow(/broken/);
  gateway.path.counts.frames('good', 'front').received -= 1;
  gateway.path.counts.units('pets').decided += 1;
  expect(() => expectLaws({ service: gateway.path })).toThrow(/broken/);
});
