import { BrinkError } from '@brink/protocol';
import type { IClientOptions, IConnackPacket, IPublishPacket, MqttClient } from 'mqtt';
import type { Clock } from './clock.ts';
import type { Logger } from './logger.ts';
import { DeferredAcks } from './mqtt-ack.ts';
import { createMqttStats, type MqttMetrics, type MqttStats } from './mqtt-metrics.ts';
import { Outbox, type PublishOptions } from './mqtt-outbox.ts';
import type { Part } from './part.ts';
import { createBackoff, wait } from './retry.ts';
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

/** A message whose PUBACK its handler decides about. */
export interface DeferredMessage extends MqttMessage {
  /**
   * Sends the PUBACK: after those of all messages that came before, and only on the connection that it came on. Does nothing the
   * second time, nor at QoS 0.
   */
  ack(): void;
  /** It is given up un-acked: the broker sends it again after the next connect. */
  abandon(): void;
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
  subscribe(filter: string, o: SubscribeOptions & { qos: 0 | 1 }, onMessage: (message: MqttMessage) => void): void;
  /**
   * With `manualAck` no PUBACK is sent before `message.ack()`. What is never acked keeps a place of `receiveMaximum`, and comes again
   * after the next connect (with `clean: false`). The message of a handler that throws is abandoned.
   */
  subscribe(
    filter: string,
    o: SubscribeOptions & { qos: 1; manualAck: true },
    onMessage: (message: DeferredMessage) => void,
  ): void;
  /** Takes a subscription back: its handler is called no more, and the broker is told now or, where there is none, at the next connect. */
  unsubscribe(filter: string): void;
  /** Drops the connection and makes a new one: the broker then sends again what was not acked. */
  reconnect(): void;
  /** After every connect, once the subscriptions are made: the place to publish retained state. */
  onConnect(fn: () => void): void;
  onDisconnect(fn: (error: BrinkError) => void): void;
}

interface SubscribeOptions {
  /**
   * `flagged` (default): what was published with retain is seen as such, also live (MQTT 5). `live`: only what the broker had kept is,
   * and it is asked not to send that (MQTT 5); for topics whose owner publishes everything retained.
   */
  retained?: 'flagged' | 'live';
}

export interface MqttDependencies {
  logger: Logger;
  clock: Clock;
  random: () => number;
  metrics?: MqttMetrics;
}

type Handler = { manualAck?: false; onMessage: (message: MqttMessage) => void } | ManualHandler;
interface ManualHandler {
  manualAck: true;
  onMessage: (message: DeferredMessage) => void;
}

interface Subscription {
  filter: string;
  qos: 0 | 1;
  retained: 'flagged' | 'live';
  matches: (topic: string) => boolean;
  handler: Handler;
}

const CONNECT_MS_MAX = 5000;
/** What `stop` gives the messages on their way, and then the DISCONNECT. */
const STOP_MS_MAX = 1000;
/** CONNACK "unacceptable protocol version": 1 in MQTT 3.1.1, 0x84 in MQTT 5. */
const VERSION_REFUSED = new Set([1, 0x84]);

/**
 * One MQTT connection, kept up. A client of its own for each connection, so that nothing of an old one (a late PUBACK, a queued
 * message) can reach the next; waits between attempts have full jitter; whatever is not sent is the caller's to send again.
 * `start` resolves at the first connection with its subscriptions made, and rejects with E_BROKER only when the signal aborts.
 */
export function createMqtt(o: MqttOptions, d: MqttDependencies): Mqtt {
  return new Connection(o, d);
}

