import type { Outcome } from '@brink/protocol';
import type { Store } from './store.ts';

export const MINUTE_MS = 60_000;
/** Labels that a minute counts by name; further ones are counted together, under no name. */
export const LABELS_MAX = 32;
const CACHED_MAX = 20_000;

/** The sums of one lane over one minute of received_at. */
interface Minute {
  readonly lane: number;
  readonly minute: number;
  /** Running numbers of the first and the last: where the units of this minute lie. */
  readonly firstN: number;
  lastN: number;
  decided: number;
  expired: number;
  dead: number;
  scored: number;
  scoreSum: number;
  scoreMin: number | null;
  scoreMax: number | null;
  latencySum: number;
  latencyMax: number;
  readonly labels: Record<string, number>;
}

/** The `minute_summary` table: counted for every unit, kept or not. `flush` before COMMIT; `forget` after a ROLLBACK. */
export function createMinutes(store: Store) {
  const cache = new Map<string, Minute>();
  const dirty = new Set<Minute>();

  function open(lane: number, minute: number, n: number): Minute {
    const key = `${lane}.${minute}`;
    const cached = cache.get(key);
    if (cached !== undefined) return cached;
    const found = load(store, lane, minute) ?? emptyMinute(lane, minute, n);
    if (cache.size >= CACHED_MAX && dirty.size === 0) cache.clear();
    cache.set(key, found);
    return found;
  }

  return {
    add(lane: number, outcome: Outcome, n: number): void {
      const minute = open(lane, minuteOf(outcome.received_ms), n);
      minute[outcome.outcome] += 1;
      minute.lastN = n;
      minute.latencySum += outcome.latency_ms;
      minute.latencyMax = Math.max(minute.latencyMax, outcome.latency_ms);
      const { score, label } = outcome.result ?? {};
      if (score !== undefined) {
        minute.scored += 1;
        minute.scoreSum += score;
        minute.scoreMin = Math.min(minute.scoreMin ?? score, score);
        minute.scoreMax = Math.max(minute.scoreMax ?? score, score);
      }
      if (label !== undefined) count(minute.labels, label);
      dirty.add(minute);
    },
    flush(): void {
      for (const minute of dirty) save(store, minute);
      dirty.clear();
    },
    forget(): void {
      cache.clear();
      dirty.clear();
    },
    /** Deletes minutes of before `cutoffMs`, so many at most. @returns how many */
    purge(cutoffMs: number, rows: number): number {
      const { changes } = store
        .sql(
          `DELETE FROM minute_summary WHERE (lane, minute) IN
             (SELECT lane, minute FROM minute_summary WHERE minute < ? ORDER BY minute LIMIT ?)`,
        )
        .run(minuteOf(cutoffMs), rows);
      return Number(changes);
    },
  };
}
export type Minutes = ReturnType<typeof createMinutes>;

export const minuteOf = (ms: number) => Math.floor(ms / MINUTE_MS);

/** Adds to the labels' counts in place; without a name where there are too many. */
function count(labels: Record<string, number>, label: string): void {
  const known = Object.hasOwn(labels, label) || Object.keys(labels).length < LABELS_MAX;
  const name = known ? label : '';
  labels[name] = (labels[name] ?? 0) + 1;
}

const emptyMinute = (lane: number, minute: number, firstN: number): Minute => ({
  ...{
    lane,
    minute,
    firstN,
    lastN: firstN,
    decided: 0,
    expired: 0,
    dead: 0,
    scored: 0,
    scoreSum: 0,
    scoreMin: null,
    scoreMax: null,
  },
  ...{ latencySum: 0, latencyMax: 0, labels: Object.create(null) as Record<string, number> },
});

function load(store: Store, lane: number, minute: number): Minute | undefined {
  const row = store.sql('SELECT * FROM minute_summary WHERE lane = ? AND minute = ?').get(lane, minute);
  if (row === undefined) return undefined;
  const numberOr = (value: unknown) => (typeof value === 'number' ? value : null);
  return {
    ...{ lane, minute, firstN: Number(row.first_n), lastN: Number(row.last_n) },
    ...{ decided: Number(row.decided), expired: Number(row.expired), dead: Number(row.dead) },
    ...{ scored: Number(row.scored), scoreSum: Number(row.score_sum) },
    ...{ scoreMin: numberOr(row.score_min), scoreMax: numberOr(row.score_max) },
    ...{ latencySum: Number(row.latency_sum), latencyMax: Number(row.latency_max) },
    // Labels are a model's words: one of them may be __proto__.
    labels: Object.assign(Object.create(null), Object.fromEntries(JSON.parse(String(row.labels)))),
  };
}

function save(store: Store, m: Minute): void {
  store
    .sql('INSERT OR REPLACE INTO minute_summary VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)')
    .run(
      ...([m.lane, m.minute, m.firstN, m.lastN, m.decided, m.expired, m.dead, m.scored, m.scoreSum] as const),
      ...([m.scoreMin, m.scoreMax, m.latencySum, m.latencyMax, JSON.stringify(Object.entries(m.labels))] as const),
    );
}
