import { BrinkError, FRAME_BYTES_MAX } from '@brink/protocol';
import type { IClientOptions, IConnackPacket, MqttClient } from 'mqtt';
import type { Clock } from './clock.ts';
import type { Logger } from './logger.ts';
import type { DeferredMessage, Mqtt, MqttDependencies, MqttOptions, SubscribeOptions } from './mqtt.ts';
import { DeferredAcks } from './mqtt-ack.ts';
import { createMqttStats, type MqttStats } from './mqtt-metrics.ts';
import { Outbox, type PublishOptions } from './mqtt-outbox.ts';
import { connectPackets } from './mqtt-socket.ts';
import { Subscriptions } from './mqtt-subscriptions.ts';
import { createBackoff, wait } from './retry.ts';

const CONNECT_MS_MAX = 5000;
/** The largest payload that a frame can have, and what stands around it: topic, properties, lengths. */
const PACKET_BYTES_MAX = FRAME_BYTES_MAX + 64 * 1024;
const RECEIVE_MAXIMUM = 256;
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
  readonly #subscriptions: Subscriptions;
  readonly #connectFns: (() => void)[] = [];
  readonly #disconnectFns: ((error: BrinkError) => void)[] = [];
  #client: MqttClient | undefined;
  #version: 4 | 5;
  #connected = false;
  #resumed = false;
  /** The session at the broker is new, and its subscriptions are not made yet. */
  #isBare = false;
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
    this.#subscriptions = new Subscriptions({ ...d, logger: this.#logger, stats: this.#stats });
    this.#outbox = new Outbox({ countMax: outgoingMax, bytesMax: outgoingBytesMax }, this.#stats);
    d.metrics?.track(this.#stats, { connected: () => this.#connected, waiting: () => this.#outbox.waiting });
  }

  get connected(): boolean {
    return this.#connected;
  }

  get resumed(): boolean {
    return this.#resumed;
  }

  get problem(): string | undefined {
    const problem = this.#trouble ?? this.#subscriptions.problem;
    return problem === undefined ? undefined : `broker: ${problem}`;
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
    o: SubscribeOptions & { qos: 0 | 1; manualAck?: true },
    onMessage: (message: DeferredMessage) => void,
  ): void {
    this.#subscriptions.add(filter, o, onMessage);
  }

  unsubscribe(filter: string): void {
    this.#subscriptions.remove(filter);
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
    const { connect, MqttClient } = await import('mqtt');
    if (signal.aborted) return new BrinkError('E_CANCELLED', 'stopped');
    const url = new URL(this.#o.url);
    const client =
      url.protocol === 'mqtt:'
        ? new MqttClient(() => connectPackets(url), this.#clientOptions())
        : connect(this.#o.url, this.#clientOptions());
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
    client.on('message', (topic, payload, packet) => this.#subscriptions.deliver(topic, payload, packet, acks));
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
    this.#isBare ||= !packet.sessionPresent;
    this.#resumed = !this.#isBare;
    this.#trouble = undefined;
    this.#stats.connects += 1;
    this.#backoff.up();
    // The broker was told; MQTT.js would end the connection over a packet that is larger, see packetBytesMax.
    delete client.options.properties?.maximumPacketSize;
    this.#outbox.open(client, packet.properties);
    this.#logger.info({ protocol: this.#version, session: packet.sessionPresent }, 'connected to the broker');
    await this.#subscriptions.open(client, this.#version);
    if (client !== this.#client || !this.#connected) return;
    this.#isBare = false;
    for (const fn of this.#connectFns) this.#guarded(fn, 'onConnect');
    this.#first.resolve();
  }

  #lost(error: BrinkError): void {
    if (!this.#connected) return;
    this.#connected = false;
    this.#stats.disconnects += 1;
    this.#subscriptions.close();
    this.#outbox.close(error);
    for (const fn of this.#disconnectFns) this.#guarded(() => fn(error), 'onDisconnect');
  }

  #guarded(fn: () => void, what: string): void {
    try {
      fn();
    } catch (error) {
      this.#logger.error({ err: error }, `${what} failed`);
    }
  }

  #clientOptions(): IClientOptions {
    const { clientId, clean, keepaliveS = 30, sessionExpiryS = 86_400, username, password, will } = this.#o;
    const { receiveMaximum = RECEIVE_MAXIMUM, packetBytesMax = PACKET_BYTES_MAX } = this.#o;
    const properties = {
      receiveMaximum: typeof receiveMaximum === 'number' ? receiveMaximum : receiveMaximum(),
      maximumPacketSize: packetBytesMax,
      ...(clean ? {} : { sessionExpiryInterval: sessionExpiryS }),
    };
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
