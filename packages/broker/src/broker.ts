import { type AddressInfo, createServer, type Socket } from 'node:net';
import { BrinkError, FRAME_BYTES_MAX } from '@brink/protocol';
import type { Clock, Logger, Part, Registry } from '@brink/runtime';
import { Aedes } from 'aedes';
import { createAdmission, ownerOf } from './admission.ts';
import { createCongestion } from './congestion.ts';
import { type Connection, Connections } from './connections.ts';
import { type Budget, guard } from './guard.ts';
import { createHooks, watch } from './hooks.ts';
import { type BrokerLimits, DEFAULT_LIMITS } from './limits.ts';
import { createMetrics } from './metrics.ts';
import { boundPersistence, type Persistence } from './persistence.ts';
import { createRetained } from './retained.ts';
import { TOPIC_BYTES_MAX } from './rights.ts';
import { Sessions } from './sessions.ts';
import { createUserTable, type User } from './users.ts';

export interface BrokerConfig {
  /** An address of this host. Beyond loopback everybody needs credentials. */
  host: string;
  /** 0: the system chooses. */
  port: number;
  /** First level of Brink's topics, default `brink`. */
  root?: string;
  /** Let clients of this box in without credentials, as operators. Only with a loopback host. Default `never`. */
  anonymous?: 'loopback' | 'never';
  users?: readonly User[];
  /** Payload of one message; default the largest that a stream can allow, so that the gateway refuses by name. */
  frameBytesMax?: number;
  limits?: Partial<BrokerLimits>;
}

export interface Broker extends Part {
  readonly address: { host: string; port: number };
  /** `mqtt://127.0.0.1:1883` */
  readonly url: string;
  /** From now on these users. Who is no longer among them, or has another password, is disconnected. */
  setUsers(users: readonly User[]): void;
}

/**
 * The embedded MQTT 3.1.1 broker: aedes, behind a guard that reads packet lengths first, with rights per role (rights.ts), admission
 * (admission.ts) and a bound on everything (limits.ts).
 * @throws BrinkError E_SETTING for users that contradict each other, or anonymous access beyond loopback
 */
export function createBroker(config: BrokerConfig, d: { logger: Logger; clock: Clock; registry: Registry }): Broker {
  const limits = { ...DEFAULT_LIMITS, ...config.limits };
  const root = config.root ?? 'brink';
  const anonymous = config.anonymous === 'loopback';
  if (anonymous && !/^(127\.|::1$|localhost$)/.test(config.host)) {
    throw new BrinkError(
      'E_SETTING',
      `anonymous access at ${config.host}; expected a loopback address, or users with passwords`,
    );
  }
  const metrics = createMetrics(d.registry);
  const connections = new Connections({ ...d, metrics });
  const sessions = new Sessions(limits, { ...d, metrics });
  const retained = createRetained(limits, { gauge: metrics.retained });
  let users = createUserTable(config.users ?? []);
  const admission = createAdmission(
    { root, topicLevelsMax: limits.topicLevelsMax, anonymous },
    { users: () => users, sessions, isConnected: (id) => connections.isConnected(id) },
  );
  const hooks = createHooks(limits, {
    admission,
    congestion: createCongestion(),
    connections,
    retained,
    metrics,
    users: () => users,
  });
  const listener = createListener(
    { ...config, limits },
    {
      connections,
      open: async () => {
        const aedes = await Aedes.createBroker(hooks);
        const internals = aedes as unknown as { persistence: Persistence };
        internals.persistence = boundPersistence(internals.persistence, { sessions, retained, maySubscribe });
        watch(aedes, { connections, logger: d.logger, left: (id) => sessions.left(id) });
        return aedes;
      },
      closed: (id) => sessions.left(id),
    },
  );

  function maySubscribe(client: object, filter: string): boolean {
    return connections.of(client)?.filters.has(filter) === true;
  }

  return {
    start: () => listener.start(),
    stop: () => listener.stop(),
    get address() {
      return { host: config.host, port: listener.port };
    },
    get url() {
      return `mqtt://${config.host.includes(':') ? `[${config.host}]` : config.host}:${listener.port}`;
    },
    setUsers(next) {
      const table = createUserTable(next);
      users = table;
      for (const connection of connections) {
        const { admitted } = connection;
        if (admitted === undefined || admitted.identity.anonymous) continue;
        const { name } = admitted.identity;
        if (table.fingerprintOf(name) === admitted.fingerprint) continue;
        connections.refused(
          'user_revoked',
          new BrinkError('E_UNAUTHORISED', `user "${name}" was changed or removed`),
          connection,
        );
        connection.socket.destroy();
        if (!table.has(name)) sessions.revoke(ownerOf(admitted.identity));
      }
    },
  };
}

