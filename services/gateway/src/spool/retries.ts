import type { Clock, Timer } from '@brink/runtime';
import type { Change } from './messages.ts';
import type { Spool } from './spool.ts';

const AGAIN_MS = 1000;

interface Entry {
  /** Its place among all. */
  readonly n: number;
  readonly change: Change;
  readonly done: () => void;
}

/**
 * Changes that must be committed, however often the disk refuses them. Those of one stream are committed in the order in which
 * they were made: the state that a later unit left must not be overwritten by that of an earlier one.
 */
export class Retries {
  readonly #d: { spool: Pick<Spool, 'write'>; clock: Clock };
  /** What the disk refused, and what came after it; by stream. */
  #refused = new Map<string, Entry[]>();
  #timer: Timer | undefined;
  #lastN = 0;
  #stopped = false;

  constructor(d: { spool: Pick<Spool, 'write'>; clock: Clock }) {
    this.#d = d;
  }

  /** @param done is called once, when it is committed */
  write(change: Change, done: () => void): void {
    const entry = { n: ++this.#lastN, change, done };
    const before = this.#refused.get(change.stream);
    if (before === undefined) this.#write(entry);
    else before.push(entry);
  }

  /** At the worst the next process does once more what these are about. */
  stop(): void {
    this.#stopped = true;
    this.#refused.clear();
    if (this.#timer !== undefined) this.#d.clock.clearTimeout(this.#timer);
  }

  #write(entry: Entry): void {
    this.#d.spool.write(entry.change, (error) => {
      if (error === undefined) entry.done();
      else this.#again(entry);
    });
  }

  /** All of it after one pause. */
  #again(entry: Entry): void {
    if (this.#stopped) return;
    const { stream } = entry.change;
    const refused = this.#refused.get(stream) ?? [];
    // Of a group that failed the first ones say so first, and something new may have come before the last one does.
    const behind = refused.findIndex(({ n }) => n > entry.n);
    refused.splice(behind < 0 ? refused.length : behind, 0, entry);
    this.#refused.set(stream, refused);
    this.#timer ??= this.#d.clock.setTimeout(() => {
      this.#timer = undefined;
      const all = [...this.#refused.values()].flat();
      this.#refused = new Map();
      for (const one of all) this.#write(one);
    }, AGAIN_MS);
  }
}
