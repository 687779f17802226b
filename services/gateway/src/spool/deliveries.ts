import { parseForeignTopic, type Topics } from '@brink/protocol';
import { type Clock, type DeferredMessage, type Mqtt, wait } from '@brink/runtime';
import type { SitePlan } from '../ingest/plan.ts';
import { Detour } from './detour.ts';
import type { Gate } from './intake.ts';

/** How long frames of all other streams wait at the start for the subscriptions of the durable ones. */
const SUBSCRIBED_MS_MAX = 2000;
const FORGET_MS_MAX = 10_000;
/** After the broker lost a session: how long the connection of all other frames may be behind the stream's own. */
const BEHIND_MS_MAX = 2000;

export interface DeliveriesDeps {
  clock: Clock;
  connect(o: { stream: string; clientId: string; clean: boolean }): Mqtt;
  onFrame(message: DeferredMessage): void;
  onForeign(message: DeferredMessage): void;
  /** Which stream a topic of another system belongs to. */
  foreignStream(topic: string): string | undefined;
  onRetired(message: DeferredMessage): void;
  /** A frame that came while the stream's own connection was away, and had no room to wait. */
  onLost(): void;
}

interface Delivery {
  readonly mqtt: Mqtt;
  readonly detour: Detour;
  /** Started, and not stopped. */
  running: boolean;
  /** It is connected, and its subscriptions were asked for. */
  hearing: boolean;
  /** It was connected before. */
  known: boolean;
  closed: boolean;
  /** Frames were given back: they come again, in their order, on another connection. Until then none is taken. */
  owes: boolean;
  /** The broker keeps what comes: it has not been out of sight since this was connected. */
  kept: boolean;
  /** Until then what comes another way may not have come this way, on the monotonic clock. */
  behindUntilMs: number;
  /** Subscriptions to other systems' topics. */
  foreign: ReadonlySet<string>;
}

/**
 * A connection to the broker for each durable stream, with a stored session of its own (clean=false). A frame without a place in the
 * spool stays un-acked, and what is un-acked holds up what comes behind it on the same connection: the places that the broker has
 * for it (MQTT 5's receive maximum), and the PUBACKs, which go out in order. So streams that may fill up never share one. With
 * MQTT 3.1.1 there is no receive maximum: the gate is closed by leaving, and the broker keeps what comes in the session.
 */
export class Deliveries implements Gate {
  readonly #config: { instance: string; topics: Topics };
  readonly #d: DeliveriesDeps;
  readonly #deliveries = new Map<string, Delivery>();
  /** Of each stream: starts and stops, one after the other. */
  readonly #turns = new Map<string, Promise<void>>();
  #signal: AbortSignal | undefined;
  /** Streams that have a session at the broker from before. */
  #known = new Set<string>();

  constructor(config: { instance: string; topics: Topics }, d: DeliveriesDeps) {
    this.#config = config;
    this.#d = d;
  }

  /** Streams that were durable when the spool was written. To be called before `start`. */
  remember(streams: Iterable<string>): void {
    this.#known = new Set(streams);
  }

  /**
   * A frame that came over the connection of all others. Frames of durable streams come on their own too, if that is there.
   * @returns false: it is of no durable stream
   */
  detour(stream: string | undefined, message: DeferredMessage, kind: 'frame' | 'foreign'): boolean {
    const delivery = stream === undefined ? undefined : this.#deliveries.get(stream);
    if (delivery === undefined) return false;
    const admit = kind === 'frame' ? this.#d.onFrame : this.#d.onForeign;
    const { mqtt, detour, hearing, closed, kept, behindUntilMs } = delivery;
    if (hearing && mqtt.problem !== undefined) detour.take(message, admit);
    else if (hearing && kind === 'frame' && this.#d.clock.monotonic() < behindUntilMs && isNumbered(message)) {
      detour.take(message, admit);
    } else if (hearing || (closed && kept)) message.ack();
    else detour.hold(message, admit);
    return true;
  }

