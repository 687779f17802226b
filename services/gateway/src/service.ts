import { join } from 'node:path';
import { createTopics } from '@brink/protocol';
import {
  type Clock,
  createChildMetrics,
  createLinkClient,
  createLinkMetrics,
  createMqtt,
  createMqttMetrics,
  createOps,
  createRegistry,
  type DataFolder,
  type LinkClient,
  type Logger,
  type Mqtt,
  openDataFolder,
  type Timer,
} from '@brink/runtime';
import manifest from '../package.json' with { type: 'json' };
import type { GatewayConfig } from './config.ts';
import { createAppliedConfiguration } from './configuration/applied.ts';
import { createFleetStatus } from './configuration/status.ts';
import { createDataPath } from './data-path.ts';
import { createPostFrame } from './ingest/post.ts';
import { createReporter } from './outcomes/report.ts';

export type { GatewayConfig } from './config.ts';

const LINK_FRAME_BYTES_MAX = 32 * 1024 * 1024;
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
  const mqttMetrics = createMqttMetrics(registry);
  const link = { service: 'gateway', instance: config.instance, window: 64, frameBytesMax: LINK_FRAME_BYTES_MAX };

  const inference: LinkClient = createLinkClient(
    { ...link, ...config.inference },
    {
      ...deps,
      metrics: linkMetrics,
      handlers: {
        async announce({ models }) {
          path.models.announce(models);
          return { body: { case: 'done', value: {} } };
        },
      },
      onDown: () => path.models.down(),
    },
  );
  const control: LinkClient = createLinkClient(
    { ...link, ...config.control },
    {
      ...deps,
      metrics: linkMetrics,
      handlers: { postFrame: (request, payloads, context) => postFrame(request, payloads, context) },
      onUp: () => queueMicrotask(() => path.outbox.linkUp()),
      onDown: () => path.outbox.linkDown(),
    },
  );
  const path = createDataPath(
    { ...config, topics },
    {
      ...deps,
      registry,
      linkMetrics,
      childMetrics: createChildMetrics(registry),
      inference: (body, payloads, o) => inference.request(body, payloads, o),
      control: (body, payloads, o) => control.request(body, payloads, o),
    },
  );
  const postFrame = createPostFrame({ ingest: path.ingest, clock });
  const applied = createAppliedConfiguration({ path: join(config.dataDir, 'applied.json') }, { logger, onApply });
  const status = createFleetStatus(
    { instance: config.instance, topics, version: manifest.version, startedAt: new Date(clock.now()).toISOString() },
    { mqtt: () => fleet, logger, now: statusNow },
  );
  const reporter = createReporter({ instance: config.instance }, { ...path, clock, control });
  // Two connections: frames may stand in each other's way, but never in the way of configuration and status.
  const fleet: Mqtt = createMqtt(
    { ...config.mqtt, clientId: `brink-${config.instance}`, clean: true, will: status.will },
    { ...deps, metrics: mqttMetrics },
  );
  const data: Mqtt = createMqtt(
    { ...config.mqtt, clientId: `brink-${config.instance}-data`, clean: true },
    { ...deps, metrics: mqttMetrics },
  );
  const ops = createOps(config.ops, { registry, problems, logger });

  fleet.subscribe(topics.filters.config, { qos: 1 }, ({ payload }) => applied.receive(payload));
  fleet.onConnect(() => void status.connected());
  data.subscribe(topics.filters.frames, { qos: 1 }, (message) => path.ingest.receive(message));

  data.onConnect(() => {
    hearing = true;
  });
  data.onDisconnect(() => {
    hearing = false;
  });

  let folder: DataFolder | undefined;
  let ticking: Timer | undefined;
  let listening: Promise<void> | undefined;
  let running: AbortController | undefined;
  let started = false;
  /** The subscription for frames is made. */
  let hearing = false;

  function onApply(plan: Parameters<typeof path.apply>[0]): void {
    path.apply(plan);
    listen();
  }

  /** Frames are asked for once it is known what to do with them. */
  function listen(): void {
    if (!started || running === undefined || applied.revision === undefined) return;
    listening ??= data.start(running.signal).catch(() => {});
  }

  function problems(): string[] {
    const configuration = applied.revision === undefined ? 'no configuration yet' : undefined;
    const refused =
      applied.error === undefined ? undefined : `configuration refused, the one before is in force: ${applied.error}`;
    const frames = data.problem ?? (hearing ? undefined : 'frames are not subscribed yet');
    return [
      fleet.problem,
      frames,
      configuration,
      refused,
      inference.problem,
      control.problem,
      ...path.problems(),
    ].filter((problem) => problem !== undefined);
  }

  function statusNow() {
    return {
      problems: problems(),
      models: path.models.status(),
      ...(applied.revision === undefined ? {} : { revision: applied.revision }),
      ...(applied.error === undefined ? {} : { revision_error: applied.error }),
    };
  }

  function tick(): void {
    void status.refresh();
    reporter.report();
    ticking = clock.setTimeout(tick, TICK_MS);
  }

  return {
    async start(signal: AbortSignal): Promise<void> {
      running = new AbortController();
      const starting = AbortSignal.any([signal, running.signal]);
      folder = await openDataFolder(config.dataDir);
      await ops.start(starting);
      await applied.load();
      await path.pool.start(starting);
      path.start();
      await inference.start(starting);
      await control.start(starting);
      await fleet.start(starting);
      started = true;
      listen();
      tick();
    },

    /** Takes no more frames, finishes what is on its way, gives the outcomes away, and says good-bye. */
    async stop(): Promise<void> {
      running?.abort();
      await data.stop();
      await path.finish({
        ...FINISH,
        inferenceUp: () => inference.peer !== undefined,
        controlUp: () => control.peer !== undefined,
      });
      if (ticking !== undefined) clock.clearTimeout(ticking);
      await reporter.last();
      if (fleet.connected) await status.leave();
      await Promise.all([fleet.stop(), inference.stop(), control.stop(), path.pool.stop(), applied.saved()]);
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
