import type { KeptStates } from './kept.ts';

/**
 * What the model behind a lane remembers of one boot of a device, by value: it goes with a unit and comes back with its answer. It
 * outlives the lane: under another configuration the next unit begins where the one that is still under way ends.
 */
export class Memory {
  /** What the model wants to get back with the next unit; undefined: as at the beginning. */
  states: readonly Uint8Array[] | undefined;
  /** For which passport they are. */
  statesOf: string | undefined;
  /** Gaps of the boot in front of the last unit that was begun. */
  #gaps = 0;
  /** Of the last unit that was begun. */
  #lastSeq: number | undefined;
  /** Units that hold the lane, in their order; each is settled after the one before, so that the state on the disk is never behind. */
  #order: { readonly key: string; settle: (() => void) | undefined }[] = [];

  restore({ states, passportSha256, gaps, seq }: KeptStates): void {
    this.states = states;
    this.statesOf = passportSha256;
    this.#gaps = gaps;
    this.#lastSeq = seq;
  }

  /** The state after the unit that was decided last, for `restore`. @param seq of its frame */
  kept(seq: number): KeptStates {
    return { states: this.states, passportSha256: this.statesOf, gaps: this.#gaps, seq };
  }

  /**
   * A unit begins. What is remembered from before a gap is not its own, also where the first one behind it was dropped.
   * @param gaps of the boot in front of it, where it is a window; undefined: it is none, and nothing is said about a gap
   */
  begin(seq: number, window: { readonly gaps: number | undefined } | undefined): void {
    const gaps = window === undefined ? this.#gaps + (seq - 1 === this.#lastSeq ? 0 : 1) : (window.gaps ?? this.#gaps);
    if (gaps !== this.#gaps) this.states = undefined;
    this.#gaps = gaps;
    this.#lastSeq = seq;
  }

  /** What ends in any order is to be settled in the order in which it began. */
  follow(key: string): void {
    this.#order.push({ key, settle: undefined });
  }

  /** It begins again later, or never. */
  unfollow(key: string): void {
    this.#order = this.#order.filter((one) => one.key !== key);
    this.#settleFirst();
  }

  /** It has ended: it is settled when those before it are. */
  inOrder(key: string, settle: () => void): void {
    const entry = this.#order.find((one) => one.key === key);
    if (entry === undefined) settle();
    else entry.settle = settle;
    this.#settleFirst();
  }

  #settleFirst(): void {
    for (let first = this.#order[0]; first?.settle !== undefined; first = this.#order[0]) {
      this.#order.shift();
      first.settle();
    }
  }
}
