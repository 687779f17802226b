import type { BrinkError } from '@brink/protocol';
import type { IPublishPacket } from 'mqtt';
import type { Clock } from './clock.ts';
import type { Logger } from './logger.ts';
import type { MqttMetrics } from './mqtt-metrics.ts';
import type { PublishOptions } from './mqtt-outbox.ts';
import type { Part } from './part.ts';

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
  /**
   * QoS 1 messages that the broker may have un-acked towards us (MQTT 5); default 256; asked at each connect. A PINGRESP stands in line
   * behind them: what they hold must come over the network in less than half a keepalive.
   */
  receiveMaximum?: number | (() => number);
  /**
   * Bytes of one packet that the broker may send us (MQTT 5), which leaves larger ones out; default: the largest frame that there can
   * be. One that comes all the same is delivered: ending the connection over it would bring it back with the next, for ever, where it
   * is retained or un-acked.
   */
  packetBytesMax?: number;
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
   * With `clean: false`: whether the broker brings what came since the last connection. Not so when it had no session of ours, or one
   * whose subscriptions were never made.
   */
  readonly resumed: boolean;
  /**
   * QoS 1 resolves at PUBACK, QoS 0 when the bytes were handed to the socket. Never await it inside a message handler.
   * @throws BrinkError E_BROKER (not connected, connection lost, refused), E_BUSY (the bounded queue is full), E_TOO_LARGE (for the
   *   broker, where it says so, over MQTT 5)
   */
  publish(topic: string, payload: string | Uint8Array, o?: PublishOptions): Promise<void>;
  /**
   * Declares a subscription; it is made at every connect, and again after a while where the broker refused it. Handlers are called synchronously and must not block; one that throws is
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

export interface SubscribeOptions {
  /**
   * `flagged` (default): what was published with retain is seen as such, also live (MQTT 5). `live`: only what the broker had kept is,
   * and it is asked not to send that (MQTT 5); for topics whose owner publishes everything retained.
   */
  retained?: 'flagged' | 'live';
  /** That it is refused is no problem, and it is not tried again. */
  optional?: boolean;
}

export interface MqttDependencies {
  logger: Logger;
  clock: Clock;
  random: () => number;
  metrics?: MqttMetrics;
}
