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
import { expect, it } from 'vitest';
import { readConfig } from '../src/config.ts';
import { applyPlan, createDataPath, finish } from '../src/data-path.ts';
import { planOf } from '../src/ingest/plan.ts';
import { decided, resultPayloads, writePassport } from './harness/neighbours.ts';
import { expectLaws, until } from './harness/site.ts';

const FRAGILE = fileURLToPath(new URL('./harness/fragile-child.ts', import.meta.url));
const PNG = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);

/** The data path alone, with a decoder that crashes and hangs at will; inference and control answer at once. */
async function startPath() {
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
      module: FRAGILE,
    },
  );
  const streams = { front: { format: 'image', frame_age_ms_max: 20_000, pipelines: { pets: { model: 'cats' } } } };
  const configuration = ConfigurationSchema.parse({ version: 1, streams });
  applyPlan(path, planOf({ revision: '0123456789ab', configuration }));
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
    send: (device: string, word: string) =>
      path.ingest.receive({
        topic: `brink/${device}/up/frames/front/k3v9-1`,
        payload: Buffer.concat([Buffer.from(PNG), Buffer.from(word)]),
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
  await using gateway = await startPath();
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
  await using gateway = await startPath();
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

it('what checks the laws sees a count that was forgotten', async () => {
  await using gateway = await startPath();
  gateway.send('good', 'fine');
  expectLaws({ service: gateway.path });
  gateway.path.counts.frames('good', 'front').received += 1;
  expect(() => expectLaws({ service: gateway.path })).toThrow(/broken/);
  gateway.path.counts.frames('good', 'front').received -= 1;
  gateway.path.counts.units('pets').decided += 1;
  expect(() => expectLaws({ service: gateway.path })).toThrow(/broken/);
});
