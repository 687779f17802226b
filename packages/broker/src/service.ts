import { type Clock, createOps, createRegistry, type Logger, type Part, startAll, stopAll } from '@brink/runtime';
import { type Broker, createBroker } from './broker.ts';
import type { Settings } from './config.ts';
import { createUsersWatch, readUserFiles } from './users-watch.ts';

/** The broker as a process of its own: its port, its users file, /livez, /readyz and /metrics. */
export function createService(
  settings: Settings,
  d: { logger: Logger; clock: Clock },
): Part & { readonly broker: Broker } {
  const registry = createRegistry('broker');
  const files = { users: settings.BRINK_BROKER_USERS_FILE, devices: settings.BRINK_BROKER_DEVICES_FILE };
  const broker = createBroker(
    {
      host: settings.BRINK_BROKER_HOST,
      port: settings.BRINK_BROKER_PORT,
      root: settings.BRINK_TOPIC_ROOT,
      anonymous: settings.BRINK_BROKER_ANONYMOUS,
      users: readUserFiles(files),
      frameBytesMax: settings.BRINK_FRAME_BYTES_MAX,
      noSubscribe: settings.BRINK_BROKER_NO_SUBSCRIBE,
      limits: {
        connectionsMax: settings.BRINK_BROKER_CONNECTIONS_MAX,
        acceptsPerSMax: settings.BRINK_BROKER_ACCEPTS_PER_S_MAX,
        publishesPerSMax: settings.BRINK_BROKER_PUBLISHES_PER_S_MAX,
        publishBytesPerSMax: settings.BRINK_BROKER_PUBLISH_BYTES_PER_S_MAX,
        queueMessagesMax: settings.BRINK_BROKER_QUEUE_MESSAGES_MAX,
        queueBytesMax: settings.BRINK_BROKER_QUEUE_BYTES_MAX,
      },
    },
    { ...d, registry, recheckUsers: () => watch.look() },
  );
  const watch = createUsersWatch(files, { ...d, broker });
  const ops = createOps(
    { host: settings.BRINK_OPS_HOST, port: settings.BRINK_OPS_PORT },
    { registry, problems: () => [], logger: d.logger },
  );
  const parts: Part[] = [broker, ops, watch];
  return {
    broker,
    async start(signal) {
      await startAll(parts, signal);
      d.logger.info({ url: broker.url }, 'broker is listening');
    },
    stop: () => stopAll(parts),
  };
}
