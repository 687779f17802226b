import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { BrinkError, type ErrorCode, FRAME_BYTES_MAX } from '@brink/protocol';
import type { Clock } from '@brink/runtime';
import type { Aedes } from 'aedes';
import { createAccepts } from './accepts.ts';
import type { Connection, Connections } from './connections.ts';
import { gatherWrites } from './gather.ts';
import { type Budget, guard, type Violation } from './guard.ts';
import { inspect } from './hooks.ts';
import type { BrokerLimits } from './limits.ts';
import { TOPIC_BYTES_MAX } from './rights.ts';

interface ListenerOptions {
  host: string;
  port: number;
  frameBytesMax?: number;
  limits: BrokerLimits;
}
interface ListenerDeps {
  connections: Connections;
  clock: Clock;
  delayed: () => void;
  open: () => Promise<Aedes>;
  /** A client id has become free. */
  closed: (clientId: string) => void;
}

/** The TCP side: sockets in, each behind its guard, and out again. */
export function createListener(o: ListenerOptions, d: ListenerDeps) {
  const { limits } = o;
  // Without noDelay a small message waits for the acknowledgement of the one before: 17.8 ms instead of 0.3.
  const server = createServer({ noDelay: true, keepAlive: true, keepAliveInitialDelay: 10_000, pauseOnConnect: true });
  server.maxConnections = limits.connectionsMax;
  server.on('drop', () => {
    d.connections.refused(
      'connection_limit',
      new BrinkError('E_BUSY', `${limits.connectionsMax} connections are open already`),
    );
  });
  let aedes: Aedes | undefined;
  const enter = createEntry(o, d);
  const accepts = createAccepts(limits, { ...d, take: (socket) => aedes && enter(socket, aedes) });
  let port = o.port;

  return {
    get port() {
      return port;
    },
    async start(): Promise<void> {
      const broker = await d.open();
      aedes = broker;
      server.on('connection', (socket) => accepts.offer(socket));
      await listening(server, o).catch((error: unknown) => {
        broker.close();
        throw error;
      });
      port = (server.address() as AddressInfo).port;
    },
    async stop(): Promise<void> {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      const broker = aedes;
      accepts.stop();
      if (broker !== undefined) await new Promise<void>((resolve) => broker.close(() => resolve()));
      for (const connection of d.connections) connection.socket.destroy();
      await closed;
    },
  };
}

/** What happens to a socket whose turn has come: noted, guarded, handed to aedes. */
function createEntry(
  { limits, frameBytesMax = FRAME_BYTES_MAX }: ListenerOptions,
  d: Pick<ListenerDeps, 'connections' | 'closed'>,
) {
  const budget: Budget = { used: 0, max: limits.pendingBytesMax };
  const packetLimits = {
    connectBytesMax: limits.connectBytesMax,
    // topic, its length and the packet id go with the payload
    publishBytesMax: frameBytesMax + TOPIC_BYTES_MAX + 4,
    controlBytesMax: limits.controlBytesMax,
  };
  return (socket: Socket, broker: Aedes): void => {
    const connection: Connection = d.connections.open(socket);
    socket.once('close', () => {
      const id = d.connections.close(connection);
      if (id !== undefined) d.closed(id);
    });
    guard(socket, packetLimits, budget, (violation) => {
      const error = new BrinkError(CODES[violation], VIOLATIONS[violation](packetLimits.publishBytesMax));
      d.connections.refused(violation, error, connection);
    });
    gatherWrites(socket);
    const client = broker.handle(socket);
    d.connections.bind(client, connection);
    inspect(client, connection, d.connections, limits.subscriptionsPerPacketMax);
  };
}

const CODES = {
  not_connect: 'E_BAD_REQUEST',
  malformed: 'E_BAD_REQUEST',
  packet_too_large: 'E_TOO_LARGE',
  memory_limit: 'E_BUSY',
} as const satisfies Record<Violation, ErrorCode>;

const VIOLATIONS = {
  not_connect: () => 'the first packet is no CONNECT',
  malformed: () => 'a fixed header that MQTT does not know',
  packet_too_large: (max: number) =>
    `a packet announces more than is taken: ${max} bytes for a message, far less for everything else`,
  memory_limit: () => 'too many bytes in packets that have begun and not ended',
};

function listening(server: Server, o: { host: string; port: number }): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => reject(listenError(error, `${o.host}:${o.port}`)));
    server.listen({ host: o.host, port: o.port }, () => resolve());
  });
}

function listenError(error: NodeJS.ErrnoException, where: string): BrinkError {
  const why =
    error.code === 'EADDRINUSE'
      ? 'is already in use, perhaps by another MQTT broker; stop that one, or set BRINK_BROKER_PORT'
      : error.message;
  return new BrinkError('E_PORT', `${where} ${why}`, { cause: error });
}
