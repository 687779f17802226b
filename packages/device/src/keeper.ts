import { BrinkError, type ErrorCode, FRAME_BYTES_MAX, ReceiptSchema, type Topics } from '@brink/protocol';
import type { Clock, Logger, Mqtt, Timer } from '@brink/runtime';
import { type FrameName, propertiesOf } from './frame.ts';
import { type Aside, type KeptFrame, Outbox, type OutboxConfig } from './outbox.ts';

/** A frame that the gateway refused by name: it is not sent again. */
export interface RejectedFrame extends FrameName {
  readonly stream: string;
  readonly code: ErrorCode;
}

/** Sent and without a receipt, of all streams. Their gateway commits a group of these at once. */
const SENT_MAX = 64;
/** Of one stream, however many there are. */
const SENT_MIN = 4;
/** Before a frame is sent again; beyond this, full jitter that doubles up to the cap. */
const RECEIPT_MS = 1500;
const AGAIN_MS_MAX = 60_000;

export interface KeeperDeps {
  mqtt: Mqtt;
  clock: Clock;
  random: () => number;
  logger: Logger;
}

/** Sends what is in the outbox, in its order, and again under the same name until a receipt says that the gateway has it. */
export class Keeper {
  readonly #config: { device: string; topics: Topics };
  readonly #d: KeeperDeps;
  readonly #outbox: Outbox;
  /** By id: how often it was sent, and when it is due again. */
  readonly #sent = new Map<number, { times: number; dueMs: number }>();
  readonly #pausedUntil = new Map<string, number>();
  readonly #rejectedFns: ((frame: RejectedFrame) => void)[] = [];
  #timer: Timer | undefined;
  #running = false;

