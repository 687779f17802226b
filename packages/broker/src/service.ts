import { statSync } from 'node:fs';
import { BrinkError } from '@brink/protocol';
import {
  type Clock,
  createOps,
  createRegistry,
  type Logger,
  type Part,
  startAll,
  stopAll,
  type Timer,
} from '@brink/runtime';
import { type Broker, createBroker } from './broker.ts';
import type { Settings } from './config.ts';
import { readUsers } from './users.ts';

/** A revoked user is gone within a second. */
const LOOK_EVERY_MS = 250;

/** The broker as a process of its own: its port, its users file, /livez, /readyz and /metrics. */
export function createService(
  settings: Settings,
  d: { logger: Logger; clock: Clock },
): Part & { readonly broker: Broker } {
  const registry = createRegistry('broker');
  const file = settings.BRINK_BROKER_USERS_FILE;
  const broker = createBroker(
    {
      host: settings.BRINK_BROKER_HOST,
      port: settings.BRINK_BROKER_PORT,
      root: settings.BRINK_TOPIC_ROOT,
      anonymous: settings.BRINK_BROKER_ANONYMOUS,
      users: file === undefined ? [] : readUsers(file),
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
    { ...d, registry },
  );
  const ops = createOps(
    { host: settings.BRINK_OPS_HOST, port: settings.BRINK_OPS_PORT },
    { registry, problems: () => [], logger: d.logger },
  );
  const parts: Part[] = [broker, ops];
  if (file !== undefined) parts.push(createUsersWatch(file, { ...d, broker }));
  return {
    broker,
    async start(signal) {
      await startAll(parts, signal);
      d.logger.info({ url: broker.url }, 'broker is listening');
    },
    stop: () => stopAll(parts),
  };
}

/** Looks at the file's time and size: events of the file system are missed on some volumes. */
function createUsersWatch(file: string, d: { broker: Broker; clock: Clock; logger: Logger }): Part {
  let timer: Timer | undefined;
  let seen = stamp(file);

  function look(): void {
    timer = d.clock.setTimeout(look, LOOK_EVERY_MS);
    const now = stamp(file);
    if (now === seen) return;
    seen = now;
    try {
      d.broker.setUsers(readUsers(file));
      d.logger.info({ file }, 'users were read again');
    } catch (error) {
      // Half a file, or a slip of the pen: who is known stays known.
      d.logger.error(
        { code: BrinkError.from(error).code, detail: BrinkError.from(error).detail },
        'users were not read',
      );
    }
  }

  return {
    async start() {
      timer = d.clock.setTimeout(look, LOOK_EVERY_MS);
    },
    async stop() {
      if (timer !== undefined) d.clock.clearTimeout(timer);
    },
  };
}

function stamp(file: string): string {
  const stat = statSync(file, { throwIfNoEntry: false });
  return stat === undefined ? 'absent' : `${stat.mtimeMs} ${stat.ctimeMs} ${stat.ino} ${stat.size}`;
}
