import { join } from 'node:path';
import { createTopics } from '@brink/protocol';
import {
  type Clock,
  createChildMetrics,
  createLinkMetrics,
  createOps,
  createRegistry,
  type DataFolder,
  type Logger,
  openDataFolder,
  type Timer,
} from '@brink/runtime';
import manifest from '../package.json' with { type: 'json' };
import type { GatewayConfig } from './config.ts';
import { type AppliedConfiguration, createAppliedConfiguration } from './configuration/applied.ts';
import { createFleetStatus } from './configuration/status.ts';
import { createBrokerConnections, createLinks } from './connections.ts';
import { applyPlan, createDataPath, finish, problemsOf } from './data-path.ts';
import { createPostFrame } from './ingest/post.ts';
import { createReporter } from './outcomes/report.ts';

export type { GatewayConfig } from './config.ts';

const TICK_MS = 1000;
/** Of a stop: for units on their way, and for outcomes. Together with the rest it must stay under three seconds. */
const FINISH = { unitsMs: 1000, outcomesMs: 1000 };

/**
 * The gateway: frames in over MQTT and from control, units out to inference, outcomes to control.
 *
 *   broker ──frames──▶ data path ══units══▶ inference
 *      └──configuration──▶ ▲  ╚═══outcomes, report══▶ control ──posted frames──▶ data path
 */
export function createService(config: GatewayConfig, deps: { logger: Logger; clock: Clock; random: () => number }) {
  const { logger, clock } = deps;
  const topics = createTopics(config.topicRoot);
  const registry = createRegistry('gateway');
  const linkMetrics = createLinkMetrics(registry);
  const childMetrics = createChildMetrics(registry);
  const path = createDataPath(
    { ...config, topics },
    {
      ...deps,
      registry,
      linkMetrics,
      childMetrics,
      inference: (...request) => links.inference.request(...request),
      control: (...request) => links.control.request(...request),
    },
  );
  const links = createLinks(config, {
    ...deps,
    linkMetrics,
    inference: {
      handlers: {
        async announce({ models }) {
          path.models.announce(models);
          return { body: { case: 'done', value: {} } };
        },
      },
      onDown: () => path.models.down(),
    },
    control: {
      handlers: { postFrame: createPostFrame({ ingest: path.ingest, clock }) },
      // The link takes requests as soon as this returns, not before.
      onUp: () => queueMicrotask(() => path.outbox.linkUp()),
      onDown: () => path.outbox.linkDown(),
    },
  });
  const applied = createAppliedConfiguration(
    { path: join(config.dataDir, 'applied.json') },
    {
      logger,
      onApply(plan) {
        applyPlan(path, plan);
        if (started) listen();
      },
    },
  );
  const status = createFleetStatus(
    { instance: config.instance, topics, version: manifest.version, startedAt: new Date(clock.now()).toISOString() },
    {
      mqtt: () => broker.fleet,
      logger,
      now: () => ({ ...revisionOf(applied), problems: problems(), models: path.models.status() }),
    },
  );
  const broker = createBrokerConnections(
    { ...config, topics, status: () => status },
    { ...deps, registry, onConfiguration: applied.receive, onFrame: path.ingest.receive },
  );
  const reporter = createReporter({ instance: config.instance }, { ...path, clock, control: links.control });
  const ops = createOps(config.ops, { registry, problems, logger });

  const running = new AbortController();
  let folder: DataFolder | undefined;
  let ticking: Timer | undefined;
  let started = false;
  let listening = false;

  /** Frames are asked for once it is known what to do with them. */
  function listen(): void {
    if (listening || applied.revision === undefined) return;
    listening = true;
    broker.data.start(running.signal).catch(() => {});
  }

  function problems(): string[] {
    const { inference, control } = links;
    const all = [broker.fleet.problem, broker.problem, applied.problem, inference.problem, control.problem];
    return [...all.filter((problem) => problem !== undefined), ...problemsOf(path)];
  }

  function tick(): void {
    void status.refresh();
    reporter.report();
    ticking = clock.setTimeout(tick, TICK_MS);
  }

  return {
    async start(signal: AbortSignal): Promise<void> {
      const starting = AbortSignal.any([signal, running.signal]);
      folder = await openDataFolder(config.dataDir);
      await ops.start(starting);
      await applied.load();
      await path.pool.start(starting);
      path.dispatch.start();
      await links.inference.start(starting);
      await links.control.start(starting);
      await broker.fleet.start(starting);
      started = true;
      listen();
      tick();
    },

    /** Takes no more frames, finishes what is on its way, gives the outcomes away, and says good-bye. */
    async stop(): Promise<void> {
      const { inference, control } = links;
      running.abort();
      await broker.data.stop();
      const up = { inferenceUp: () => inference.peer !== undefined, controlUp: () => control.peer !== undefined };
      await finish(path, { ...FINISH, ...up }, clock);
      if (ticking !== undefined) clock.clearTimeout(ticking);
      await reporter.last();
      if (broker.fleet.connected) await status.leave();
      await Promise.all([broker.fleet.stop(), inference.stop(), control.stop(), path.pool.stop(), applied.saved()]);
      await ops.stop();
      await folder?.release();
    },

    get addresses() {
      return { ops: ops.address };
    },
    /** For tests: the gateway's own numbers. */
    counts: path.counts,
  };
}

function revisionOf({ revision, error }: AppliedConfiguration): { revision?: string; revision_error?: string } {
  return { ...(revision === undefined ? {} : { revision }), ...(error === undefined ? {} : { revision_error: error }) };
}
