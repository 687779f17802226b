import { BrinkError } from '@brink/protocol';
import type { IPublishPacket, MqttClient } from 'mqtt';
import type { Clock, Timer } from './clock.ts';
import type { Logger } from './logger.ts';
import type { DeferredMessage, MqttMessage, SubscribeOptions } from './mqtt.ts';
import type { DeferredAcks } from './mqtt-ack.ts';
import type { MqttStats } from './mqtt-metrics.ts';
import { fullJitter } from './retry.ts';
import { createTopicFilter } from './topic-filter.ts';

interface Subscription {
  readonly filter: string;
  readonly qos: 0 | 1;
  readonly retained: 'flagged' | 'live';
  readonly optional: boolean;
  readonly manualAck: boolean;
  readonly matches: (topic: string) => boolean;
  readonly onMessage: (message: DeferredMessage) => void;
}

/** A broker that comes back empty knows some rights only when control has told them again. */
const AGAIN = { baseMs: 500, capMs: 30_000 };

/** What one connection hears: declared once, made at each connect, and handed to its handlers. */
export class Subscriptions {
  readonly #d: { logger: Logger; clock: Clock; random: () => number };
  readonly #stats: MqttStats;
  #all: Subscription[] = [];
  /** What the broker may still have in its stored session though nobody wants it. */
  readonly #unwanted = new Set<string>();
  /** filter → why */
  readonly #refused = new Map<string, string>();
  #on: { client: MqttClient; version: 4 | 5 } | undefined;
  #waits = fullJitter(AGAIN, Math.random);
  #again: Timer | undefined;

  constructor(d: { logger: Logger; clock: Clock; random: () => number; stats: MqttStats }) {
    this.#d = d;
    this.#stats = d.stats;
  }

  /** Which were refused, and why. */
  get problem(): string | undefined {
    if (this.#refused.size === 0) return undefined;
    return `refused ${[...this.#refused].map(([filter, why]) => `${filter} (${why})`).join(', ')}`;
  }

  add(
    filter: string,
    o: SubscribeOptions & { qos: 0 | 1; manualAck?: true },
    onMessage: Subscription['onMessage'],
  ): void {
    const { qos, manualAck = false, retained = 'flagged', optional = false } = o;
    const matches = createTopicFilter(filter);
    const subscription = { filter, qos, retained, optional, manualAck, matches, onMessage };
    this.#unwanted.delete(filter);
    this.#all.push(subscription);
    void this.#make([subscription]);
  }

  remove(filter: string): void {
    this.#all = this.#all.filter((subscription) => subscription.filter !== filter);
    this.#refused.delete(filter);
    this.#unwanted.add(filter);
    if (this.#on !== undefined) void this.#takeBack(this.#on.client, filter);
  }

  /** Resolves when each was granted or refused. */
  async open(client: MqttClient, version: 4 | 5): Promise<void> {
    this.#on = { client, version };
    this.#refused.clear();
    this.#waits = fullJitter(AGAIN, this.#d.random);
    await Promise.all([...[...this.#unwanted].map((filter) => this.#takeBack(client, filter)), this.#make(this.#all)]);
  }

  close(): void {
    this.#on = undefined;
    if (this.#again !== undefined) this.#d.clock.clearTimeout(this.#again);
    this.#again = undefined;
  }

  deliver(topic: string, payload: Buffer, packet: IPublishPacket, acks: DeferredAcks): void {
    this.#stats.messages += 1;
    const message: MqttMessage = { topic, payload, retain: packet.retain, qos: packet.qos, dup: packet.dup };
    if (packet.properties !== undefined) message.properties = packet.properties;
    for (const { matches, manualAck, onMessage } of this.#all) {
      if (!matches(topic)) continue;
      const deferred = manualAck ? acks.defer(packet) : undefined;
      try {
        onMessage(deferred === undefined ? (message as DeferredMessage) : { ...message, ...deferred });
      } catch (error) {
        this.#stats.handlerErrors += 1;
        this.#d.logger.error({ err: error, topic }, 'message handler failed');
        deferred?.abandon();
      }
    }
  }

  async #make(subscriptions: readonly Subscription[]): Promise<void> {
    const on = this.#on;
    if (on === undefined) return;
    await Promise.all(subscriptions.map((subscription) => this.#ask(on, subscription)));
    if (on !== this.#on || this.#refused.size === 0 || this.#again !== undefined) return;
    this.#again = this.#d.clock.setTimeout(() => {
      this.#again = undefined;
      void this.#make(this.#all.filter(({ filter }) => this.#refused.has(filter)));
    }, this.#waits.next().value);
  }

  async #ask(on: { client: MqttClient; version: 4 | 5 }, subscription: Subscription): Promise<void> {
    const { filter, qos, retained, optional } = subscription;
    try {
      // rap: MQTT 5 clears the flag of a live retained message otherwise. rh 2: what was kept before is not sent.
      const of5 = retained === 'flagged' ? { rap: true } : { rap: false, rh: 2 };
      await on.client.subscribeAsync(filter, on.version === 5 ? { qos, ...of5 } : { qos });
      if (this.#refused.delete(filter)) this.#d.logger.info({ filter }, 'subscribed, after it was refused');
    } catch (error) {
      if (on !== this.#on || !this.#all.includes(subscription)) return;
      const { detail } = BrinkError.from(error);
      if (optional) {
        this.#d.logger.debug({ filter, detail }, 'subscription refused, which is no problem');
        return;
      }
      this.#stats.subscriptionsRefused += 1;
      if (this.#refused.get(filter) !== detail) this.#d.logger.error({ filter, detail }, 'subscription refused');
      this.#refused.set(filter, detail);
    }
  }

  async #takeBack(client: MqttClient, filter: string): Promise<void> {
    try {
      await client.unsubscribeAsync(filter);
      this.#unwanted.delete(filter);
    } catch (error) {
      // Nobody hears it any more; the next connection asks again.
      this.#d.logger.debug({ filter, detail: BrinkError.from(error).detail }, 'not unsubscribed');
    }
  }
}