/** The TCP side: sockets in, each behind its guard, and out again. */
function createListener(
  o: BrokerConfig & { limits: BrokerLimits },
  d: { connections: Connections; open: () => Promise<Aedes>; closed: (clientId: string) => void },
) {
  const { limits } = o;
  const budget: Budget = { used: 0, max: limits.pendingBytesMax };
  const packetLimits = {
    connectBytesMax: limits.connectBytesMax,
    // topic, its length and the packet id go with the payload
    publishBytesMax: (o.frameBytesMax ?? FRAME_BYTES_MAX) + TOPIC_BYTES_MAX + 4,
    controlBytesMax: limits.controlBytesMax,
  };
  // Without noDelay a small message waits for the acknowledgement of the one before: 17.8 ms instead of 0.3.
  const server = createServer({ noDelay: true, keepAlive: true, keepAliveInitialDelay: 10_000 });
  server.maxConnections = limits.connectionsMax;
  server.on('drop', () => {
    d.connections.refused(
      'connection_limit',
      new BrinkError('E_BUSY', `${limits.connectionsMax} connections are open already`),
    );
  });
  let aedes: Aedes | undefined;
  let port = o.port;

  function accept(socket: Socket, broker: Aedes): void {
    const connection: Connection = d.connections.open(socket);
    socket.once('close', () => {
      const id = d.connections.close(connection);
      if (id !== undefined) d.closed(id);
    });
    guard(socket, packetLimits, budget, (violation) => {
      const code =
        violation === 'packet_too_large' ? 'E_TOO_LARGE' : violation === 'memory_limit' ? 'E_BUSY' : 'E_BAD_REQUEST';
      d.connections.refused(
        violation,
        new BrinkError(code, VIOLATIONS[violation](packetLimits.publishBytesMax)),
        connection,
      );
    });
    d.connections.bind(broker.handle(socket), connection);
  }

  return {
    get port() {
      return port;
    },
    async start(): Promise<void> {
      const broker = await d.open();
      aedes = broker;
      server.on('connection', (socket) => accept(socket, broker));
      await new Promise<void>((resolve, reject) => {
        server.once('error', (error: NodeJS.ErrnoException) => reject(listenError(error, `${o.host}:${o.port}`)));
        server.listen({ host: o.host, port: o.port }, () => resolve());
      }).catch((error: unknown) => {
        broker.close();
        throw error;
      });
      port = (server.address() as AddressInfo).port;
    },
    async stop(): Promise<void> {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      const broker = aedes;
      if (broker !== undefined) await new Promise<void>((resolve) => broker.close(() => resolve()));
      for (const connection of d.connections) connection.socket.destroy();
      await closed;
    },
  };
}

const VIOLATIONS = {
  not_connect: () => 'the first packet is no CONNECT',
  malformed: () => 'a fixed header that MQTT does not know',
  packet_too_large: (max: number) =>
    `a packet announces more than is taken: ${max} bytes for a message, far less for everything else`,
  memory_limit: () => 'too many bytes in packets that have begun and not ended',
};

function listenError(error: NodeJS.ErrnoException, where: string): BrinkError {
  const why =
    error.code === 'EADDRINUSE'
      ? 'is already in use, perhaps by another MQTT broker; stop that one, or set BRINK_BROKER_PORT'
      : error.message;
  return new BrinkError('E_PORT', `${where} ${why}`, { cause: error });
}
