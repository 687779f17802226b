import { BrinkError, type ErrorCode } from '@brink/protocol';
import type { Logger } from '@brink/runtime';
import type { Aedes, AedesOptions, Client, ConnectPacket } from 'aedes';
import type { Admission } from './admission.ts';
import type { Congestion } from './congestion.ts';
import type { Connection, Connections } from './connections.ts';
import type { Foreign } from './foreign.ts';
import type { BrokerLimits } from './limits.ts';
import type { BrokerMetrics, Reason } from './metrics.ts';
import type { Pace } from './pace.ts';
import type { Retained } from './retained.ts';
import type { Role } from './rights.ts';
import type { Sessions } from './sessions.ts';
import type { UserTable } from './users.ts';

interface HookDeps {
  admission: Admission;
  congestion: Congestion;
  connections: Connections;
  retained: Retained;
  sessions: Sessions;
  foreign: Foreign;
  metrics: BrokerMetrics;
  users: () => UserTable;
  paceOf: (connection: Connection | undefined) => Pace | undefined;
}

/**
 * What aedes asks on its way. All answers are given at once, so that the packets of one client stay in order.
 * MQTT 3.1.1 has no way to say no to a PUBLISH: a refused one gets no PUBACK and the connection is closed [MQTT-3.3.5-2], so that
 * nobody believes that it was taken.
 */
export function createHooks(limits: BrokerLimits, d: HookDeps): AedesOptions {
  return {
    // No bound here: each message waits for its own subscribers only. With one (aedes' default is 100), a few messages for a
    // subscriber that does not read hold up everybody's. What waits is bounded per subscriber instead (authorizeForward).
    concurrency: 0,
    connectTimeout: limits.connectTimeoutMs,
    drainTimeout: limits.serviceDrainTimeoutMs,
    maxTopicLevels: limits.topicLevelsMax,
    maxInflightInbound: limits.qos2Max,

    preConnect(client, packet, done) {
      const connection = d.connections.of(client);
      if (connection !== undefined) connection.connect = packet as ConnectPacket;
      done(null, connection !== undefined);
    },
    authenticate: authentication(d),
    authorizePublish: publishing(d),
    authorizeSubscribe: subscribing(limits, d),
    authorizeForward: forwarding(limits, d),
    published(_packet, client, done) {
      if (client !== null) d.metrics.published.inc();
      done(null);
    },
  };
}

function authentication(d: HookDeps): NonNullable<AedesOptions['authenticate']> {
  return (client, username, password, done) => {
    const connection = d.connections.of(client);
    const admitting = () => {
      // It may have gone while its CONNECT waited; an id that it took now would never become free.
      if (connection?.closed === true) return;
      const refusal = connection === undefined ? internal() : admit(client, connection, username, password, d);
      if (refusal === 'taken') d.connections.takeOver(client.id, admitting);
      else if (refusal === undefined) done(null, true);
      else {
        d.connections.refused(refusal.reason, refusal.error, connection);
        done(Object.assign(refusal.error, { returnCode: refusal.returnCode }), false);
      }
    };
    admitting();
  };
}

function admit(
  client: Client,
  connection: Connection,
  username: string | undefined,
  password: Uint8Array | undefined,
  d: HookDeps,
) {
  if (connection.connect === undefined) return internal();
  const clientId = client.id;
  const { loopback, address } = connection;
  const answer = d.admission.admit(connection.connect, { clientId, username, password, loopback, address });
  if ('reason' in answer) return answer;
  if (d.connections.holder(clientId) !== undefined) return 'taken';
  const { identity, rights } = answer;
  const fingerprint = identity.anonymous ? undefined : d.users().fingerprintOf(identity.name);
  d.connections.admit(connection, { clientId, identity, rights, fingerprint });
  if (!isPatient(identity.role)) neverWait(client);
  return undefined;
}

const internal = () => ({
  reason: 'malformed' as const,
  returnCode: 5 as const,
  error: new BrinkError('E_INTERNAL', 'a client without CONNECT'),
});