class Connection implements Mqtt {
  readonly #o: MqttOptions;
  readonly #d: MqttDependencies;
  readonly #logger: Logger;
  readonly #stats: MqttStats = createMqttStats();
  readonly #outbox: Outbox;
  readonly #backoff: ReturnType<typeof createBackoff>;
  #subscriptions: Subscription[] = [];
  /** What the broker may still have in this session though nobody wants it. */
  readonly #unwanted = new Set<string>();
  /** filter → why */
  readonly #refused = new Map<string, string>();
  readonly #connectFns: (() => void)[] = [];
  readonly #disconnectFns: ((error: BrinkError) => void)[] = [];
  #client: MqttClient | undefined;
  #version: 4 | 5;
  #connected = false;
  #trouble: string | undefined = 'not connected yet';
  #stopping = new AbortController();
  #running: Promise<void> | undefined;
  #first = Promise.withResolvers<void>();

  constructor(o: MqttOptions, d: MqttDependencies) {
    this.#o = o;
    this.#d = d;
    this.#version = o.protocolVersion ?? 5;
    this.#logger = d.logger.child({ broker: o.url, client_id: o.clientId });
    const { baseMs = 100, capMs = 5000, outgoingMax = 1024, outgoingBytesMax = 16 * 1024 * 1024 } = o;
    this.#backoff = createBackoff({ baseMs, capMs }, d);
    this.#outbox = new Outbox({ countMax: outgoingMax, bytesMax: outgoingBytesMax }, this.#stats);
    d.metrics?.track(this.#stats, { connected: () => this.#connected, waiting: () => this.#outbox.waiting });
  }

  get connected(): boolean {
    return this.#connected;
  }

  get problem(): string | undefined {
    if (this.#trouble !== undefined) return `broker: ${this.#trouble}`;
    if (this.#refused.size === 0) return undefined;
    return `broker: refused ${[...this.#refused].map(([filter, why]) => `${filter} (${why})`).join(', ')}`;
  }

  get protocolVersion(): 4 | 5 | undefined {
    return this.#connected ? this.#version : undefined;
  }

  publish(topic: string, payload: string | Uint8Array, options: PublishOptions = {}): Promise<void> {
    if (!this.#connected) return Promise.reject(new BrinkError('E_BROKER', this.#trouble ?? 'not connected'));
    return this.#outbox.publish(topic, asBuffer(payload), options);
  }

  subscribe(
    filter: string,
    { qos, manualAck, retained = 'flagged' }: SubscribeOptions & { qos: 0 | 1; manualAck?: true },
    onMessage: ManualHandler['onMessage'],
  ): void {
    const handler: Handler = manualAck === true ? { manualAck, onMessage } : { onMessage: onMessage as () => void };
    const subscription: Subscription = { filter, qos, retained, matches: createTopicFilter(filter), handler };
    this.#unwanted.delete(filter);
    this.#subscriptions.push(subscription);
    if (this.#connected && this.#client !== undefined) void this.#subscribe(this.#client, subscription);
  }

  unsubscribe(filter: string): void {
    this.#subscriptions = this.#subscriptions.filter((subscription) => subscription.filter !== filter);
    this.#refused.delete(filter);
    this.#unwanted.add(filter);
    if (this.#connected && this.#client !== undefined) void this.#unsubscribe(this.#client, filter);
  }

  reconnect(): void {
    this.#client?.stream.destroy(new Error('dropped on purpose'));
  }

  onConnect(fn: () => void): void {
    this.#connectFns.push(fn);
  }

  onDisconnect(fn: (error: BrinkError) => void): void {
    this.#disconnectFns.push(fn);
  }

  async start(signal: AbortSignal): Promise<void> {
    const first = Promise.withResolvers<void>();
    this.#first = first;
    this.#stopping = new AbortController();
    const onAbort = () => {
      first.reject(new BrinkError('E_BROKER', `gave up waiting for the broker: ${this.#trouble ?? this.#o.url}`));
    };
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
    else this.#running = this.#keepUp(this.#stopping.signal);
    await first.promise.finally(() => signal.removeEventListener('abort', onAbort));
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
    this.#trouble = 'stopped';
    this.#first.promise.catch(() => {});
    this.#first.reject(new BrinkError('E_BROKER', 'stopped'));
  }

  async #keepUp(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const version = this.#version;
      const error = await this.#attempt(signal).catch((reason: unknown) => BrinkError.from(reason, 'E_BROKER'));
      this.#lost(error);
      if (signal.aborted) return;
      if (error.detail !== this.#trouble) {
        // That a broker speaks an older version is no trouble, and the next attempt follows at once.
        if (version === this.#version) {
          this.#logger.warn({ code: error.code, detail: error.detail }, 'not connected to the broker');
        } else {
          this.#logger.info({ detail: error.detail }, 'connecting again');
        }
      }
      this.#trouble = error.detail;
      if (version !== this.#version) continue;
      await wait(this.#backoff.next(), this.#d.clock, signal).catch(() => {});
    }
  }

  /** One connection from dialling to its end. Resolves with the reason. */
  async #attempt(signal: AbortSignal): Promise<BrinkError> {
    // Loaded when it is needed: child processes import this package and never speak MQTT.
    const { connect } = await import('mqtt');
    if (signal.aborted) return new BrinkError('E_CANCELLED', 'stopped');
    const client = connect(this.#o.url, this.#clientOptions());
    this.#client = client;
    const ended = this.#listen(client);
    const onAbort = () => {
      void this.#leave(client).then(() => ended.resolve(new BrinkError('E_CANCELLED', 'stopped')));
    };
    signal.addEventListener('abort', onAbort, { once: true });
    const error = await ended.promise;
    signal.removeEventListener('abort', onAbort);
    client.removeAllListeners('message');
    if (!signal.aborted) client.end(true);
    return error;
  }

  async #leave(client: MqttClient): Promise<void> {
    const { clock } = this.#d;
    const enough = new AbortController();
    await Promise.race([this.#outbox.empty(), wait(STOP_MS_MAX, clock, enough.signal).catch(() => {})]);
    enough.abort();
    await leave(client, clock);
  }

  #listen(client: MqttClient): PromiseWithResolvers<BrinkError> {
    const ended = Promise.withResolvers<BrinkError>();
    const acks = new DeferredAcks(client);
    let reason: Error | undefined;
    client.on('connect', (packet) => void this.#up(client, packet));
    client.on('message', (topic, payload, packet) => this.#deliver(topic, payload, packet, acks));
    client.on('disconnect', ({ reasonCode }) => {
      reason = new Error(`the broker ended the connection, reason ${reasonCode}`);
    });
    client.on('error', (error: Error & { code?: number | string }) => {
      reason ??= this.#fallBack(Number(error.code)) ?? error;
    });
    client.on('close', () => {
      ended.resolve(new BrinkError('E_BROKER', `${this.#o.url}: ${words(reason)}`, { cause: reason }));
    });
    return ended;
  }

  #fallBack(code: number): Error | undefined {
    const fixed = this.#o.protocolVersion !== undefined;
    if (fixed || this.#connected || this.#version === 4 || !VERSION_REFUSED.has(code)) return undefined;
    this.#version = 4;
    return new Error('the broker speaks no MQTT 5; going on with 3.1.1');
  }

  async #up(client: MqttClient, packet: IConnackPacket): Promise<void> {
    // MQTT.js has no option for it; without it a small message waits for its predecessor's TCP ack (17 ms instead of 0.3).
    const stream = client.stream as { setNoDelay?: (on: boolean) => void };
    stream.setNoDelay?.(true);
    this.#connected = true;
    this.#trouble = undefined;
    this.#stats.connects += 1;
    this.#backoff.up();
    this.#refused.clear();
    this.#outbox.open(client, packet.properties?.receiveMaximum);
    this.#logger.info({ protocol: this.#version, session: packet.sessionPresent }, 'connected to the broker');
    await Promise.all([
      ...[...this.#unwanted].map((filter) => this.#unsubscribe(client, filter)),
      ...this.#subscriptions.map((subscription) => this.#subscribe(client, subscription)),
    ]);
    if (client !== this.#client || !this.#connected) return;
    for (const fn of this.#connectFns) this.#guarded(fn, 'onConnect');
    this.#first.resolve();
  }

  #lost(error: BrinkError): void {
    if (!this.#connected) return;
    this.#connected = false;
    this.#stats.disconnects += 1;
    this.#outbox.close(error);
    for (const fn of this.#disconnectFns) this.#guarded(() => fn(error), 'onDisconnect');
  }

  async #unsubscribe(client: MqttClient, filter: string): Promise<void> {
    try {
      await client.unsubscribeAsync(filter);
      this.#unwanted.delete(filter);
    } catch (error) {
      // Nobody hears it any more; the next connection asks again.
      this.#logger.debug({ filter, detail: BrinkError.from(error).detail }, 'not unsubscribed');
    }
  }

  async #subscribe(client: MqttClient, subscription: Subscription): Promise<void> {
    const { filter, qos, retained } = subscription;
    try {
      // rap: MQTT 5 clears the flag of a live retained message otherwise. rh 2: what was kept before is not sent.
      const of5 = retained === 'flagged' ? { rap: true } : { rap: false, rh: 2 };
      await client.subscribeAsync(filter, this.#version === 5 ? { qos, ...of5 } : { qos });
      this.#refused.delete(filter);
    } catch (error) {
      if (client !== this.#client || !this.#connected || !this.#subscriptions.includes(subscription)) return;
      const { detail } = BrinkError.from(error);
      this.#stats.subscriptionsRefused += 1;
      this.#refused.set(filter, detail);
      this.#logger.error({ filter, detail }, 'subscription refused');
    }
  }

  #deliver(topic: string, payload: Buffer, packet: IPublishPacket, acks: DeferredAcks): void {
    this.#stats.messages += 1;
    const message: MqttMessage = { topic, payload, retain: packet.retain, qos: packet.qos, dup: packet.dup };
    if (packet.properties !== undefined) message.properties = packet.properties;
    for (const { matches, handler } of this.#subscriptions) {
      if (!matches(topic)) continue;
      const deferred = handler.manualAck === true ? acks.defer(packet) : undefined;
      try {
        if (handler.manualAck !== true) handler.onMessage(message);
        else if (deferred !== undefined) handler.onMessage({ ...message, ...deferred });
      } catch (error) {
        this.#stats.handlerErrors += 1;
        this.#logger.error({ err: error, topic }, 'message handler failed');
        deferred?.abandon();
      }
    }
  }

  #guarded(fn: () => void, what: string): void {
    try {
      fn();
    } catch (error) {
      this.#logger.error({ err: error }, `${what} failed`);
    }
  }

  #clientOptions(): IClientOptions {
    const { clientId, clean, keepaliveS = 30, receiveMaximum = 256, sessionExpiryS = 86_400 } = this.#o;
    const { username, password, will } = this.#o;
    const properties = { receiveMaximum, ...(clean ? {} : { sessionExpiryInterval: sessionExpiryS }) };
    return {
      clientId,
      clean,
      protocolVersion: this.#version,
      keepalive: keepaliveS,
      reconnectPeriod: 0,
      connectTimeout: CONNECT_MS_MAX,
      queueQoSZero: false,
      resubscribe: false,
      ...(this.#version === 5 ? { properties } : {}),
      ...(username === undefined ? {} : { username }),
      ...(password === undefined ? {} : { password }),
      ...(will === undefined ? {} : { will: { ...will, payload: asBuffer(will.payload) } }),
    };
  }
}

/**
 * DISCONNECT, so that the will is not published. What is un-acked is let go before: MQTT.js would wait for it without end, and hear
 * no second `end`.
 */
function leave(client: MqttClient, clock: Clock): Promise<void> {
  return new Promise((resolve) => {
    const limit = clock.setTimeout(() => client.stream.destroy(), STOP_MS_MAX);
    for (const id of Object.keys(client.outgoing)) client.removeOutgoingMessage(Number(id));
    client.end(!client.connected, {}, () => {
      clock.clearTimeout(limit);
      resolve();
    });
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
