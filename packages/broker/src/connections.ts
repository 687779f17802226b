import type { Socket } from 'node:net';
import { BrinkError } from '@brink/protocol';
import type { Clock, Logger } from '@brink/runtime';
import type { Client, ConnectPacket } from 'aedes';
import type { BrokerMetrics, Reason } from './metrics.ts';
import type { Identity, Rights } from './rights.ts';

/** One socket, from accept to close. */
export interface Connection {
  readonly socket: Socket;
  readonly loopback: boolean;
  readonly address: string;
  connect?: ConnectPacket;
  /** Set once it was admitted. */
  admitted?: { clientId: string; identity: Identity; rights: Rights; fingerprint: string | undefined };
  /** aedes knows it under its client id. */
  registered?: boolean;
  /** Filters it holds. */
  readonly filters: Set<string>;
  /** aedes' side of it. */
  client?: Client;
  /** Why it ends, once that is known; counted once. */
  ended?: Reason | 'disconnect';
  closed?: true;
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
  readonly #awaited = new Map<string, (() => void)[]>();
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
    const address = socket.remoteAddress ?? '';
    const connection: Connection = { socket, loopback: isLoopback(address), address, filters: new Set() };
    this.#all.add(connection);
    this.#metrics.connections.set(this.#all.size);
    return connection;
  }

  bind(client: Client, connection: Connection): void {
    this.#byClient.set(client, connection);
    connection.client = client;
  }

  of(client: object | null): Connection | undefined {
    return client === null ? undefined : this.#byClient.get(client);
  }

  /** From here on the client id is taken, before aedes has registered it: two may come in at the same moment. */
  admit(connection: Connection, admitted: NonNullable<Connection['admitted']>): void {
    connection.admitted = admitted;
    this.#byClientId.set(admitted.clientId, connection);
  }

  /** Who has this client id now, if anybody. */
  holder(clientId: string): Connection | undefined {
    return this.#byClientId.get(clientId);
  }

  /** [MQTT-3.1.4-2] Ends the connection that has this id; calls back when aedes has cleared up after it. */
  takeOver(clientId: string, free: () => void): void {
    const first = this.#byClientId.get(clientId);
    if (first === undefined) {
      free();
      return;
    }
    this.#awaited.set(clientId, [...(this.#awaited.get(clientId) ?? []), free]);
    // It may have closed already, with aedes still clearing up.
    if (first.closed !== true) {
      const detail = `client id "${clientId}" has connected again as the same user`;
      this.refused('taken_over', new BrinkError('E_CONFLICT', detail), first);
    }
    first.socket.destroy();
  }

  /**
   * The socket has closed. Where aedes still has to clear up after the client (its last will, its entry by client id), the id becomes
   * free only after that (`release`): a successor in between would lose its entry.
   * @returns the client id that has become free, if one has
   */
  close(connection: Connection): string | undefined {
    this.#all.delete(connection);
    connection.closed = true;
    this.#metrics.connections.set(this.#all.size);
    this.#metrics.ended.inc({ how: connection.ended ?? 'lost' });
    clearTimeout(connection.stuck);
    return connection.registered === true ? undefined : this.release(connection);
  }

  release(connection: Connection | undefined): string | undefined {
    const id = connection?.admitted?.clientId;
    if (id === undefined || this.#byClientId.get(id) !== connection) return undefined;
    this.#byClientId.delete(id);
    const awaited = this.#awaited.get(id) ?? [];
    this.#awaited.delete(id);
    // Not at once: whoever calls here has still to note that the old one left.
    for (const free of awaited) setImmediate(free);
    return id;
  }

  [Symbol.iterator](): IterableIterator<Connection> {
    return this.#all.values();
  }

  /** Something that ends a connection: counted once for each, whatever else goes wrong on its way out. */
  refused(reason: Reason, error: BrinkError, connection?: Connection): void {
    if (connection?.ended !== undefined) return;
    if (connection !== undefined) connection.ended = reason;
    this.turnedDown(reason, error, connection);
  }

  /**
   * Something refused on a connection that goes on. Counts it, and logs it unless there were many in the last seconds: whoever
   * attacks must not fill the disk.
   */
  turnedDown(reason: Reason, error: BrinkError, connection?: Connection): void {
    this.#metrics.refused.inc({ reason });
    // Clients that speak MQTT 5 too ask for it first and go on with 3.1.1.
    this.#log(reason === 'protocol_version' ? 'debug' : 'warn', reason, error, connection);
  }

  /** Something taken, of which nobody will hear. Counts it, and logs it as `turnedDown` does. */
  unheard(detail: string, connection?: Connection): void {
    this.#metrics.unheard.inc();
    this.#log('warn', 'unheard', new BrinkError('E_TOPIC', detail), connection);
  }

  #log(level: 'debug' | 'warn', reason: string, error: BrinkError, connection?: Connection): void {
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
    this.#logger[level](
      {
        reason,
        code: error.code,
        detail: error.detail,
        client: connection?.admitted?.clientId ?? connection?.connect?.clientId.slice(0, 128),
        from: connection?.socket.remoteAddress,
      },
      reason === 'unheard' ? 'unheard' : 'refused',
    );
  }
}

function isLoopback(address: string): boolean {
  return /^(::ffff:)?127\.|^::1$/.test(address);
}
