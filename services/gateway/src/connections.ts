import { FRAME_BYTES_MAX_DEFAULT, type Topics } from '@brink/protocol';
import {
  type Clock,
  Counter,
  createLinkClient,
  createMqtt,
  createMqttMetrics,
  type DeferredMessage,
  type LinkHandlers,
  type LinkMetrics,
  type Logger,
  type Mqtt,
  type Registry,
  readGauge,
  watchBrokerVersion,
} from '@brink/runtime';
import type { GatewayConfig } from './config.ts';
import type { FleetStatusPublisher } from './configuration/status.ts';
import type { FrameMessage } from './ingest/arrival.ts';
import type { SitePlan } from './ingest/plan.ts';
import { Deliveries } from './spool/deliveries.ts';

const LINK_FRAME_BYTES_MAX = 32 * 1024 * 1024;
const LINK_WINDOW = 64;
/** Frames of one connection that may be on their way at once: as many as share one COMMIT … */
const ON_THEIR_WAY_MAX = 512;
/**
 * … and as many bytes as a network of 50 Mbit/s brings in 11 s. The answer to a ping stands in line behind them, and must be here
 * within half of the keepalive of 30 s.
 */
const ON_THEIR_WAY_BYTES_MAX = 64 * 1024 * 1024;

export interface LinkEvents {
  handlers: LinkHandlers;
  onUp?(): void;
  onDown?(): void;
}

interface Deps {
  logger: Logger;
  clock: Clock;
  random: () => number;
}

/** The links to inference and to control: dialled from here, used both ways. */
export function createLinks(
  config: GatewayConfig,
  d: Deps & { linkMetrics: LinkMetrics; inference: LinkEvents; control: LinkEvents },
) {
  const link = {
    service: 'gateway',
    instance: config.instance,
    window: LINK_WINDOW,
    frameBytesMax: LINK_FRAME_BYTES_MAX,
  };
  const shared = { logger: d.logger, clock: d.clock, random: d.random, metrics: d.linkMetrics };
  return {
    inference: createLinkClient({ ...link, ...config.inference }, { ...shared, ...d.inference }),
    control: createLinkClient({ ...link, ...config.control }, { ...shared, ...d.control }),
  };
}

export type Links = ReturnType<typeof createLinks>;

/** @returns the receive maximum for frames that have so many bytes at most */
export const receiveMaximumFor = (frameBytesMax: number): number =>
  Math.max(1, Math.min(ON_THEIR_WAY_MAX, Math.floor(ON_THEIR_WAY_BYTES_MAX / frameBytesMax)));

/**
 * Connections to the broker: one for configuration and status, one for the frames of all `latest` streams, and one for each durable
 * stream, so that none gets in the way of another. Only those of durable streams have stored sessions: a `latest` frame that waited
 * at the broker while the gateway was away is as old as nobody knows, and would be decided as if it were new.
 */
export function createBrokerConnections(
  config: GatewayConfig & { topics: Topics; status: () => FleetStatusPublisher },
  d: Deps & {
    registry: Registry;
    onConfiguration(payload: Uint8Array): void;
    onFrame(message: FrameMessage): void;
    onRetired(message: FrameMessage): void;
    onForeign(message: FrameMessage): void;
    /** Which stream a topic of another system belongs to. */
    foreignStream(topic: string): string | undefined;
  },
) {
  const metrics = createMqttMetrics(d.registry);
  const { filters } = config.topics;
  const status = config.status();
  const fleet = createMqtt(
    { ...config.mqtt, clientId: `brink-${config.instance}`, clean: true, will: status.will },
    { ...d, metrics },
  );
  const data = createMqtt(
    { ...config.mqtt, clientId: `brink-${config.instance}-data`, clean: true, receiveMaximum: () => receiveMaximum() },
    { ...d, metrics },
  );
  const deliveries = new Deliveries(config, {
    ...d,
    connect: ({ stream, ...o }) =>
      createMqtt({ ...config.mqtt, ...o, receiveMaximum: () => receiveMaximum(stream) }, { ...d, metrics }),
    onLost: detourMetrics(d.registry, () => deliveries.detoured),
  });
  let streams: SitePlan['streams'] = new Map();
  /** Of one stream, or of the largest. */
  const receiveMaximum = (stream?: string) => {
    const of = stream === undefined ? [...streams.values()] : [streams.get(stream)];
    return receiveMaximumFor(Math.max(...of.map((one) => one?.frameBytesMax ?? FRAME_BYTES_MAX_DEFAULT), 1));
  };
  let hearing = false;
  let foreign: ReadonlySet<string> = new Set();
  fleet.subscribe(filters.config, { qos: 1 }, ({ payload }) => d.onConfiguration(payload));
  fleet.onConnect(() => void status.connected());
  watchBrokerVersion(fleet, d);
  data.subscribe(filters.frames, { qos: 1, manualAck: true }, (message) => {
    if (!deliveries.detour(message.topic.split('/', 5)[4], message, 'frame')) d.onFrame(message);
  });
  const onForeign = (message: DeferredMessage) => {
    if (!deliveries.detour(d.foreignStream(message.topic), message, 'foreign')) d.onForeign(message);
  };
  data.onConnect(() => {
    hearing = true;
    deliveries.revisit();
  });
  data.onDisconnect(() => {
    hearing = false;
    deliveries.doubt();
  });
  return {
    fleet,
    data,
    deliveries,
    /** What may be on its way at once follows from how large frames are; a change counts from the next connect on. */
    expectFrames(plan: Pick<SitePlan, 'streams'>): void {
      streams = plan.streams;
    },
    /** Topics of other systems, as a configuration wants them; what is wanted no more is unsubscribed. */
    hearForeign(filters: ReadonlySet<string>): void {
      for (const filter of foreign) if (!filters.has(filter)) data.unsubscribe(filter);
      for (const filter of filters) {
        if (foreign.has(filter)) continue;
        data.subscribe(filter, { qos: 1, manualAck: true, retained: 'live' }, onForeign);
      }
      foreign = filters;
    },
    /** Why no frames come in. */
    get problem(): string | undefined {
      return data.problem ?? deliveries.problem ?? (hearing ? undefined : 'frames are not subscribed yet');
    },
  } satisfies {
    fleet: Mqtt;
    data: Mqtt;
    deliveries: Deliveries;
    expectFrames(plan: Pick<SitePlan, 'streams'>): void;
    hearForeign(filters: ReadonlySet<string>): void;
    problem: string | undefined;
  };
}

/** @returns what counts a frame that is lost */
function detourMetrics(registry: Registry, held: () => number): () => void {
  const registers = [registry];
  const help =
    'Frames of durable streams that came over the connection of all others, and wait for that of their stream';
  readGauge(registry, 'brink_gateway_detoured', help, held);
  const lost = new Counter({
    name: 'brink_gateway_detoured_lost_total',
    help: 'Such frames that had no room to wait, or whose stream went',
    registers,
  });
  return () => lost.inc();
}

export type BrokerConnections = ReturnType<typeof createBrokerConnections>;
