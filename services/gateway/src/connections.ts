import type { Topics } from '@brink/protocol';
import {
  type Clock,
  createLinkClient,
  createMqtt,
  createMqttMetrics,
  type LinkHandlers,
  type LinkMetrics,
  type Logger,
  type Mqtt,
  type Registry,
} from '@brink/runtime';
import type { GatewayConfig } from './config.ts';
import type { FleetStatusPublisher } from './configuration/status.ts';
import type { FrameMessage } from './ingest/arrival.ts';

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

/** Two connections to the broker: frames may get in each other's way, but never in that of configuration and status. */
export function createBrokerConnections(
  config: GatewayConfig & { topics: Topics; status: () => FleetStatusPublisher },
  d: Deps & {
    registry: Registry;
    onConfiguration(payload: Uint8Array): void;
    onFrame(message: FrameMessage): void;
    onRetired(message: FrameMessage): void;
    onForeign(message: FrameMessage): void;
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
    { ...config.mqtt, clientId: `brink-${config.instance}-data`, clean: false, receiveMaximum: RECEIVE_MAXIMUM },
    { ...d, metrics },
  );
  let hearing = false;
  let foreign: ReadonlySet<string> = new Set();
  fleet.subscribe(filters.config, { qos: 1 }, ({ payload }) => d.onConfiguration(payload));
  fleet.onConnect(() => void status.connected());
  data.subscribe(filters.frames, { qos: 1, manualAck: true }, (message) => d.onFrame(message));
  data.subscribe(filters.retired, { qos: 1, manualAck: true }, (message) => d.onRetired(message));
  data.onConnect(() => {
    hearing = true;
  });
  data.onDisconnect(() => {
    hearing = false;
  });
  return {
    fleet,
    data,
    /** Topics of other systems, as a configuration wants them; what is wanted no more is unsubscribed. */
    hearForeign(filters: ReadonlySet<string>): void {
      for (const filter of foreign) if (!filters.has(filter)) data.unsubscribe(filter);
      for (const filter of filters) {
        if (foreign.has(filter)) continue;
        data.subscribe(filter, { qos: 1, manualAck: true, retained: 'live' }, (message) => d.onForeign(message));
      }
      foreign = filters;
    },
    /** Why no frames come in. */
    get problem(): string | undefined {
      return data.problem ?? (hearing ? undefined : 'frames are not subscribed yet');
    },
  } satisfies {
    fleet: Mqtt;
    data: Mqtt;
    hearForeign(filters: ReadonlySet<string>): void;
    problem: string | undefined;
  };
}

export type BrokerConnections = ReturnType<typeof createBrokerConnections>;
