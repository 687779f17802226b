import type { Store } from './store.ts';

// Which units were committed and then deleted by age, per lane and boot. Rows that still exist are guarded by the unique
// index; a row that goes, goes in here in the same transaction. So no unit is ever committed twice.
//
// Exact in that direction for ever, and bounded: sorted ranges of seq, and a watermark `through` below which everything
// counts as seen. Numbers skip (a `latest` stream drops frames, a window completes at every tenth frame), so ranges would
// grow without end; beyond RANGES_MAX the oldest gap closes. What closes is a number older than the retention age and than
// a hundred younger gaps, and no gateway holds a unit that long. A bitmap would take a bit per number for ever instead.
// Parts of one frame are decided together, so ranges are of frames, not of parts.

export const RANGES_MAX = 128;
const CACHED_MAX = 10_000;

export interface SeenRanges {
  /** Every seq up to it counts as seen. */
  through: number;
  /** Inclusive, sorted, apart, above `through`. */
  ranges: [from: number, to: number][];
}

/** @returns how many gaps had to be closed */
export function addSeen(seen: SeenRanges, seq: number): number {
  if (seq <= seen.through) return 0;
  const at = placeOf(seen.ranges, seq);
  const range = seen.ranges[at];
  if (range !== undefined && range[0] <= seq) return 0;
  const before = seen.ranges[at - 1];
  const touchesBefore = before !== undefined && before[1] === seq - 1;
  const touchesAfter = range !== undefined && range[0] === seq + 1;
  if (touchesBefore && touchesAfter) {
    before[1] = range[1];
    seen.ranges.splice(at, 1);
  } else if (touchesBefore) before[1] = seq;
  else if (touchesAfter) range[0] = seq;
  else seen.ranges.splice(at, 0, [seq, seq]);
  return compact(seen);
}

export function hasSeen(seen: SeenRanges, seq: number): boolean {
  if (seq <= seen.through) return true;
  const range = seen.ranges[placeOf(seen.ranges, seq)];
  return range !== undefined && range[0] <= seq;
}

function compact(seen: SeenRanges): number {
  let closed = 0;
  for (let first = seen.ranges[0]; first !== undefined; first = seen.ranges[0]) {
    const adjoins = first[0] <= seen.through + 1;
    if (!adjoins && seen.ranges.length <= RANGES_MAX) break;
    if (!adjoins) closed++;
    seen.through = first[1];
    seen.ranges.shift();
  }
  return closed;
}

/** Index of the first range that ends at or after seq. */
function placeOf(ranges: SeenRanges['ranges'], seq: number): number {
  let low = 0;
  let high = ranges.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((ranges[middle] as [number, number])[1] < seq) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The `seen` table with a bounded cache. `flush` before COMMIT; `forget` after a ROLLBACK. */
export function createSeen(store: Store) {
  const cache = new Map<string, SeenRanges | null>();
  const dirty = new Map<string, { lane: number; boot: string; seen: SeenRanges }>();
  let gapsClosed = 0;

  function load(lane: number, boot: string): SeenRanges | null {
    const key = `${lane}.${boot}`;
    const cached = cache.get(key);
    if (cached !== undefined) return cached;
    const row = store.sql('SELECT through, ranges FROM seen WHERE lane = ? AND boot = ?').get(lane, boot);
    const seen = row === undefined ? null : { through: Number(row.through), ranges: JSON.parse(String(row.ranges)) };
    if (cache.size >= CACHED_MAX && dirty.size === 0) cache.clear();
    cache.set(key, seen);
    return seen;
  }

  return {
    has(lane: number, boot: string, seq: number): boolean {
      const seen = load(lane, boot);
      return seen !== null && hasSeen(seen, seq);
    },
    add(lane: number, boot: string, seq: number): void {
      const seen = load(lane, boot) ?? { through: 0, ranges: [] };
      gapsClosed += addSeen(seen, seq);
      const key = `${lane}.${boot}`;
      cache.set(key, seen);
      dirty.set(key, { lane, boot, seen });
    },
    flush(): void {
      if (dirty.size === 0) return;
      const save = store.sql(
        'INSERT INTO seen VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET through = excluded.through, ranges = excluded.ranges',
      );
      for (const { lane, boot, seen } of dirty.values())
        save.run(lane, boot, seen.through, JSON.stringify(seen.ranges));
      dirty.clear();
    },
    forget(): void {
      cache.clear();
      dirty.clear();
    },
    get gapsClosed() {
      return gapsClosed;
    },
  };
}
export type Seen = ReturnType<typeof createSeen>;
