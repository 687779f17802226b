import { readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  BrinkError,
  createTopics,
  type FleetStatus,
  type PublishedConfiguration,
  PublishedConfigurationSchema,
} from '@brink/protocol';
import { type Clock, type Logger, type Mqtt, wait } from '@brink/runtime';

export interface Fleet {
  /** The last configuration that was applied, from disk; undefined at the very first start. */
  readLast(): Promise<PublishedConfiguration | undefined>;
  /** Follows the configuration and says how this service is. Needs neither broker nor control to be there. */
  follow(): void;
  /** Says it again, because something changed. */
  changed(): void;
  /** Says that this service is gone: the last will is only for those that do not come to say it. */
  leave(): Promise<void>;
}

const FILE = 'configuration.json';
const LEAVE_MS_MAX = 1000;

/**
 * This service in the fleet: `brink/fleet/config` in, `brink/fleet/inference/{instance}` out (retained).
 * @param d apply: takes a configuration; if it throws, the one before stays and the error stands in the status
 */
export function createFleet(
  o: { dataDir: string; topicRoot: string; instance: string; version: string; startedAt: string },
  d: {
    mqtt: Mqtt;
    logger: Logger;
    clock: Clock;
    apply: (configuration: PublishedConfiguration) => void;
    status: () => Pick<FleetStatus, 'ready' | 'problems' | 'models'>;
  },
): Fleet {
  const topics = createTopics(o.topicRoot);
  let revision: string | undefined;
  let revisionError: string | undefined;
  let planned = false;

  /** One write after the other: two at once would rename each other's file away. */
  let kept: Promise<void> = Promise.resolve();
  async function keep(configuration: PublishedConfiguration): Promise<void> {
    const file = join(o.dataDir, FILE);
    await writeFile(`${file}.new`, JSON.stringify(configuration));
    await rename(`${file}.new`, file);
  }

  function take(payload: Uint8Array): void {
    try {
      const configuration = parse(payload);
      d.apply(configuration);
      revision = configuration.revision;
      revisionError = undefined;
      kept = kept
        .then(() => keep(configuration))
        .catch((reason: unknown) => d.logger.error({ err: reason }, 'configuration cannot be kept'));
      d.logger.info({ revision }, 'configuration applied');
    } catch (reason) {
      revisionError = BrinkError.from(reason).message.slice(0, 1000);
      d.logger.error({ detail: revisionError }, 'configuration refused; the one before stays');
    }
    publish();
  }

  function publish(): void {
    if (!d.mqtt.connected) return;
    const status: FleetStatus = {
      service: 'inference',
      instance: o.instance,
      state: 'online',
      version: o.version,
      started_at: o.startedAt,
      ...(revision === undefined ? {} : { revision }),
      ...(revisionError === undefined ? {} : { revision_error: revisionError }),
      ...d.status(),
    };
    const topic = topics.format({ kind: 'fleet', service: 'inference', instance: o.instance });
    d.mqtt
      .publish(topic, JSON.stringify(status), { qos: 1, retain: true })
      .catch((reason: unknown) => d.logger.debug({ err: reason }, 'status not published'));
  }

  return {
    async readLast() {
      const bytes = await readFile(join(o.dataDir, FILE)).catch(() => undefined);
      if (bytes === undefined) return undefined;
      try {
        const configuration = parse(bytes);
        revision = configuration.revision;
        return configuration;
      } catch (reason) {
        d.logger.warn({ detail: BrinkError.from(reason).detail }, 'the kept configuration is of no use');
        return undefined;
      }
    },
    follow() {
      d.mqtt.subscribe(topics.format({ kind: 'config' }), { qos: 1 }, (message) => take(message.payload));
      d.mqtt.onConnect(publish);
    },
    async leave() {
      if (!d.mqtt.connected) return;
      const { topic, payload, ...options } = lastWill(o);
      const limit = new AbortController();
      const late = wait(LEAVE_MS_MAX, d.clock, limit.signal);
      await Promise.race([d.mqtt.publish(topic, payload, options), late]).catch(() => {});
      late.catch(() => {});
      limit.abort();
    },
    changed() {
      if (planned) return;
      planned = true;
      // Several versions change at once at start; one message is enough.
      queueMicrotask(() => {
        planned = false;
        publish();
      });
    },
  };
}

/** The last will: what the broker says for a service that is gone. */
export function lastWill(o: { topicRoot: string; instance: string }) {
  const status: FleetStatus = { service: 'inference', instance: o.instance, state: 'offline' };
  const topic = createTopics(o.topicRoot).format({ kind: 'fleet', service: 'inference', instance: o.instance });
  return { topic, payload: JSON.stringify(status), retain: true, qos: 1 as const };
}

/** @throws BrinkError E_CONFIG */
function parse(payload: Uint8Array): PublishedConfiguration {
  let json: unknown;
  try {
    json = JSON.parse(Buffer.from(payload).toString('utf8'));
  } catch (reason) {
    throw new BrinkError('E_CONFIG', 'the published configuration is no JSON', { cause: reason });
  }
  const parsed = PublishedConfigurationSchema.safeParse(json);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`);
  throw new BrinkError('E_CONFIG', problems.slice(0, 5).join('; '));
}
