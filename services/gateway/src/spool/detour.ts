import type { Clock, DeferredMessage, Timer } from '@brink/runtime';

/** How long what came waits for the stream's own connection, and how much. */
const HOLD_MS_MAX = 10_000;
const HELD_MAX = { frames: 1024, bytes: 8 * 1024 * 1024 };

type Admit = (message: DeferredMessage) => void;

interface Held {
  readonly message: DeferredMessage;
  readonly admit: Admit;
}

/**
 * Frames of one durable stream that came over the connection of all others while its own was away. If the broker kept the session
 * it brings them once more, in their place among those that were not heard here; then these are thrown away. If it did not (it lost
 * its memory), nobody else brings them, and they are taken. Until it is known they wait. They are acknowledged before: a PUBACK that
 * waits would hold up those of other streams, and a session that is not stored never brings a message twice.
 */
export class Detour {
  readonly #d: { clock: Clock; onLost(): void };
  #held: Held[] = [];
  #bytes = 0;
  #timer: Timer | undefined;
  /** Its own connection was away for too long: what comes is taken at once. */
  #isDirect = false;
  /** Nobody else brings what is held. */
  #isOwed = false;

  constructor(d: { clock: Clock; onLost(): void }) {
    this.#d = d;
  }

  get held(): number {
    return this.#held.length;
  }

  /** It may come another way: it waits until that is known. */
  hold(message: DeferredMessage, admit: Admit): void {
    const copy = this.#copyOf(message, admit);
    if (this.#isDirect) admit(copy);
    else this.#put({ message: copy, admit });
  }

  /** It comes no other way, or is known by its number. */
  take(message: DeferredMessage, admit: Admit): void {
    admit(this.#copyOf(message, admit));
  }

  /**
   * Its own connection is there.
   * @param isKept whether that brings everything that came meanwhile
   * @param isOpen whether frames can be taken now; otherwise this is called again
   */
  settle({ isKept, isOpen }: { isKept: boolean; isOpen: boolean }): void {
    this.#isDirect = false;
    if (this.#held.length === 0) return;
    this.#isOwed ||= !isKept;
    if (!this.#isOwed) this.#empty();
    else if (isOpen) this.#admitAll();
  }

  stop(): void {
    for (const _ of this.#empty()) this.#d.onLost();
  }

  #copyOf(message: DeferredMessage, admit: Admit): DeferredMessage {
    message.ack();
    const abandon = () => {
      this.#isOwed = true;
      this.#put({ message: copy, admit });
    };
    // The payload is a view that would keep its whole network chunk.
    const copy = { ...message, payload: Buffer.from(message.payload), ack() {}, abandon };
    return copy;
  }

  #put(one: Held): void {
    this.#held.push(one);
    this.#bytes += one.message.payload.byteLength;
    this.#timer ??= this.#d.clock.setTimeout(() => this.#enough(), HOLD_MS_MAX);
    const isFull = () => this.#held.length > HELD_MAX.frames || this.#bytes > HELD_MAX.bytes;
    if (isFull() && !this.#isDirect) this.#enough();
    while (isFull()) {
      this.#bytes -= this.#held.shift()?.message.payload.byteLength ?? 0;
      this.#d.onLost();
    }
  }

  #enough(): void {
    this.#isDirect = true;
    this.#admitAll();
  }

  /** What is given back un-acked is held again. */
  #admitAll(): void {
    for (const { message, admit } of this.#empty()) admit(message);
  }

  #empty(): Held[] {
    if (this.#timer !== undefined) this.#d.clock.clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#isOwed = false;
    this.#bytes = 0;
    return this.#held.splice(0);
  }
}
