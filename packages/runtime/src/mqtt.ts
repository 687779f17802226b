import { BrinkError } from '@brink/protocol';
import type { IClientOptions, IConnackPacket, IPublishPacket, MqttClient } from 'mqtt';
import type { Clock, Timer } from './clock.ts';
import type { Logger } from './logger.ts';
import type { MqttMetrics } from './mqtt-metrics.ts';
import { createOutbox, type PublishOptions } from './mqtt-outbox.ts';
import type { Part } from './part.ts';
import { fullJitter, wait } from './retry.ts';
import { createTopicFilter } from './topic-filter.ts';

export interface MqttOptions {
  /** mqtt://host:port, mqtts://…; without credentials, those are below */
  url: string;
  clientId: string;
  username?: string;
  password?: string;
  clean: boolean;
  will?: { topic: string; payload: string | Uint8Array; retain: boolean; qos: 0 | 1 };
  /** default 30 */
  keepaliveS?: number;
  /** absent: 5 where the broker takes it, else 4 */
  protocolVersion?: 4 | 5;
  /** QoS 1 messages that the broker may have un-acked towards us (MQTT 5); default 256 */
  receiveMaximum?: number;
  /** with MQTT 5 and clean: false; default 86,400 */
  sessionExpiryS?: number;
  /** messages that may wait to go out; default 1024 */
  outgoingMax?: number;
  /** bytes that may wait to go out; default 16 MiB */
  outgoingBytesMax?: number;
  /** of the waits between attempts; defaults 100 and 5000 */
  baseMs?: number;
  capMs?: number;
}

export interface MqttMessage {
  topic: string;
  /** May be a view of a larger network chunk, which it keeps alive: copy what is kept for long. */
  payload: Buffer;
  retain: boolean;
  qos: number;
  dup: boolean;
  properties?: IPublishPacket['properties'];
}

export interface Mqtt extends Part {
  readonly connected: boolean;
  /** Why it is not connected, or which subscriptions were refused; for /readyz. */
  readonly problem: string | undefined;
  /** 4 or 5, once connected */
  readonly protocolVersion: 4 | 5 | undefined;
  /**
   * QoS 1 resolves at PUBACK, QoS 0 when the bytes were handed to the socket. Never await it inside a message handler.
   * @throws BrinkError E_BROKER (not connected, connection lost, refused), E_BUSY (the bounded queue is full)
   */
  publish(topic: string, payload: string | Uint8Array, o?: PublishOptions): Promise<void>;
  /**
   * Declares a subscription; it is made at every connect. Handlers are called synchronously and must not block; one that throws is
   * logged and counted. Filters of one connection should not overlap: brokers deliver a message once per match.
   */
  subscribe(filter: string, o: { qos: 0 | 1 }, onMessage: (message: MqttMessage) => void): void;
  /** After every connect, once the subscriptions are made: the place to publish retained state. */
  onConnect(fn: () => void): void;
  onDisconnect(fn: (error: BrinkError) => void): void;
}

interface Subscription {
  filter: string;
  qos: 0 | 1;
  matches: (topic: string) => boolean;
  onMessage: (message: MqttMessage) => void;
}

const CONNECT_MS_MAX = 5000;
const STOP_MS_MAX = 1000;
/** CONNACK "unacceptable protocol version": 1 in MQTT 3.1.1, 0x84 in MQTT 5. */
const VERSION_REFUSED = new Set([1, 0x84]);

/**
 * One MQTT connection, kept up. A client of its own for each connection, so that nothing of an old one (a late PUBACK, a queued
 * message) can reach the next; waits between attempts have full jitter; whatever is not sent is the caller's to send again.
 * `start` resolves at the first connection with its subscriptions made, and rejects with E_BROKER only when the signal aborts.
 */