/** aedes' own version of this only guards $SYS; the rights refuse every topic that begins with $. */
function publishing(d: HookDeps): NonNullable<AedesOptions['authorizePublish']> {
  const refuse = (connection: Connection, reason: Reason, error: BrinkError) => {
    d.connections.refused(reason, error, connection);
    return error;
  };
  return (client, packet, done) => {
    const connection = d.connections.of(client);
    const rights = connection?.admitted?.rights;
    if (rights === undefined) {
      done(new BrinkError('E_FORBIDDEN', 'a message of nobody'));
      return;
    }
    const refusal = rights.publish(packet.topic, packet.retain);
    if (refusal !== undefined) {
      done(refuse(connection as Connection, refusal.reason, refusal.error));
    } else if (packet.retain && !d.retained.fits(packet.topic, packet.payload.length)) {
      const full = new BrinkError('E_BUSY', 'no more retained messages can be stored');
      done(refuse(connection as Connection, 'retained_limit', full));
    } else {
      d.foreign.notice(packet.topic, packet.payload);
      const unheard = connection?.admitted?.identity.role === 'operator' && d.foreign.misspelt(packet.topic);
      if (typeof unheard === 'string') d.connections.unheard(unheard, connection);
      const message = { topic: packet.topic, bytes: packet.payload.length, pace: d.paceOf(connection) };
      d.congestion.pass(client as Client, message, () => done(null));
    }
  };
}

function subscribing(limits: BrokerLimits, d: HookDeps): NonNullable<AedesOptions['authorizeSubscribe']> {
  return (client, subscription, done) => {
    const connection = d.connections.of(client);
    const refusal = connection && mayHold(connection, subscription.topic, limits.subscriptionsMax);
    if (connection === undefined || refusal !== undefined) {
      if (refusal !== undefined) d.connections.turnedDown(refusal.reason, refusal.error, connection);
      // SUBACK says 0x80 for this one [MQTT-3.9.3].
      done(null, null);
      return;
    }
    connection.filters.add(subscription.topic);
    done(null, subscription);
  };
}

function forwarding(limits: BrokerLimits, d: HookDeps): NonNullable<AedesOptions['authorizeForward']> {
  return (client, packet) => {
    const connection = d.connections.of(client);
    if (connection?.admitted?.rights.receive(packet.topic) !== true) return null;
    if (packet.qos > 0 && d.sessions.goesWithWaiting(client.id, packet)) return null;
    if (connection.socket.writableLength <= limits.subscriberBytesMax) return packet;
    if (isPatient(connection.admitted.identity.role)) {
      d.congestion.begin(connection);
      return packet;
    }
    // In a stored session it waits all the same, up to that queue's bound (sessions.ts).
    if (packet.qos === 0 || connection.connect?.clean !== false) d.metrics.dropped.inc({ reason: 'slow_consumer' });
    disconnectUnlessItReads(connection, limits.drainTimeoutMs, d.connections);
    return null;
  };
}

function mayHold(connection: Connection, filter: string, max: number) {
  const refusal = connection.admitted?.rights.subscribe(filter);
  if (refusal !== undefined || connection.admitted === undefined) return refusal;
  if (connection.filters.has(filter) || connection.filters.size < max) return undefined;
  return {
    reason: 'sub_limit' as const,
    error: new BrinkError('E_BUSY', `${max} subscriptions are held already; expected fewer`),
  };
}

/** Services get everything: senders wait while one does not read. For anybody else messages are dropped instead. */
const isPatient = (role: Role) => role === 'gateway' || role === 'inference' || role === 'control';

/** Otherwise a stopped `mosquitto_sub` would stop every camera that it watches. aedes calls this when a socket is full. */
function neverWait(client: Client): void {
  const internals = client as unknown as { waitForDrain(done: (error: Error | null, client: Client) => void): void };
  internals.waitForDrain = (done) => void setImmediate(done, null, client);
}

