import type { Spooled } from '../ingest/frame.ts';

/** Where a chain stands: positions mean something within an epoch, which ends with every gap. */
export interface Standing {
  readonly epoch: number;
  /** Position of the next sample. */
  readonly at: number;
}

interface Row extends Standing {
  readonly spooled: Spooled;
  readonly receivedMs: number;
  /** Of the chain after this row. */
  readonly mark: Uint8Array;
  /** That it was cut is on the disk. */
  isCommitted: boolean;
}

interface OpenUnit {
  readonly row: number;
  readonly part: number;
  readonly epoch: number;
  /** Its first sample; below every position where it looks at the row as a whole. */
  readonly from: number;
}

/**
 * The rows of the spool that one pipeline still looks at, of one boot, in their order: each stays until no unit that is not
 * settled and no later window needs its samples. Then it goes, and with it the mark behind it is kept.
 */
export class Trail {
  readonly #rows: Row[] = [];
  readonly #open: OpenUnit[] = [];
  /** Settled ones that are not the first of those that are open. */
  readonly #settled = new Set<string>();
  /** A release is on its way to the disk. */
  isReleasing = false;

  get length(): number {
    return this.#rows.length;
  }
  get first(): Spooled | undefined {
    return this.#rows[0]?.spooled;
  }
  /** When the newest row came, on the gateway's clock; undefined where there is none, or one of its units is not settled. */
  get idleSinceMs(): number | undefined {
    return this.#open.length === 0 ? this.#rows.at(-1)?.receivedMs : undefined;
  }

  /** A row was cut. @param after where the chain stands now */
  add(
    spooled: Spooled,
    after: Standing & { mark: Uint8Array; isCommitted: boolean; receivedMs: number },
    units: readonly OpenUnit[],
  ): void {
    this.#rows.push({ spooled, ...after });
    this.#open.push(...units);
  }

  committed(row: number): void {
    const found = this.#rows.find(({ spooled }) => spooled.id === row);
    if (found !== undefined) found.isCommitted = true;
  }

  settled(row: number, part: number): void {
    this.#settled.add(`${row}/${part}`);
    while (this.#open[0] !== undefined && this.#settled.delete(`${this.#open[0].row}/${this.#open[0].part}`)) {
      this.#open.shift();
    }
  }

  /** @param now needed: the first sample that a later window needs; everything where the boot is over @returns the rows that may go, the oldest first */
  releasable(now: Standing & { needed: number }): readonly Row[] {
    const [first] = this.#open;
    const count = this.#rows.findIndex(
      (row) =>
        !row.isCommitted ||
        (row.epoch === now.epoch && now.needed < row.at) ||
        (first !== undefined && (first.epoch < row.epoch || (first.epoch === row.epoch && first.from < row.at))),
    );
    return count < 0 ? this.#rows : this.#rows.slice(0, count);
  }

  /** These rows went. */
  released(count: number): void {
    this.#rows.splice(0, count);
  }
}
