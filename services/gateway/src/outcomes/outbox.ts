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
/** For a row that control stumbles over, again and again. */
const ASIDE = { baseMs: 1000, capMs: 60_000 };
/** Batches that fail for a reason that may lie in one of their rows, before those are tried one by one. */
const UNFORESEEN_MAX = 3;

/**
 * Outcomes and dead letters on their way to control. A batch is sent again until control says that it is committed, so
 * each arrives at least once; control keeps one. What fails as a whole says nothing about any of its rows: control's disk may be
 * full, read-only or damaged. Those of the spool end only when control has committed them or refused them by name; of the
 * others, that nobody keeps, one is also given up that control stumbles over while it takes the rest.
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
  /** Why control did not take the last batch. */
  #refusal: string | undefined;
  #unforeseen = 0;
  /** Batches that control committed. */
  #commits = 0;
  /** Rows that failed alone: how many batches were committed before. */
  readonly #failedAt = new WeakMap<Entry, number>();
  #asideWaits: ReturnType<typeof fullJitter>;
  #asidePause: Timer | undefined;
  /** Why control does not take what was put aside. */
  #asideWhy = '';
  /** Rows to be sent one by one: one of them makes control stumble, and must not keep all others from it. */
  #singly = 0;

  constructor(config: OutboxLimits, d: OutboxDeps) {
    this.#config = config;
    this.#d = d;
    this.#queue = new OutcomeQueue(config, d.onLetterDropped);
    this.#waits = fullJitter(BACKOFF, d.random);
    this.#asideWaits = fullJitter(ASIDE, d.random);
  }

  /** Why outcomes do not arrive though control is there; for /readyz. */
  get problem(): string | undefined {
    if (this.#refusal !== undefined) return `outcomes: control does not take them: ${this.#refusal}`;
    const { aside } = this.#queue;
    return aside === 0 ? undefined : `outcomes: control does not take ${aside} of them: ${this.#asideWhy}`;
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
    this.#refusal = undefined;
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
    for (const timer of [this.#pause, this.#asidePause]) if (timer !== undefined) this.#d.clock.clearTimeout(timer);
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
      this.#taken(batch, await this.#request(batch));
    } catch (reason) {
      this.#notTaken(batch, BrinkError.from(reason));
    }
    this.#batches -= 1;
    this.#flush();
    if (this.#queue.waiting + this.#batches === 0) for (const resolve of this.#idle) resolve();
  }

  #request(batch: readonly Entry[]): Promise<LinkReply> {
    const payloads = batch.map((entry) => entry.payload);
    return this.#d.request({ case: 'outcomes', value: {} }, payloads, { timeoutMs: this.#config.timeoutMs });
  }

  #taken(batch: readonly Entry[], { body }: LinkReply): void {
    const rows = body.case === 'committed' ? body.value.refused : [];
    const refused = new Set(rows.map((row) => row.index));
    this.#queue.done(batch, (i) => (refused.has(i) ? 'refused' : 'committed'));
    this.#waits = fullJitter(BACKOFF, this.#d.random);
    this.#refusal = undefined;
    this.#commits += 1;
    if (this.#singly > 0) this.#singly -= 1;
    const [first] = rows;
    if (first === undefined) return;
    const { code, detail } = first.failure ?? {};
    this.#d.logger.error({ rows: rows.length, code, detail }, 'control refused outcomes');
  }

  #notTaken(batch: readonly Entry[], error: BrinkError): void {
    const { code, detail } = error;
    if (this.#stopped) {
      this.#queue.done(batch, () => 'control_down');
      return;
    }
    if (mayBeOfARow(error)) this.#unforeseenIn(batch, error);
    else this.#queue.putBack(batch);
    // Its own words are under /readyz; and E_BUSY is how control says that it is as fast as it can be.
    if (code === 'E_LINK_CLOSED') return;
    if (code !== 'E_BUSY') this.#refuses(`${code}: ${detail}`, batch.length);
    this.#pause ??= this.#d.clock.setTimeout(() => {
      this.#pause = undefined;
      this.#flush();
    }, this.#waits.next().value);
  }

  #refuses(why: string, rows: number): void {
    if (this.#refusal === undefined) this.#d.logger.error({ rows, why }, 'control does not take outcomes');
    this.#refusal = why;
  }

  /** Rows are tried one by one after a while, and each goes out of the way of the others. */
  #unforeseenIn(batch: readonly Entry[], { code, detail }: BrinkError): void {
    const [entry] = batch;
    if (this.#singly === 0 || batch.length > 1 || entry === undefined) {
      this.#queue.putBack(batch);
      this.#unforeseen += 1;
      if (this.#unforeseen < UNFORESEEN_MAX) return;
      this.#unforeseen = 0;
      this.#singly = batch.length;
      return;
    }
    this.#singly -= 1;
    const before = this.#failedAt.get(entry);
    this.#failedAt.set(entry, this.#commits);
    // Nothing was committed since it failed: then it is no row, it is control.
    if (before === undefined || before === this.#commits) this.#queue.putLast(entry);
    else if (entry.kept === true) {
      this.#asideWhy = `${code}: ${detail}`;
      this.#queue.putAside(entry);
      this.#asideLater();
    } else {
      this.#d.logger.error(
        { code, detail },
        'an outcome or dead letter is given up: control takes others, and not this',
      );
      this.#queue.done([entry], () => 'refused');
    }
  }

  #asideLater(): void {
    this.#asidePause ??= this.#d.clock.setTimeout(() => void this.#tryAside(), this.#asideWaits.next().value);
  }

  /** One at a time, and the next at once when it is taken. */
  async #tryAside(): Promise<void> {
    this.#asidePause = undefined;
    const [entry] = this.#up && this.#pause === undefined ? this.#queue.takeAside() : [];
    if (entry !== undefined) {
      try {
        this.#taken([entry], await this.#request([entry]));
        this.#asideWaits = fullJitter(ASIDE, this.#d.random);
        return this.#tryAside();
      } catch (reason) {
        const { code, detail } = BrinkError.from(reason);
        this.#asideWhy = `${code}: ${detail}`;
        if (this.#stopped) this.#queue.done([entry], () => 'control_down');
        else this.#queue.putAside(entry);
      }
    }
    if (this.#queue.aside > 0 && !this.#stopped) this.#asideLater();
  }
}

/** Not of control's disk, nor of this moment. */
const mayBeOfARow = ({ code, retryable }: BrinkError): boolean => !retryable && !code.startsWith('E_STORAGE');
