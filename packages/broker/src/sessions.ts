import type { Clock, Logger } from '@brink/runtime';
import type { BrokerMetrics } from './metrics.ts';
import { bytesOf, createQueue, type Packet, type Queue } from './queue.ts';

// Stored sessions (clean=false). aedes keeps their queues without a bound; here each has one. The gateway is such a client: while
// it is away, QoS 1 frames wait for it here, and what no longer fits is dropped and counted. (A device that waits for receipts
// sends those again.)

export interface SessionLimits {
  sessionsMax: number;
  /** A session that nobody came back to for this long is forgotten. */
  sessionExpiryMs: number;
  /** Messages that wait for one session. */
  queueMessagesMax: number;
  /** Payload bytes that wait in all sessions together. */
  queueBytesMax: number;
}

interface Session {
  /** Who may come back to it. */
  readonly owner: string;
  readonly queue: Queue;
  offlineSinceMs: number | undefined;
  dropped: number;
  resuming: Resuming | undefined;
}

/** A client has come back, and what waited for it is being sent. */
interface Resuming {
  /** What is to be sent, in the order of arrival; what has come since is put behind. */
  readonly next: number[];
  /** Handed to aedes and not on the socket yet. */
  readonly unsent: Set<number>;
  /** Goes on when there is none of them, or when another connection resumes. */
  wake: () => void;
}

const newResuming = (queue: Queue): Resuming => ({ next: queue.numbers(), unsent: new Set(), wake: () => {} });

const woken = (resuming: Resuming) =>
  new Promise<void>((resolve) => {
    resuming.wake = resolve;
  });

/** Nothing where it went meanwhile. */
function* waiting(queue: Queue, number: number, unsent: Set<number>): Generator<Packet> {
  const packet = queue.get(number);
  if (packet === undefined) return;
  if (packet.cmd !== 'pubrel') unsent.add(number);
  yield packet;
}

/** State that several hooks of aedes share; hence a class. */
export class Sessions {
  readonly #sessions = new Map<string, Session>();
  readonly #limits: SessionLimits;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #metrics: BrokerMetrics;
  #messages = 0;
  #bytes = 0;
  /** Takes the subscriptions of a forgotten session away too. */
  onForget: (id: string) => void = () => {};

  constructor(limits: SessionLimits, d: { clock: Clock; logger: Logger; metrics: BrokerMetrics }) {
    this.#limits = limits;
    this.#clock = d.clock;
    this.#logger = d.logger;
    this.#metrics = d.metrics;
  }

  /**
   * A client is coming in.
   * @returns why it may not have the session of this name, if so
   */
  claim(id: string, owner: string, clean: boolean): 'session_foreign' | 'session_limit' | undefined {
    const known = this.#sessions.get(id);
    if (known !== undefined && this.#expired(known)) {
      this.forget(id);
      return this.claim(id, owner, clean);
    }
    if (known !== undefined && known.owner !== owner) return 'session_foreign';
    if (clean) return undefined;
    if (known !== undefined) {
      known.offlineSinceMs = undefined;
      known.resuming?.wake();
      known.resuming = newResuming(known.queue);
      if (known.dropped > 0)
        this.#logger.warn({ client: id, dropped: known.dropped }, 'messages were dropped while it was away');
      known.dropped = 0;
      return undefined;
    }
    if (this.#sessions.size >= this.#limits.sessionsMax) this.#sweep();
    if (this.#sessions.size >= this.#limits.sessionsMax) return 'session_limit';
    const queue = createQueue();
    const resuming = newResuming(queue);
    this.#sessions.set(id, { owner, queue, offlineSinceMs: undefined, dropped: 0, resuming });
    return undefined;
  }

  left(id: string): void {
    const session = this.#sessions.get(id);
    if (session !== undefined) session.offlineSinceMs = this.#clock.monotonic();
  }

  /** The user is gone; so is what waits for it. */
  revoke(owner: string): void {
    for (const [id, session] of [...this.#sessions]) {
      if (session.owner === owner) this.forget(id);
    }
  }

  forget(id: string): void {
    const session = this.#sessions.get(id);
    if (session === undefined) return;
    this.#sessions.delete(id);
    session.resuming?.wake();
    this.#count(-session.queue.size, -session.queue.bytes);
    this.onForget(id);
  }

  enqueue(id: string, packet: Packet, qosMax: number): void {
    const session = this.#sessions.get(id);
    if (session === undefined) return;
    const full =
      session.queue.size >= this.#limits.queueMessagesMax || this.#bytes + bytesOf(packet) > this.#limits.queueBytesMax;
    if (full || this.#expired(session)) {
      this.#metrics.dropped.inc({ reason: 'queue_full' });
      if (session.dropped++ === 0)
        this.#logger.warn({ client: id, queued: session.queue.size }, 'queue of a session is full');
      return;
    }
    const isNew = this.#change(session.queue, (queue) => queue.push(packet, qosMax));
    if (isNew) session.resuming?.next.push(packet.brokerCounter);
  }

  update(id: string, packet: Packet): void {
    const session = this.#sessions.get(id);
    if (session === undefined) return;
    const { queue, resuming } = session;
    this.#change(queue, () => queue.update(packet));
    if (resuming?.unsent.delete(packet.brokerCounter) === true && resuming.unsent.size === 0) resuming.wake();
  }

  clear(id: string, messageId: number | undefined): Packet | undefined {
    const queue = this.#sessions.get(id)?.queue;
    return queue && this.#change(queue, () => queue.clear(messageId));
  }

  /**
   * What waits for a client that has come back, in the order of arrival, and what arrives while it is sent: aedes alone would
   * put that in between.
   */
  async *resume(id: string): AsyncGenerator<Packet> {
    const session = this.#sessions.get(id);
    const resuming = session?.resuming;
    if (session === undefined || resuming === undefined) return;
    const goesOn = () => this.#sessions.get(id) === session && session.resuming === resuming;
    while (goesOn()) {
      const next = resuming.next.splice(0);
      for (const number of next) yield* waiting(session.queue, number, resuming.unsent);
      if (next.length > 0) continue;
      if (resuming.unsent.size > 0) await woken(resuming);
      else session.resuming = undefined;
    }
  }

  /** Whether a message that was just published goes to a client with what waits for it, or went already: not by itself then. */
  goesWithWaiting(id: string, { brokerCounter, messageId }: Pick<Packet, 'brokerCounter' | 'messageId'>): boolean {
    const session = this.#sessions.get(id);
    if (session === undefined || messageId !== undefined) return false;
    const isSent = session.queue.isSent(brokerCounter);
    return isSent === true || (isSent === false && session.resuming !== undefined);
  }

  #change<T>(queue: Queue, change: (queue: Queue) => T): T {
    const { size, bytes } = queue;
    const result = change(queue);
    this.#count(queue.size - size, queue.bytes - bytes);
    return result;
  }

  #count(messages: number, bytes: number): void {
    this.#messages += messages;
    this.#bytes += bytes;
    this.#metrics.queued.set(this.#messages);
    this.#metrics.queuedBytes.set(this.#bytes);
  }

  #expired(session: Session): boolean {
    const since = session.offlineSinceMs;
    return since !== undefined && this.#clock.monotonic() - since > this.#limits.sessionExpiryMs;
  }

  #sweep(): void {
    for (const [id, session] of [...this.#sessions]) {
      if (this.#expired(session)) this.forget(id);
    }
  }
}
