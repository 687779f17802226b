import type { Socket } from 'node:net';
import type { BrinkError } from '@brink/protocol';
import type { Clock, Logger } from '@brink/runtime';
import type { Client, ConnectPacket } from 'aedes';
import type { BrokerMetrics, Reason } from './metrics.ts';
import type { Identity, Rights } from './rights.ts';

/** One socket, from accept to close. */
export interface Connection {
  readonly socket: Socket;
  readonly loopback: boolean;
  connect?: ConnectPacket;
  /** Set once it was admitted. */
  admitted?: { clientId: string; identity: Identity; rights: Rights; fingerprint: string | undefined };
  /** aedes knows it under its client id. */
  registered?: boolean;
  /** Filters it holds. */
  readonly filters: Set<string>;
  /** Runs while it does not read. */
  stuck?: NodeJS.Timeout | undefined;
}

const LINES_MAX = 20;
const LINES_EACH_MS = 10_000;

/** Who is connected, and what was refused. */
export class Connections {
  readonly #byClient = new WeakMap<object, Connection>();
  readonly #byClientId = new Map<string, Connection>();
  readonly #all = new Set<Connection>();
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #metrics: BrokerMetrics;
  #linesLeft = LINES_MAX;
  #linesSinceMs = 0;
  #linesSkipped = 0;

  constructor(d: { clock: Clock; logger: Logger; metrics: BrokerMetrics }) {
    this.#clock = d.clock;
    this.#logger = d.logger;
    this.#metrics = d.metrics;
  }

  open(socket: Socket): Connection {
    const connection: Connection = { socket, loopback: isLoopback(socket.remoteAddress), filters: new Set() };
    this.#all.add(connection);
    this.#metrics.connections.set(this.#all.size);
    return connection;
  }

  bind(client: Client, connection: Connection): void {
    this.#byClient.set(client, connection);
  }

  of(client: object | null): Connection | undefined {
    return client === null ? undefined : this.#byClient.get(client);
  }

  /** From here on the client id is taken, before aedes has registered it: two may come in at the same moment. */
  admit(connection: Connection, admitted: NonNullable<Connection['admitted']>): void {
    connection.admitted = admitted;
    this.#byClientId.set(admitted.clientId, connection);
  }

  isConnected(clientId: string): boolean {
    return this.#byClientId.has(clientId);
  }

  /**
   * The socket has closed. Where aedes still has to clear up after the client (its last will, its entry by client id), the id becomes
   * free only after that (`release`): a successor in between would lose its entry.
   * @returns the client id that has become free, if one has
   */
  close(connection: Connection): string | undefined {
    this.#all.delete(connection);
    this.#metrics.connections.set(this.#all.size);
    clearTimeout(connection.stuck);
    return connection.registered === true ? undefined : this.release(connection);
  }

  release(connection: Connection | undefined): string | undefined {
    const id = connection?.admitted?.clientId;
    if (id === undefined || this.#byClientId.get(id) !== connection) return undefined;
    this.#byClientId.delete(id);
    return id;
  }

  [Symbol.iterator](): IterableIterator<Connection> {
    return this.#all.values();
  }

  /** Counts it, and logs it unless there were many in the last seconds: whoever attacks must not fill the disk. */
  refused(reason: Reason, error: BrinkError, connection?: Connection): void {
    this.#metrics.refused.inc({ reason });
    const nowMs = this.#clock.monotonic();
    if (nowMs - this.#linesSinceMs > LINES_EACH_MS) {
      if (this.#linesSkipped > 0) this.#logger.warn({ refusals: this.#linesSkipped }, 'refusals that were not logged');
      this.#linesSinceMs = nowMs;
      this.#linesLeft = LINES_MAX;
      this.#linesSkipped = 0;
    }
    if (this.#linesLeft === 0) {
      this.#linesSkipped += 1;
      return;
    }
    this.#linesLeft -= 1;
    // Clients that speak MQTT 5 too ask for it first and go on with 3.1.1.
    this.#logger[reason === 'protocol_version' ? 'debug' : 'warn'](
      {
        reason,
        code: error.code,
        detail: error.detail,
        client: connection?.admitted?.clientId ?? connection?.connect?.clientId.slice(0, 128),
        from: connection?.socket.remoteAddress,
      },
      'refused',
    );
  }
}

function isLoopback(address: string | undefined): boolean {
  return address !== undefined && /^(::ffff:)?127\.|^::1$/.test(address);
}
