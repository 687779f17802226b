import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type ModelPolicy, ModelPolicySchema, type Result } from '@brink/protocol';
import { createChildMetrics, createLinkMetrics, createRegistry, silentLogger, systemClock } from '@brink/runtime';
import { createMetrics } from '../../src/metrics.ts';
import { createDerivedGraphs } from '../../src/models/derived.ts';
import { createRepository, type Repository } from '../../src/models/repository.ts';
import type { ModelVersion } from '../../src/models/version.ts';
import { createScheduler } from '../../src/scheduler/scheduler.ts';
import { eventually, temporaryFolder } from './inference.ts';

type Policies = Record<string, Partial<ModelPolicy>>;

export interface Models {
  readonly repository: Repository;
  setPolicies(policies: Policies): void;
  /** `name version state`, `*` where the bare name means it. */
  readonly shown: readonly string[];
  /** Waits until it shows this. */
  shows(...lines: string[]): Promise<void>;
  /** One unit of four grey pixels, as a gateway's. @param version 0: the one that the bare name means */
  ask(name: string, pixels: readonly number[], version?: number): Promise<Result>;
  metrics(): Promise<string>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** The models of the service alone: real files, runners and lanes, without links and protocols. */
export async function startModels(dir: string, o: { policies?: Policies; runSlots?: number } = {}): Promise<Models> {
  const folder = await temporaryFolder();
  const registry = createRegistry('inference');
  const metrics = createMetrics(registry);
  const [logger, clock] = [silentLogger, systemClock];
  const emptyFolder = join(folder.path, 'empty');
  await mkdir(emptyFolder);
  const runSlots = o.runSlots ?? 2;
  const repository = createRepository(
    {
      ...{ dir, emptyFolder, runSlots, policies: parsed(o.policies ?? {}) },
      // Nobody hears of a version later than the test itself.
      pace: { lookMs: 250, restMs: 50, graceMs: 50, firstRunMsMax: 4000 },
    },
    {
      logger,
      clock,
      random: Math.random,
      metrics,
      childMetrics: createChildMetrics(registry),
      linkMetrics: createLinkMetrics(registry),
      scheduler: createScheduler({ runSlots }, { clock, metrics }),
      derived: createDerivedGraphs({ dir: join(folder.path, 'derived'), bytesMax: 2 ** 28 }, { logger, clock }),
      changed: () => {},
    },
  );
  await repository.start(AbortSignal.timeout(60_000));
  await repository.settled;
  const shown = () =>
    repository.versions.map((one) => {
      const serves = repository.serving(one.name) === one ? '*' : '';
      return `${one.name} ${one.version} ${one.status.state}${serves}`;
    });
  return {
    repository,
    setPolicies: (policies) => repository.setPolicies(parsed(policies)),
    get shown() {
      return shown();
    },
    shows: (...lines) =>
      eventually(`${lines}`, async () => `${shown()}` === `${lines}`).then(
        () => {},
        () => {
          throw new Error(`never shown: ${lines}; last: ${shown()}; ${repository.problems}`);
        },
      ),
    ask: (name, pixels, version = 0) => ask(repository.find(name, version), Uint8Array.from(pixels)),
    metrics: () => registry.metrics(),
    async [Symbol.asyncDispose]() {
      await repository.stop();
      await folder[Symbol.asyncDispose]();
    },
  };
}

const parsed = (policies: Policies) =>
  Object.fromEntries(Object.entries(policies).map(([name, policy]) => [name, ModelPolicySchema.parse(policy)]));

function ask(version: ModelVersion, pixels: Uint8Array): Promise<Result> {
  const { lane, heads, decode } = version.ready();
  return new Promise((resolve, reject) => {
    lane.add({
      priority: 5,
      shadow: false,
      client: 'test',
      deadlineAt: Number.POSITIVE_INFINITY,
      arrivedAt: systemClock.monotonic(),
      alone: false,
      session: '',
      heads,
      rows: 1,
      payloads: [pixels],
      cancelled: () => false,
      done: (run, row) => {
        if (decode !== undefined) resolve(decode(run.outputs, row, '').result);
      },
      failed: reject,
    });
  });
}
