/** Why an outcome never reached the ledger. */
export type DropReason = 'control_down' | 'refused';

export interface Entry {
  readonly payload: Uint8Array;
  /** undefined: a dead letter */
  readonly onEnd: ((fate: 'committed' | DropReason) => void) | undefined;
  /** It is in the spool, and never dropped for want of room: the spool has bounds of its own. */
  readonly kept?: boolean;
  /** When it was made, on the monotonic clock. */
  readonly since?: number;
}

export interface QueueLimits {
  /** Outcomes that may wait for control; beyond, the oldest is dropped and counted. */
  readonly rowsMax: number;
  readonly bytesMax: number;
  /** Dead letters have a place of their own, so that a flood of bad frames evicts no decision. */
  readonly lettersMax: number;
  readonly batchRowsMax: number;
  readonly batchBytesMax: number;
}

/** Outcomes and dead letters that control has not committed. What was taken in a batch still counts towards the limits. */
export class OutcomeQueue {
  readonly #config: QueueLimits;
  readonly #onLetterDropped: () => void;
  #outcomes: Entry[] = [];
  #letters: Entry[] = [];
  /** Kept ones that control stumbles over, while it takes others. Bounded by the spool that has them. */
  #aside: Entry[] = [];
  #bytes = 0;
  #takenRows = 0;

  constructor(config: QueueLimits, onLetterDropped: () => void) {
    this.#config = config;
    this.#onLetterDropped = onLetterDropped;
  }

  add(entry: Entry): void {
    this.#outcomes.push(entry);
    this.#bytes += entry.payload.byteLength;
    const { rowsMax, bytesMax } = this.#config;
    while (this.rows > rowsMax || this.#bytes > bytesMax) {
      const oldest = this.#outcomes.findIndex(({ kept }) => kept !== true);
      if (oldest < 0) return;
      for (const dropped of this.#outcomes.splice(oldest, 1)) this.#end(dropped, 'control_down');
    }
  }

  addLetter(payload: Uint8Array): void {
    this.#letters.push({ payload, onEnd: undefined });
    if (this.#letters.length <= this.#config.lettersMax) return;
    this.#letters.shift();
    this.#onLetterDropped();
  }

  /** Outcomes first, then letters; together they fit one frame of the link. Empty where nothing waits. */
  take(rowsMax = this.#config.batchRowsMax): Entry[] {
    const batch: Entry[] = [];
    let size = 0;
    for (const queue of [this.#outcomes, this.#letters]) {
      const room = rowsMax - batch.length;
      let count = 0;
      while (count < Math.min(room, queue.length)) {
        size += (queue[count] as Entry).payload.byteLength;
        if (size > this.#config.batchBytesMax && batch.length + count > 0) break;
        count += 1;
      }
      batch.push(...queue.splice(0, count));
    }
    this.#takenRows += batch.length;
    return batch;
  }

  /** In front again, in their order: the oldest must stay the oldest. */
  putBack(batch: readonly Entry[]): void {
    this.#takenRows -= batch.length;
    this.#outcomes = [...batch.filter((entry) => entry.onEnd !== undefined), ...this.#outcomes];
    this.#letters = [...batch.filter((entry) => entry.onEnd === undefined), ...this.#letters];
  }

  /** Behind all others: they are not in its way. */
  putLast(entry: Entry): void {
    this.#takenRows -= 1;
    (entry.onEnd === undefined ? this.#letters : this.#outcomes).push(entry);
  }

  /** Out of the way of all others, until `takeAside`. */
  putAside(entry: Entry): void {
    this.#takenRows -= 1;
    this.#aside.push(entry);
  }

  takeAside(): Entry[] {
    const batch = this.#aside.splice(0, 1);
    this.#takenRows += batch.length;
    return batch;
  }

  /** The batch has its answer. */
  done(batch: readonly Entry[], fateOf: (index: number) => 'committed' | DropReason): void {
    this.#takenRows -= batch.length;
    for (const [i, entry] of batch.entries()) this.#end(entry, fateOf(i));
  }

  dropOldest(): void {
    const entry = this.#outcomes.shift();
    if (entry !== undefined) this.#end(entry, 'control_down');
  }

  /** Of the outcomes that control does not have now: when the first was made. */
  get oldest(): number | undefined {
    return this.#aside[0]?.since ?? this.#outcomes[0]?.since;
  }

  /** How many were put aside. */
  get aside(): number {
    return this.#aside.length;
  }
  /** Without those that were put aside. */
  get waiting(): number {
    return this.#outcomes.length + this.#letters.length;
  }
  get rows(): number {
    return this.#outcomes.length + this.#aside.length + this.#takenRows;
  }
  get bytes(): number {
    return this.#bytes;
  }
  get letters(): number {
    return this.#letters.length;
  }

  #end(entry: Entry, fate: 'committed' | DropReason): void {
    if (entry.onEnd === undefined) {
      if (fate !== 'committed') this.#onLetterDropped();
      return;
    }
    this.#bytes -= entry.payload.byteLength;
    entry.onEnd(fate);
  }
}
