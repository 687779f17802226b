import { mkdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { type PublishedConfiguration, SiteSchema } from '@brink/protocol';
import {
  type Clock,
  createChildMetrics,
  createLinkMetrics,
  createLinkServer,
  createMqtt,
  createMqttMetrics,
  createOps,
  createRegistry,
  type DataFolder,
  type LinkAddress,
  type Logger,
  type MqttOptions,
  openDataFolder,
  parseLinkAddress,
  startAll,
  stopAll,
} from '@brink/runtime';
import { createAnnouncer } from './announce.ts';
import type { Config } from './config.ts';
import { createDecide } from './decide.ts';
import { createFleet, lastWill } from './fleet.ts';
import { createMetrics } from './metrics.ts';
import { createDerivedGraphs } from './models/derived.ts';
import type { Pace } from './models/pace.ts';
import { createRepository, type Repository } from './models/repository.ts';
import { createOipEngine } from './oip/engine.ts';
import { createOipGrpc, type OipGrpcOptions } from './oip/grpc/server.ts';
import { createOipHttp, type OipHttpOptions } from './oip/http/server.ts';
import { createScheduler } from './scheduler/scheduler.ts';

export interface InferenceService {
  start(signal: AbortSignal): Promise<void>;
  stop(): Promise<void>;
  /** Where it listens; real ports after start. */
  readonly addresses: {
    readonly link: LinkAddress;
    readonly http: { host: string; port: number };
    readonly grpc: { host: string; port: number };
    readonly ops: { host: string; port: number };
  };
  /** Resolves when no model is loading any more. */
  readonly settled: Promise<void>;
}

const VERSION = '0.1.0';
/** Requests that one gateway may have in flight. */
const LINK_WINDOW = 64;

/**
 * @param d pace: for tests, how often the models folder is looked at
 *
 *  gateways ═link═▶ decide ─▶ lanes ─▶ scheduler ─▶ runners (a child process per model version)
 *  OIP clients ─http, grpc─▶ engine ─┘
 *  brink/fleet/config ─▶ fleet ─▶ language, policies        announcer ─▶ gateways
 */
export function createService(
  config: Config,
  d: { logger: Logger; clock: Clock; random: () => number; pace?: Pace },
): InferenceService {
  const { settings } = config;
  const { logger, clock, random } = d;
  const instance = settings.BRINK_INSTANCE;
  const topicRoot = settings.BRINK_TOPIC_ROOT;
  const dataDir = resolve(settings.BRINK_DATA_DIR);
  const emptyFolder = join(dataDir, 'empty');
  const registry = createRegistry('inference');
  const metrics = createMetrics(registry);
  const childMetrics = createChildMetrics(registry);
  const linkMetrics = createLinkMetrics(registry);
  let site = SiteSchema.parse({});
  let folder: DataFolder | undefined;

  const scheduler = createScheduler({ runSlots: settings.BRINK_RUN_SLOTS }, { clock, metrics });
  const derived = createDerivedGraphs(
    { dir: join(dataDir, 'derived'), bytesMax: settings.BRINK_DERIVED_MB_MAX * 2 ** 20 },
    { logger, clock },
  );
  const repository = createRepository(
    {
      ...{ dir: resolve(settings.BRINK_MODELS_DIR), emptyFolder, policies: {}, pace: d.pace },
      runSlots: settings.BRINK_RUN_SLOTS,
    },
    { logger, clock, random, metrics, childMetrics, linkMetrics, scheduler, derived, changed },
  );
  const problems = () => problemsOf(repository);
  const engine = createOipEngine(
    { instance },
    { repository, logger, clock, random, metrics, childMetrics, linkMetrics },
  );
  const linkServer = createLinkServer(linkOptions(config), {
    handlers: { decide: createDecide({ repository, clock, random, language: () => site.language }) },
    logger,
    clock,
    metrics: linkMetrics,
    onPeer: (peer) => announcer.onPeer(peer),
  });
  const announcer = createAnnouncer({ instance }, { repository, peers: () => linkServer.peers, logger });
  const http = createOipHttp(httpOptions(config), { engine, metrics, logger });
  const grpc = createOipGrpc(grpcOptions(config), { engine, metrics, logger });
  const mqtt = createMqtt(mqttOptions(config), { logger, clock, random, metrics: createMqttMetrics(registry) });
  const fleet = createFleet(
    { dataDir, topicRoot, instance, version: VERSION, startedAt: new Date(clock.now()).toISOString() },
    {
      mqtt,
      logger,
      clock,
      apply,
      status: () => ({ ready: problems().length === 0, problems: repository.problems, models: repository.states }),
    },
  );
  const ops = createOps(
    { host: settings.BRINK_OPS_HOST, port: settings.BRINK_OPS_PORT },
    { registry, problems, logger },
  );

  function apply({ configuration }: PublishedConfiguration): void {
    site = configuration.site;
    repository.setPolicies(configuration.models);
  }

  function changed(): void {
    announcer.changed();
    fleet.changed();
  }

  const data = {
    async start() {
      folder = await openDataFolder(dataDir);
      await mkdir(emptyFolder, { recursive: true });
      const last = await fleet.readLast();
      if (last !== undefined) apply(last);
    },
    async stop() {
      await folder?.release();
    },
  };
  const broker = {
    /** Not waited for: units are computed without a broker. */
    async start(signal: AbortSignal) {
      fleet.follow();
      mqtt.start(signal).catch((reason: unknown) => logger.debug({ err: reason }, 'no broker'));
    },
    async stop() {
      await fleet.leave();
      await mqtt.stop();
    },
  };
  const parts = [data, ops, repository, engine, http, grpc, linkServer, broker];

  return {
    start: (signal) => startAll(parts, signal),
    stop: () => stopAll(parts),
    get addresses() {
      return { link: linkServer.address, http: http.address, grpc: grpc.address, ops: ops.address };
    },
    settled: repository.settled,
  };
}

/**
 * One model that failed does not keep the others from serving: only while models load at start, or when none is ready.
 * One that is added later loads beside those that serve.
 */
function problemsOf({ versions, problems, starting }: Repository): string[] {
  const none = versions.length > 0 && !versions.some(({ status }) => status.state === 'ready');
  return starting || none ? problems : [];
}

function linkOptions({ settings, linkToken }: Config) {
  return {
    service: 'inference',
    instance: settings.BRINK_INSTANCE,
    listen: parseLinkAddress(settings.BRINK_LINK_LISTEN),
    window: LINK_WINDOW,
    frameBytesMax: settings.BRINK_LINK_FRAME_BYTES_MAX,
    ...(linkToken === undefined ? {} : { expectToken: linkToken }),
  };
}

function httpOptions({ settings, httpToken }: Config): OipHttpOptions {
  return {
    host: settings.BRINK_HTTP_HOST,
    port: settings.BRINK_HTTP_PORT,
    token: httpToken,
    bodyBytesMax: settings.BRINK_HTTP_BODY_BYTES_MAX,
    version: VERSION,
  };
}

function grpcOptions({ settings, httpToken }: Config): OipGrpcOptions {
  return {
    host: settings.BRINK_GRPC_HOST,
    port: settings.BRINK_GRPC_PORT,
    token: httpToken,
    bodyBytesMax: settings.BRINK_HTTP_BODY_BYTES_MAX,
    version: VERSION,
  };
}

function mqttOptions({ settings, mqttPassword }: Config): MqttOptions {
  const instance = settings.BRINK_INSTANCE;
  return {
    url: settings.BRINK_MQTT_URL,
    clientId: `brink-${instance}`,
    clean: true,
    will: lastWill({ topicRoot: settings.BRINK_TOPIC_ROOT, instance }),
    ...(settings.BRINK_MQTT_USERNAME === undefined ? {} : { username: settings.BRINK_MQTT_USERNAME }),
    ...(mqttPassword === undefined ? {} : { password: mqttPassword }),
  };
}
