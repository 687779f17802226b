import { type FleetStatus, isName, type Topics } from '@brink/protocol';
import type { Logger, Mqtt } from '@brink/runtime';

/** The retained word on `brink/fleet/gateway/{instance}`: sent at each connect and when it changed. */
export function createFleetStatus(
  config: { instance: string; topics: Topics; version: string; startedAt: string },
  d: {
    mqtt: () => Mqtt;
    logger: Logger;
    now(): Pick<FleetStatus, 'revision' | 'revision_error' | 'problems' | 'models'>;
  },
) {
  const topic = config.topics.format({ kind: 'fleet', service: 'gateway', instance: config.instance });
  let last = '';

  function text(): string {
    const { problems = [], ...rest } = d.now();
    const status: FleetStatus = {
      service: 'gateway',
      instance: config.instance,
      state: 'online',
      version: config.version,
      started_at: config.startedAt,
      ready: problems.length === 0,
      problems,
      ...rest,
      models: rest.models?.filter(({ name }) => isName(name)) ?? [],
    };
    return JSON.stringify(status);
  }

  async function publish(payload: string): Promise<void> {
    last = payload;
    try {
      await d.mqtt().publish(topic, payload, { qos: 1, retain: true });
    } catch (reason) {
      last = '';
      d.logger.debug({ err: reason }, 'fleet status not published');
    }
  }

  return {
    /** What the broker says of us when we are gone. */
    will: { topic, payload: offline(config.instance), retain: true, qos: 1 as const },
    connected: (): Promise<void> => publish(text()),
    async refresh(): Promise<void> {
      const payload = text();
      if (payload !== last && d.mqtt().connected) await publish(payload);
    },
    leave: (): Promise<void> => publish(offline(config.instance)),
  };
}

export type FleetStatusPublisher = ReturnType<typeof createFleetStatus>;

const offline = (instance: string) =>
  JSON.stringify({ service: 'gateway', instance, state: 'offline' } satisfies FleetStatus);