function disconnectUnlessItReads(connection: Connection, limitMs: number, connections: Connections): void {
  if (connection.stuck !== undefined) return;
  const { socket } = connection;
  connection.stuck = setTimeout(() => {
    connections.refused('slow_consumer', new BrinkError('E_TIMEOUT', `did not read for ${limitMs} ms`), connection);
    socket.destroy();
  }, limitMs);
  socket.once('drain', () => {
    clearTimeout(connection.stuck);
    connection.stuck = undefined;
  });
}

// What aedes and mqtt-packet refuse by themselves, by the words of their errors.
const THEIRS: readonly { words: RegExp; reason: Reason; code: ErrorCode }[] = [
  { words: /connect did not arrive in time/, reason: 'connect_timeout', code: 'E_TIMEOUT' },
  { words: /keep alive timeout/, reason: 'keepalive_timeout', code: 'E_TIMEOUT' },
  { words: /protocol version/, reason: 'protocol_version', code: 'E_UNSUPPORTED' },
  { words: /identifier rejected/, reason: 'client_id', code: 'E_NAME' },
  { words: /drain timeout/, reason: 'slow_consumer', code: 'E_TIMEOUT' },
  { words: /maxInflightInbound/, reason: 'qos2_window', code: 'E_BUSY' },
  { words: /too many levels|PUBLISH|SUBSCRIBE/, reason: 'topic_invalid', code: 'E_TOPIC' },
];
const OTHER = { reason: 'malformed', code: 'E_BAD_REQUEST' } as const;

/**
 * Follows what aedes tells: who is registered, and errors of single connections, none of which may end the process.
 * @param d.left a client id has become free
 */
export function watch(
  aedes: Aedes,
  d: { connections: Connections; logger: Logger; left: (clientId: string) => void },
): void {
  aedes.on('client', (client) => {
    const connection = d.connections.of(client);
    if (connection !== undefined) connection.registered = true;
  });
  aedes.on('clientDisconnect', (client) => {
    const id = d.connections.release(d.connections.of(client));
    if (id !== undefined) d.left(id);
  });
  const onError = (client: Client, error: Error & { code?: string }) => {
    // Ours are counted where they are made; a peer that went away without a word refused nothing.
    if (error instanceof BrinkError || isHangUp(error)) return;
    const { reason, code } = THEIRS.find(({ words }) => words.test(error.message)) ?? OTHER;
    d.connections.refused(reason, new BrinkError(code, error.message), d.connections.of(client));
  };
  aedes.on('clientError', onError);
  aedes.on('connectionError', onError);
  aedes.on('unsubscribe', (filters, client) => {
    const connection = d.connections.of(client);
    for (const filter of filters) connection?.filters.delete(filter);
  });
  // Not in its types: what went wrong inside.
  (aedes as NodeJS.EventEmitter).on('error', (error) => d.logger.error({ err: error }, 'broker'));
}

const isHangUp = (error: { code?: string; message: string }) =>
  ['ECONNRESET', 'EPIPE', 'ECONNABORTED', 'ERR_STREAM_PREMATURE_CLOSE', 'ETIMEDOUT'].includes(error.code ?? '') ||
  /connection closed|premature close/i.test(error.message);

/** What is seen of each packet before aedes handles it. Its parser is not in its types. */
export function inspect(
  client: Client,
  connection: Connection,
  connections: Connections,
  subscriptionsMax: number,
): void {
  const { _parser: parser } = client as unknown as { _parser: NodeJS.EventEmitter };
  parser.prependListener(
    'packet',
    (packet: { cmd: string; subscriptions?: unknown[]; unsubscriptions?: unknown[] }) => {
      if (packet.cmd === 'disconnect') connection.ended ??= 'disconnect';
      const filters = packet.subscriptions ?? packet.unsubscriptions;
      if (filters === undefined || filters.length <= subscriptionsMax) return;
      const error = new BrinkError(
        'E_BUSY',
        `${filters.length} filters in one packet; expected at most ${subscriptionsMax}`,
      );
      connections.refused('sub_limit', error, connection);
      filters.length = 0;
      setImmediate(() => connection.socket.destroy());
    },
  );
}
