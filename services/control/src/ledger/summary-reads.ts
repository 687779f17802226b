import { BrinkError, type DecisionSummary, type SummaryBucket } from '@brink/protocol';
import { lanesOf } from './decision-reads.ts';
import { LABELS_MAX, MINUTE_MS, minuteOf } from './minutes.ts';
import type { SummaryQuery } from './records.ts';
import type { Row, Store } from './store.ts';

/** Of one answer. */
const BUCKETS_MAX = 500;
/** Minutes of lanes that one answer adds up: about half a second of the reader's time. */
const MINUTES_READ_MAX = 200_000;

/** What was decided, bucket by bucket, from the sums by the minute: also what `keep` left out and what is gone by age. */
export function createSummaryReads(store: Store) {
  return { summary: (query: SummaryQuery) => summary(store, query) };
}

function summary(store: Store, query: SummaryQuery): DecisionSummary {
  const { bucket_s, since_ms, until_ms } = query;
  if (!Number.isInteger(bucket_s) || bucket_s < 60 || bucket_s % 60 !== 0) {
    throw new BrinkError(
      'E_BAD_REQUEST',
      `bucket_s ${bucket_s}; expected a multiple of 60: sums are kept by the minute`,
    );
  }
  const bucketMs = bucket_s * 1000;
  const from = Math.floor(since_ms / bucketMs) * bucketMs;
  const count = Math.ceil((until_ms - from) / bucketMs);
  if (!(count <= BUCKETS_MAX)) {
    throw new BrinkError(
      'E_BAD_REQUEST',
      `${count} buckets of ${bucket_s} s; expected at most ${BUCKETS_MAX}: a larger bucket_s`,
    );
  }
  const buckets = new Map<number, Sums>();
  let read = 0;
  for (const row of minutesOf(store, query, from)) {
    if (++read > MINUTES_READ_MAX) {
      throw new BrinkError(
        'E_BAD_REQUEST',
        `more than ${MINUTES_READ_MAX} minutes; expected fewer devices, or less time`,
      );
    }
    const at = from + Math.floor((Number(row.minute) * MINUTE_MS - from) / bucketMs) * bucketMs;
    const sums = buckets.get(at) ?? noSums();
    buckets.set(at, sums);
    addTo(sums, row);
  }
  const items = [...buckets].sort(([a], [b]) => a - b).map(([at, sums]) => bucketOf(at, sums));
  return { bucket_s, since: iso(from), until: iso(until_ms), items };
}

/** One row after the other: they are too many to be held. */
function* minutesOf(store: Store, query: SummaryQuery, from: number): Generator<Row> {
  const lanes = lanesOf(store, query);
  const [first, last] = [minuteOf(from), minuteOf(query.until_ms - 1)];
  const text = 'SELECT * FROM minute_summary WHERE minute BETWEEN ? AND ?';
  if (lanes === undefined) yield* store.sql(text).iterate(first, last) as Iterable<Row>;
  for (const lane of lanes ?? []) {
    yield* store.sql(`${text} AND lane = ?`).iterate(first, last, lane) as Iterable<Row>;
  }
}

interface Sums {
  decided: number;
  expired: number;
  dead: number;
  scored: number;
  scoreSum: number;
  scoreMin: number;
  scoreMax: number;
  latencySum: number;
  latencyMax: number;
  readonly labels: Map<string, number>;
}

const noSums = (): Sums => ({
  ...{ decided: 0, expired: 0, dead: 0, scored: 0, scoreSum: 0, latencySum: 0, latencyMax: 0, labels: new Map() },
  ...{ scoreMin: Number.POSITIVE_INFINITY, scoreMax: Number.NEGATIVE_INFINITY },
});

function addTo(sums: Sums, row: Row): void {
  sums.decided += Number(row.decided);
  sums.expired += Number(row.expired);
  sums.dead += Number(row.dead);
  sums.latencySum += Number(row.latency_sum);
  sums.latencyMax = Math.max(sums.latencyMax, Number(row.latency_max));
  if (Number(row.scored) > 0) {
    sums.scored += Number(row.scored);
    sums.scoreSum += Number(row.score_sum);
    sums.scoreMin = Math.min(sums.scoreMin, Number(row.score_min));
    sums.scoreMax = Math.max(sums.scoreMax, Number(row.score_max));
  }
  for (const [label, count] of JSON.parse(String(row.labels)) as [string, number][]) {
    sums.labels.set(label, (sums.labels.get(label) ?? 0) + count);
  }
}

function bucketOf(at: number, sums: Sums): SummaryBucket {
  const { decided, expired, dead, scored, labels } = sums;
  const units = decided + expired + dead;
  const named = [...labels].filter(([label]) => label !== '').sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
  const shown = named.slice(0, LABELS_MAX);
  const rest = named.slice(LABELS_MAX).reduce((sum, [, count]) => sum + count, labels.get('') ?? 0);
  return {
    ...{ at: iso(at), decided, expired, dead },
    labels: shown.map(([label, count]) => ({ label, count })),
    other_labels: rest,
    score: scored === 0 ? null : { min: sums.scoreMin, mean: sums.scoreSum / scored, max: sums.scoreMax },
    latency_ms: { mean: units === 0 ? 0 : sums.latencySum / units, max: sums.latencyMax },
  };
}

const iso = (ms: number) => new Date(ms).toISOString();
