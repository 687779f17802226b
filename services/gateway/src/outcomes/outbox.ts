import { BrinkError } from '@brink/protocol';
import { type Clock, fullJitter, type LinkPeer, type LinkReply, type Logger, type Timer } from '@brink/runtime';
import { type DropReason, type Entry, OutcomeQueue, type QueueLimits } from './queue.ts';

export interface OutboxLimits extends QueueLimits {
  readonly batchesInFlightMax: number;
  readonly timeoutMs: number;
}

export interface OutboxDeps {
  request: LinkPeer['request'];
  clock: Clock;
  random: () => number;
  logger: Logger;
  onLetterDropped(): void;
}

const BACKOFF = { baseMs: 100, capMs: 5000 };
/** Batches in a row that fail for a reason nobody foresaw, before the rows of one are tried one by one. */
const UNFORESEEN_MAX = 3;

/**
 * Outcomes and dead letters on their way to control. A batch is sent again until control says that it is committed, so
 * each arrives at least once; control keeps one.
 */
export class Outbox {
  readonly #config: OutboxLimits;
  readonly #d: OutboxDeps;
  readonly #queue: OutcomeQueue;
  readonly #idle = new Set<() => void>();
  /** Batches that control has now. */
  #batches = 0;
  #up = false;
  #stopped = false;
  #scheduled = false;
  #waits: ReturnType<typeof fullJitter>;
  #pause: Timer | undefined;
  #unforeseen = 0;
  /** Rows to be sent one by one: one of them makes control stumble, and must not keep all others from it. */
  #singly = 0;

  constructor(config: OutboxLimits, d: OutboxDeps) {
    this.#config = config;
    this.#d = d;
    this.#queue = new OutcomeQueue(config, d.onLetterDropped);
    this.#waits = fullJitter(BACKOFF, d.random);
  }

  /**
   * @param onEnd is called once: when control has committed it, or it was dropped
   * @param kept it is not dropped for others, only at the end of the process
   */
  add(json: string, onEnd: (fate: 'committed' | DropReason) => void, kept = false): void {
    this.#queue.add({ payload: Buffer.from(json), onEnd, kept, since: this.#d.clock.monotonic() });
    this.#schedule();
  }

  addLetter(json: string): void {
    this.#queue.addLetter(Buffer.from(json));
    this.#schedule();
  }

  linkUp(): void {
    this.#up = true;
    this.#flush();
  }

  linkDown(): void {
    this.#up = false;
  }

  /** Resolves when control has everything, or at the signal. */
  async drained(signal: AbortSignal): Promise<void> {
    if (this.#queue.waiting + this.#batches === 0 || signal.aborted) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#idle.add(resolve);
    signal.addEventListener('abort', () => resolve(), { once: true });
    this.#flush();
    await promise;
    this.#idle.delete(resolve);
  }

  /** The end: what control has not taken is dropped and counted. */
  stop(): void {
    this.#up = false;
    this.#stopped = true;
    if (this.#pause !== undefined) this.#d.clock.clearTimeout(this.#pause);
    while (this.#queue.waiting > this.#queue.letters) this.#queue.dropOldest();
  }

  /** ms on the monotonic clock; undefined where nothing waits. */
  get oldest(): number | undefined {
    return this.#queue.oldest;
  }
  get rows(): number {
    return this.#queue.rows;
  }
  get bytes(): number {
    return this.#queue.bytes;
  }
  get letters(): number {
    return this.#queue.letters;
  }

  /** What ends in one turn of the event loop goes together. */
  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#flush();
    });
  }

  #flush(): void {
    const mayGo = () => this.#up && this.#pause === undefined && this.#batches < this.#config.batchesInFlightMax;
    while (mayGo() && this.#queue.waiting > 0)
      void this.#send(this.#singly > 0 ? this.#queue.take(1) : this.#queue.take());
  }

  async #send(batch: Entry[]): Promise<void> {
    this.#batches += 1;
    try {
      const payloads = batch.map((entry) => entry.payload);
      const { timeoutMs } = this.#config;
      this.#taken(batch, await this.#d.request({ case: 'outcomes', value: {} }, payloads, { timeoutMs }));
    } catch (reason) {
      this.#notTaken(batch, BrinkError.from(reason));
    }
    this.#batches -= 1;
    this.#flush();
    if (this.#queue.waiting + this.#batches === 0) for (const resolve of this.#idle) resolve();
  }

  #taken(batch: readonly Entry[], { body }: LinkReply): void {
    const rows = body.case === 'committed' ? body.value.refused : [];
    const refused = new Set(rows.map((row) => row.index));
    this.#queue.done(batch, (i) => (refused.has(i) ? 'refused' : 'committed'));
    this.#waits = fullJitter(BACKOFF, this.#d.random);
    this.#unforeseen = 0;
    if (this.#singly > 0) this.#singly -= 1;
    const [first] = rows;
    if (first === undefined) return;
    const { code, detail } = first.failure ?? {};
    this.#d.logger.error({ rows: rows.length, code, detail }, 'control refused outcomes');
  }

  #notTaken(batch: readonly Entry[], { code, detail, retryable }: BrinkError): void {
    if (this.#stopped) {
      this.#queue.done(batch, () => 'control_down');
      return;
    }
    if (code === 'E_INTERNAL' ? this.#isToBlame(batch) : !retryable) {
      this.#d.logger.error({ rows: batch.length, code, detail }, 'control refused a batch of outcomes');
      this.#queue.done(batch, () => 'refused');
      return;
    }
    this.#queue.putBack(batch);
    if (code === 'E_LINK_CLOSED') return;
    this.#pause ??= this.#d.clock.setTimeout(() => {
      this.#pause = undefined;
      this.#flush();
    }, this.#waits.next().value);
  }

  /** @returns whether it is this one row, after its batch had every chance */
  #isToBlame(batch: readonly Entry[]): boolean {
    if (this.#singly > 0 && batch.length === 1) {
      this.#singly -= 1;
      return true;
    }
    this.#unforeseen += 1;
    if (this.#unforeseen >= UNFORESEEN_MAX) this.#singly = batch.length;
    return false;
  }
}
