import type { Spooled } from '../ingest/frame.ts';

/** The rows of one stream. */
export interface StreamRows {
  /** Every row, in the order of arrival. */
  readonly rows: Map<number, Spooled>;
  bytes: number;
  /** On their way to the disk. */
  entering: number;
  enteringBytes: number;
  /** Rows whose frames are in memory. */
  live: Set<number>;
  liveBytes: number;
  /** The last row that was looked at; those beyond are on the disk only. */
  cursor: number;
  last: number;
  /** Changes with each beginning from the front: what was loaded before is of no use then. */
  turn: number;
  loading: boolean;
}

/** Which rows there are, stream by stream. */
export function createRows() {
  const streams = new Map<string, StreamRows>();
  const keys = new Set<string>();
  const keyOf = ({ device, stream, boot, seq }: Pick<Spooled, 'device' | 'stream' | 'boot' | 'seq'>) =>
    `${device}/${stream}/${boot}-${seq}`;

  function of(stream: string): StreamRows {
    let found = streams.get(stream);
    if (found === undefined) {
      const memory = { live: new Set<number>(), liveBytes: 0, cursor: 0, last: 0, turn: 0, loading: false };
      found = { rows: new Map(), bytes: 0, entering: 0, enteringBytes: 0, ...memory };
      streams.set(stream, found);
    }
    return found;
  }

  return {
    of,
    all: (): Iterable<[string, StreamRows]> => streams,

    /** Whether a frame is in the spool, or on its way there. */
    has: (frame: Pick<Spooled, 'device' | 'stream' | 'boot' | 'seq'>): boolean => keys.has(keyOf(frame)),

    /** Takes room for a frame that is on its way to the disk. @returns what gives it back, to be called when it is there or failed */
    enter(spooled: Spooled): () => void {
      const rows = of(spooled.stream);
      const key = keyOf(spooled);
      keys.add(key);
      rows.entering += 1;
      rows.enteringBytes += spooled.bytes;
      return () => {
        keys.delete(key);
        rows.entering -= 1;
        rows.enteringBytes -= spooled.bytes;
      };
    },

    add(spooled: Spooled): void {
      const rows = of(spooled.stream);
      rows.rows.set(spooled.id, spooled);
      rows.bytes += spooled.bytes;
      rows.last = spooled.id;
      keys.add(keyOf(spooled));
    },

    /** @returns whether it was there */
    remove(spooled: Spooled): boolean {
      const rows = of(spooled.stream);
      if (!rows.rows.delete(spooled.id)) return false;
      rows.bytes -= spooled.bytes;
      if (rows.live.delete(spooled.id)) rows.liveBytes -= spooled.bytes;
      keys.delete(keyOf(spooled));
      return true;
    },
  };
}
