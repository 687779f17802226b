import type { Topics } from '@brink/protocol';
import {
  type Clock,
  createLinkClient,
  createMqtt,
  createMqttMetrics,
  type DeferredMessage,
  type LinkHandlers,
  type LinkMetrics,
  type Logger,
  type Mqtt,
  type Registry,
} from '@brink/runtime';
import type { GatewayConfig } from './config.ts';
import type { FleetStatusPublisher } from './configuration/status.ts';
import type { FrameMessage } from './ingest/arrival.ts';
import { Deliveries } from './spool/deliveries.ts';

const LINK_FRAME_BYTES_MAX = 32 * 1024 * 1024;
const LINK_WINDOW = 64;
/** Frames that the broker may have un-acked: as many as share one COMMIT. */
const RECEIVE_MAXIMUM = 512;

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
    { ...config.mqtt, clientId: `brink-${config.instance}-data`, clean: true, receiveMaximum: RECEIVE_MAXIMUM },
    { ...d, metrics },
  );
  const deliveries = new Deliveries(config, {
    ...d,
    connect: (o) => createMqtt({ ...config.mqtt, ...o, receiveMaximum: RECEIVE_MAXIMUM }, { ...d, metrics }),
  });
  let hearing = false;
  let foreign: ReadonlySet<string> = new Set();
  fleet.subscribe(filters.config, { qos: 1 }, ({ payload }) => d.onConfiguration(payload));
  fleet.onConnect(() => void status.connected());
  data.subscribe(filters.frames, { qos: 1, manualAck: true }, (message) => {
    // Frames of a durable stream come on its own connection too.
    if (deliveries.bring(message.topic.split('/', 5)[4])) message.ack();
    else d.onFrame(message);
  });
  const onForeign = (message: DeferredMessage) => {
    if (deliveries.bring(d.foreignStream(message.topic))) message.ack();
    else d.onForeign(message);
  };
  data.onConnect(() => {
    hearing = true;
  });
  data.onDisconnect(() => {
    hearing = false;
  });
  return {
    fleet,
    data,
    deliveries,
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
    hearForeign(filters: ReadonlySet<string>): void;
    problem: string | undefined;
  };
}

export type BrokerConnections = ReturnType<typeof createBrokerConnections>;