  /** The broker was out of sight: it may have lost what it kept for streams that are not connected. */
  doubt(): void {
    for (const delivery of this.#deliveries.values()) delivery.kept = false;
  }

  /** The broker is there again: sessions that it keeps while a gate is closed are made again where it lost them. */
  revisit(): void {
    for (const [stream, { closed, kept }] of this.#deliveries) if (closed && !kept) void this.#start(stream);
  }

  /** Frames that wait for the connection of their own stream. */
  get detoured(): number {
    let sum = 0;
    for (const { detour } of this.#deliveries.values()) sum += detour.held;
    return sum;
  }

  /** Why frames of durable streams do not come in. */
  get problem(): string | undefined {
    for (const [stream, { mqtt, closed, hearing }] of this.#deliveries) {
      if (closed) continue;
      const problem = mqtt.problem ?? (hearing ? undefined : 'is not subscribed yet');
      if (problem !== undefined) return `durable stream ${stream}: ${problem}`;
    }
    return undefined;
  }

  apply(plan: SitePlan): void {
    for (const [stream, delivery] of [...this.#deliveries]) {
      if (plan.streams.get(stream)?.durable !== true) {
        this.#deliveries.delete(stream);
        delivery.detour.stop();
        void this.#then(stream, () => delivery.mqtt.stop());
        void this.#then(stream, () => this.#forget(stream));
      }
    }
    for (const { name, durable, topics } of plan.streams.values()) {
      if (!durable) continue;
      const filters = topics.map((pattern) => parseForeignTopic(pattern, this.#config.topics.root).filter);
      this.#hearForeign(name, this.#deliveries.get(name) ?? this.#add(name), new Set(filters));
    }
  }

  /** Resolves when the subscriptions are made, or after 2 s: who is not there yet comes later. */
  async start(signal: AbortSignal): Promise<void> {
    this.#signal = signal;
    for (const stream of this.#known)
      if (!this.#deliveries.has(stream)) void this.#then(stream, () => this.#forget(stream));
    const first = [...this.#deliveries.keys()].map((stream) => this.#start(stream));
    const enough = new AbortController();
    const limit = wait(SUBSCRIBED_MS_MAX, this.#d.clock, enough.signal);
    await Promise.race([Promise.all(first), limit]).catch(() => {});
    enough.abort();
    limit.catch(() => {});
  }

  async stop(): Promise<void> {
    this.#signal = undefined;
    const all = [...this.#deliveries].map(([stream, delivery]) => {
      delivery.detour.stop();
      return this.#then(stream, () => {
        delivery.running = false;
        return delivery.mqtt.stop();
      });
    });
    await Promise.all(all);
  }

  close(stream: string): void {
    const delivery = this.#deliveries.get(stream);
    if (delivery === undefined || delivery.closed) return;
    delivery.closed = true;
    delivery.owes = true;
    // One that is away comes first: only then it is known that the broker keeps what comes.
    if (!delivery.hearing) return;
    delivery.kept = delivery.mqtt.problem === undefined;
    this.#leave(stream, delivery);
  }

  open(stream: string): void {
    const delivery = this.#deliveries.get(stream);
    if (delivery === undefined || !delivery.closed) return;
    delivery.closed = false;
    void this.#start(stream);
  }

  #hearForeign(stream: string, delivery: Delivery, filters: ReadonlySet<string>): void {
    for (const filter of delivery.foreign) if (!filters.has(filter)) delivery.mqtt.unsubscribe(filter);
    for (const filter of filters) {
      if (delivery.foreign.has(filter)) continue;
      delivery.mqtt.subscribe(filter, { qos: 1, manualAck: true, retained: 'live' }, (message) => {
        // A filter may match what belongs to another stream, which hears it itself.
        const of = this.#d.foreignStream(message.topic);
        if (of !== undefined && of !== stream) message.ack();
        else if (delivery.owes) message.abandon();
        else this.#d.onForeign(message);
      });
    }
    delivery.foreign = filters;
  }

  #add(stream: string): Delivery {
    const { topics } = this.#config;
    const mqtt = this.#d.connect({ stream, clientId: this.#clientId(stream), clean: false });
    const delivery: Delivery = {
      ...{ mqtt, detour: new Detour(this.#d), running: false, hearing: false, known: false, closed: false },
      owes: false,
      ...{ kept: false, behindUntilMs: 0, foreign: new Set<string>() },
    };
    const frames = topics.format({ kind: 'frame', device: '+', stream });
    for (const filter of [frames, `${frames}/+`]) {
      mqtt.subscribe(filter, { qos: 1, manualAck: true }, (message) => {
        // What came before it goes before it.
        if (!delivery.hearing) this.#settle(delivery);
        if (delivery.owes) message.abandon();
        else this.#d.onFrame(message);
      });
    }
    const retired = topics.format({ kind: 'retired', device: '+', stream });
    mqtt.subscribe(retired, { qos: 1, manualAck: true }, (message) => this.#d.onRetired(message));
    mqtt.onConnect(() => this.#connected(stream, delivery));
    mqtt.onDisconnect(() => {
      delivery.hearing = false;
    });
    this.#deliveries.set(stream, delivery);
    if (this.#signal !== undefined) void this.#start(stream);
    return delivery;
  }

  #connected(stream: string, delivery: Delivery): void {
    delivery.hearing = true;
    delivery.kept = delivery.mqtt.problem === undefined;
    if (delivery.known && !delivery.mqtt.resumed) delivery.behindUntilMs = this.#d.clock.monotonic() + BEHIND_MS_MAX;
    delivery.known = true;
    this.#settle(delivery);
    if (delivery.closed || delivery.owes) this.#leave(stream, delivery);
  }

  #settle({ mqtt, detour, closed }: Delivery): void {
    detour.settle({ isKept: mqtt.resumed, isOpen: !closed });
  }

  /** The gate is closed, or was: the broker keeps what comes, and brings what was given back. */
  #leave(stream: string, delivery: Delivery): void {
    void this.#then(stream, async () => {
      if (!delivery.closed && !delivery.owes) return;
      delivery.running = false;
      await delivery.mqtt.stop();
      delivery.owes = false;
      if (!delivery.closed) void this.#start(stream);
    });
  }

  /** A stream that is durable no more: the broker need not keep anything for it. */
  async #forget(stream: string): Promise<void> {
    const signal = this.#signal;
    if (signal === undefined) return;
    const mqtt = this.#d.connect({ stream, clientId: this.#clientId(stream), clean: true });
    await mqtt.start(AbortSignal.any([signal, AbortSignal.timeout(FORGET_MS_MAX)])).catch(() => {});
    await mqtt.stop();
  }

  /** @returns what resolves at the first connection */
  async #start(stream: string): Promise<void> {
    let connected: Promise<void> | undefined;
    await this.#then(stream, async () => {
      const delivery = this.#deliveries.get(stream);
      if (this.#signal === undefined || delivery === undefined || delivery.running) return;
      delivery.running = true;
      connected = delivery.mqtt.start(this.#signal);
      connected?.catch(() => {});
    });
    await connected?.catch(() => {});
  }

  #then(stream: string, what: () => Promise<void>): Promise<void> {
    const done = (this.#turns.get(stream) ?? Promise.resolve()).then(what).catch(() => {});
    this.#turns.set(stream, done);
    return done;
  }

  // Names have no dot, so this is nobody else's.
  #clientId = (stream: string) => `brink-${this.#config.instance}.${stream}`;
}

/** `{root}/{device}/up/frames/{stream}/{boot}-{seq}`: it is taken once, however often it comes. */
const isNumbered = ({ topic }: DeferredMessage) => topic.split('/', 6)[5] !== undefined;