export function createMqtt(
  o: MqttOptions,
  d: { logger: Logger; clock: Clock; random: () => number; metrics?: MqttMetrics },
): Mqtt {
  const logger = d.logger.child({ broker: o.url, client_id: o.clientId });
  const stats = {
    connects: 0,
    disconnects: 0,
    messages: 0,
    published: 0,
    busy: 0,
    handlerErrors: 0,
    subscriptionsRefused: 0,
  };
  const subscriptions: Subscription[] = [];
  const refused = new Map<string, string>();
  const connectFns: (() => void)[] = [];
  const disconnectFns: ((error: BrinkError) => void)[] = [];
  const outbox = createOutbox(
    { countMax: o.outgoingMax ?? 1024, bytesMax: o.outgoingBytesMax ?? 16 * 1024 * 1024 },
    stats,
  );
  let client: MqttClient | undefined;
  let version: 4 | 5 = o.protocolVersion ?? 5;
  let connected = false;
  let trouble: string | undefined = 'not connected yet';
  let stopping: AbortController | undefined;
  let running: Promise<void> | undefined;
  let first = Promise.withResolvers<void>();
  d.metrics?.track(stats, { connected: () => connected, waiting: () => outbox.waiting });

  function clientOptions(): IClientOptions {
    const properties = {
      receiveMaximum: o.receiveMaximum ?? 256,
      ...(o.clean ? {} : { sessionExpiryInterval: o.sessionExpiryS ?? 86_400 }),
    };
    return {
      clientId: o.clientId,
      clean: o.clean,
      protocolVersion: version,
      keepalive: o.keepaliveS ?? 30,
      reconnectPeriod: 0,
      connectTimeout: CONNECT_MS_MAX,
      queueQoSZero: false,
      resubscribe: false,
      ...(version === 5 ? { properties } : {}),
      ...(o.username === undefined ? {} : { username: o.username }),
      ...(o.password === undefined ? {} : { password: o.password }),
      ...(o.will === undefined ? {} : { will: { ...o.will, payload: asBuffer(o.will.payload) } }),
    };
  }

  function onMessage(topic: string, payload: Buffer, packet: IPublishPacket): void {
    stats.messages += 1;
    const message: MqttMessage = { topic, payload, retain: packet.retain, qos: packet.qos, dup: packet.dup };
    if (packet.properties !== undefined) message.properties = packet.properties;
    for (const subscription of subscriptions) {
      if (!subscription.matches(topic)) continue;
      try {
        subscription.onMessage(message);
      } catch (error) {
        stats.handlerErrors += 1;
        logger.error({ err: error, topic }, 'message handler failed');
      }
    }
  }

  async function subscribeOne(on: MqttClient, subscription: Subscription): Promise<void> {
    const { filter, qos } = subscription;
    try {
      // rap: a retained message must be seen as one; MQTT 5 clears the flag otherwise.
      await on.subscribeAsync(filter, version === 5 ? { qos, rap: true } : { qos });
      refused.delete(filter);
    } catch (error) {
      if (on !== client || !connected) return;
      stats.subscriptionsRefused += 1;
      refused.set(filter, BrinkError.from(error).detail);
      logger.error({ filter, detail: BrinkError.from(error).detail }, 'subscription refused');
    }
  }

  async function onConnack(on: MqttClient, packet: IConnackPacket): Promise<void> {
    // MQTT.js has no option for it; without it a small message waits for its predecessor's TCP ack (17 ms instead of 0.3).
    const stream = on.stream as { setNoDelay?: (on: boolean) => void };
    stream.setNoDelay?.(true);
    connected = true;
    trouble = undefined;
    stats.connects += 1;
    refused.clear();
    outbox.open(on, packet.properties?.receiveMaximum);
    logger.info({ protocol: version, session: packet.sessionPresent }, 'connected to the broker');
    await Promise.all(subscriptions.map((subscription) => subscribeOne(on, subscription)));
    if (on !== client || !connected) return;
    for (const fn of connectFns) guarded(fn, 'onConnect');
    first.resolve();
  }

  function guarded(fn: () => void, what: string): void {
    try {
      fn();
    } catch (error) {
      logger.error({ err: error }, `${what} failed`);
    }
  }

  /** One connection from dialling to its end. Resolves with the reason. */
  async function attempt(signal: AbortSignal): Promise<BrinkError> {
    // Loaded when it is needed: child processes import this package and never speak MQTT.
    const { connect } = await import('mqtt');
    if (signal.aborted) return new BrinkError('E_CANCELLED', 'stopped');
    const current = connect(o.url, clientOptions());
    client = current;
    const ended = Promise.withResolvers<BrinkError>();
    let reason: Error | undefined;
    current.on('connect', (packet) => void onConnack(current, packet));
    current.on('message', onMessage);
    current.on('disconnect', (packet) => {
      reason = new Error(`the broker ended the connection, reason ${packet.reasonCode}`);
    });
    current.on('error', (error: Error & { code?: number | string }) => {
      reason ??= error;
      if (!connected && o.protocolVersion === undefined && version === 5 && VERSION_REFUSED.has(Number(error.code))) {
        version = 4;
        reason = new Error('the broker speaks no MQTT 5; going on with 3.1.1');
      }
    });
    current.on('close', () =>
      ended.resolve(new BrinkError('E_BROKER', `${o.url}: ${words(reason)}`, { cause: reason })),
    );
    const onAbort = () =>
      void leave(current, d.clock).then(() => ended.resolve(new BrinkError('E_CANCELLED', 'stopped')));
    signal.addEventListener('abort', onAbort, { once: true });
    const error = await ended.promise;
    signal.removeEventListener('abort', onAbort);
    if (!signal.aborted) current.end(true);
    current.removeListener('message', onMessage);
    return error;
  }

  function lost(error: BrinkError): void {
    if (!connected) return;
    connected = false;
    stats.disconnects += 1;
    outbox.close(error);
    for (const fn of disconnectFns) guarded(() => fn(error), 'onDisconnect');
  }

  async function keepUp(signal: AbortSignal): Promise<void> {
    const schedule = () => fullJitter({ baseMs: o.baseMs ?? 100, capMs: o.capMs ?? 5000 }, d.random);
    let waits = schedule();
    while (!signal.aborted) {
      const before = version;
      const error = await attempt(signal).catch((reason: unknown) => BrinkError.from(reason, 'E_BROKER'));
      if (connected) waits = schedule();
      lost(error);
      if (signal.aborted) return;
      if (error.detail !== trouble)
        logger.warn({ code: error.code, detail: error.detail }, 'not connected to the broker');
      trouble = error.detail;
      if (before !== version) continue;
      await wait(waits.next().value, d.clock, signal).catch(() => {});
    }
  }

  return {
    get connected() {
      return connected;
    },
    get problem() {
      if (trouble !== undefined) return `broker: ${trouble}`;
      if (refused.size === 0) return undefined;
      return `broker: refused ${[...refused].map(([filter, why]) => `${filter} (${why})`).join(', ')}`;
    },
    get protocolVersion() {
      return connected ? version : undefined;
    },
    publish(topic, payload, options = {}) {
      if (!connected) return Promise.reject(new BrinkError('E_BROKER', trouble ?? 'not connected'));
      return outbox.publish(topic, asBuffer(payload), options);
    },
    subscribe(filter, { qos }, handler) {
      const subscription: Subscription = { filter, qos, matches: createTopicFilter(filter), onMessage: handler };
      subscriptions.push(subscription);
      if (connected && client !== undefined) void subscribeOne(client, subscription);
    },
    onConnect: (fn) => void connectFns.push(fn),
    onDisconnect: (fn) => void disconnectFns.push(fn),
    async start(signal) {
      stopping = new AbortController();
      first = Promise.withResolvers<void>();
      const onAbort = () =>
        first.reject(new BrinkError('E_BROKER', `gave up waiting for the broker: ${trouble ?? o.url}`));
      if (signal.aborted) onAbort();
      else running = keepUp(stopping.signal);
      signal.addEventListener('abort', onAbort, { once: true });
      await first.promise.finally(() => signal.removeEventListener('abort', onAbort));
    },
    async stop() {
      stopping?.abort();
      await running;
      trouble = 'stopped';
      first.reject(new BrinkError('E_BROKER', 'stopped'));
      first.promise.catch(() => {});
    },
  };
}

/** DISCONNECT, so that the will is not published; what is on its way has a second. */
function leave(client: MqttClient, clock: Clock): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clock.clearTimeout(timer);
      resolve();
    };
    const timer: Timer = clock.setTimeout(() => client.end(true, {}, done), STOP_MS_MAX);
    client.end(!client.connected, {}, done);
  });
}

function words(error: Error | undefined): string {
  if (error === undefined) return 'the connection was closed';
  // Node joins the failures of several addresses (::1 and 127.0.0.1) in an error without a message of its own.
  if (error instanceof AggregateError && error.message === '')
    return error.errors.map((e: Error) => e.message).join(', ');
  return error.message;
}

function asBuffer(payload: string | Uint8Array): Buffer {
  if (typeof payload === 'string') return Buffer.from(payload);
  return Buffer.isBuffer(payload) ? payload : Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength);
}
