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
  /** How many rows of which boots there are, by device: those of which something came last stand last. */
  readonly boots: Map<string, Map<string, number>>;
  /** Boots with rows whose device has begun another one. */
  superseded: number;
  /** Rows that have to go have not gone yet. */
  making: boolean;
  /** Rows that no stream asks for, in their order. */
  unasked: Set<number>;
  /** Since when that is so, ms since 1970. */
  sinceMs: number;
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
      const boots = { boots: new Map<string, Map<string, number>>(), superseded: 0, making: false };
      const unasked = { unasked: new Set<number>(), sinceMs: 0 };
      found = { rows: new Map(), bytes: 0, entering: 0, enteringBytes: 0, ...memory, ...boots, ...unasked };
      streams.set(stream, found);
    }
    return found;
  }

  return {
    of,
    all: (): Iterable<[string, StreamRows]> => streams,

    /** Whether a frame is in the spool, or on its way there. */
    has: (frame: Pick<Spooled, 'device' | 'stream' | 'boot' | 'seq'>): boolean => keys.has(keyOf(frame)),

    /** Whether a boot has a row. */
    hasBoot: ({ device, stream, boot }: Pick<Spooled, 'device' | 'stream' | 'boot'>): boolean =>
      of(stream).boots.get(device)?.has(boot) === true,

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
      countBoot(rows, spooled);
      keys.add(keyOf(spooled));
    },

    /** @returns whether it was there */
    remove(spooled: Spooled): boolean {
      const rows = of(spooled.stream);
      if (!rows.rows.delete(spooled.id)) return false;
      rows.bytes -= spooled.bytes;
      if (rows.live.delete(spooled.id)) rows.liveBytes -= spooled.bytes;
      rows.unasked.delete(spooled.id);
      rows.making = false;
      uncountBoot(rows, spooled);
      keys.delete(keyOf(spooled));
      return true;
    },
  };
}

function countBoot(of: StreamRows, { device, boot }: Spooled): void {
  const boots = of.boots.get(device) ?? new Map<string, number>();
  const count = boots.get(boot) ?? 0;
  of.boots.delete(device);
  of.boots.set(device, boots);
  boots.delete(boot);
  boots.set(boot, count + 1);
  if (count === 0 && boots.size > 1) of.superseded += 1;
}

function uncountBoot(of: StreamRows, { device, boot }: Spooled): void {
  const boots = of.boots.get(device);
  const count = boots?.get(boot) ?? 0;
  if (boots === undefined || count === 0) return;
  if (count > 1) boots.set(boot, count - 1);
  else {
    boots.delete(boot);
    if (boots.size > 0) of.superseded -= 1;
    else of.boots.delete(device);
  }
}