  constructor(config: OutboxConfig & { device: string; topics: Topics }, d: KeeperDeps) {
    this.#config = config;
    this.#d = d;
    this.#outbox = new Outbox(config);
    const prefix = config.topics.format({ kind: 'receipts', device: config.device, stream: 'x' }).replace(/x$/, '');
    d.mqtt.subscribe(`${prefix}+`, { qos: 1 }, ({ topic, payload }) => this.#hear(topic.slice(prefix.length), payload));
    d.mqtt.onConnect(() => {
      for (const one of this.#sent.values()) one.dueMs = 0;
      this.#pump();
    });
  }

  get running(): boolean {
    return this.#running;
  }

  get waiting(): number {
    return this.#outbox.size;
  }

  /** @throws BrinkError E_STORAGE_READONLY, E_STORAGE_NEWER, E_STORAGE_CORRUPT, E_STORAGE_FULL, E_LOCKED */
  async open(): Promise<void> {
    await this.#outbox.open();
    this.#running = true;
  }

  close(): void {
    this.#running = false;
    if (this.#timer !== undefined) this.#d.clock.clearTimeout(this.#timer);
    this.#outbox.close();
    this.#sent.clear();
  }

  onRejected(fn: (frame: RejectedFrame) => void): void {
    this.#rejectedFns.push(fn);
  }

  /** @throws BrinkError E_STORAGE_FULL, E_UNAVAILABLE, E_TOO_LARGE (no stream takes it) */
  keep(stream: string, name: () => FrameName, bytes: Uint8Array, aside: Aside = {}): FrameName {
    if (!this.#running) throw new BrinkError('E_UNAVAILABLE', 'the device is not running');
    if (bytes.byteLength > FRAME_BYTES_MAX) {
      const detail = `a frame of ${bytes.byteLength} bytes; expected at most ${FRAME_BYTES_MAX}`;
      throw new BrinkError('E_TOO_LARGE', detail);
    }
    for (const given of this.#outbox.makeRoom(stream, bytes.byteLength)) {
      this.#sent.delete(given.id);
      this.#retire(stream, given.boot, given.seq + 1);
    }
    const { boot, seq } = this.#outbox.add(stream, name(), bytes, aside);
    this.#pump();
    return { boot, seq };
  }

  /** Sends what is due of each stream's oldest frames. */
  #pump(): void {
    if (this.#timer !== undefined) this.#d.clock.clearTimeout(this.#timer);
    this.#timer = undefined;
    if (!this.#running || !this.#d.mqtt.connected) return;
    const now = this.#d.clock.monotonic();
    const streams = this.#outbox.streams();
    // To each its share: one that is full, or that nobody gives receipts for, must not keep the others from being sent.
    const share = Math.max(SENT_MIN, Math.floor(SENT_MAX / streams.length));
    const nextMs = Math.min(...streams.map((stream) => this.#pumpStream(stream, share, now)));
    if (streams.length > 0) this.#timer = this.#d.clock.setTimeout(() => this.#pump(), Math.max(1, nextMs - now));
  }

  /** @returns when the next of its frames is due */
  #pumpStream(stream: string, share: number, now: number): number {
    let nextMs = Number.POSITIVE_INFINITY;
    let count = 0;
    for (const frame of this.#outbox.frames(stream)) {
      if (count >= share) break;
      count += 1;
      const dueMs = Math.max(this.#sent.get(frame.id)?.dueMs ?? 0, this.#pausedUntil.get(stream) ?? 0);
      nextMs = Math.min(nextMs, dueMs <= now ? this.#send(frame, now) : dueMs);
    }
    return nextMs;
  }

  /** @returns when it is due again */
  #send(frame: KeptFrame, now: number): number {
    const times = (this.#sent.get(frame.id)?.times ?? 0) + 1;
    const jitter = this.#d.random() * Math.min(AGAIN_MS_MAX, RECEIPT_MS * 2 ** (times - 1));
    const dueMs = now + RECEIPT_MS + jitter;
    this.#sent.set(frame.id, { times, dueMs });
    const kept = this.#outbox.read(frame);
    if (kept === undefined) return dueMs;
    const { stream, boot, seq } = frame;
    const { topics, device } = this.#config;
    const topic = topics.format({ kind: 'frame', device, stream, id: { boot, seq } });
    this.#d.mqtt.publish(topic, kept.payload, { qos: 1, properties: propertiesOf(kept) }).catch((error: unknown) => {
      // Lost with the connection, or no room to wait: it is sent again. But this broker will never take it.
      if (BrinkError.from(error).code === 'E_TOO_LARGE') this.#drop(frame, 'E_TOO_LARGE');
    });
    return dueMs;
  }

  /** Given up, and its sender is told. The next receipt stops before it, and is answered with `retired`. */
  #drop(frame: KeptFrame, code: ErrorCode): void {
    if (!this.#running || !this.#sent.delete(frame.id)) return;
    const { stream, boot, seq } = frame;
    this.#outbox.remove([frame]);
    this.#d.logger.warn({ stream, boot, seq, code }, 'a frame was given up');
    for (const fn of this.#rejectedFns) fn({ stream, boot, seq, code });
    this.#pump();
  }

  /** Somebody gives receipts: what waited longer and longer for them need not wait so long. */
  #isBack(now: number): void {
    for (const one of this.#sent.values()) {
      if (one.times > 1) one.dueMs = Math.min(one.dueMs, now + RECEIPT_MS * (1 + this.#d.random()));
      one.times = 1;
    }
  }

  #retire(stream: string, boot: string, below: number): void {
    const { topics, device } = this.#config;
    const topic = topics.format({ kind: 'retired', device, stream });
    this.#d.mqtt.publish(topic, JSON.stringify({ boot, below }), { qos: 1 }).catch(() => {});
  }

  #hear(stream: string, payload: Uint8Array): void {
    const { data } = ReceiptSchema.safeParse(parse(payload));
    if (data === undefined) {
      this.#d.logger.warn({ stream }, 'a receipt that cannot be read');
      return;
    }
    const { boot, through, rejected, busy_ms } = data;
    const mine = [...this.#outbox.frames(stream)].filter((frame) => frame.boot === boot);
    const refused = new Map(rejected.map(({ seq, code }) => [seq, code]));
    const done = mine.filter(({ seq }) => seq <= through || refused.has(seq));
    this.#outbox.remove(done);
    for (const { id, seq } of done) {
      this.#sent.delete(id);
      const code = refused.get(seq);
      for (const fn of code === undefined ? [] : this.#rejectedFns) fn({ stream, boot, seq, code: code as ErrorCode });
    }
    const now = this.#d.clock.monotonic();
    if (busy_ms > 0) this.#pausedUntil.set(stream, now + busy_ms);
    else this.#isBack(now);
    // What is no longer here will never come: it was given up, or sent without being kept.
    const lowest = mine.find(({ seq }) => seq > through)?.seq;
    if (lowest !== undefined && lowest > through + 1) this.#retire(stream, boot, lowest);
    this.#pump();
  }
}

function parse(payload: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(payload));
  } catch {
    return undefined;
  }
}
