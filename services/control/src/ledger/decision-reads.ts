import { type ActionState, type Decision, type DecisionExplanation, parseUnitId } from '@brink/protocol';
import { minuteOf } from './minutes.ts';
import { all, given, limited, one, type Value } from './pages.ts';
import type { DecisionQuery, Page } from './records.ts';
import type { Row, Store } from './store.ts';

/** Beyond, one walk over all decisions is cheaper than one over each lane. */
const LANES_MERGED_MAX = 32;
/** Two hours, of every lane: beyond, looking up the bounds would take longer than they save. */
const MINUTES_BOUNDED_MAX = 120;

export function createDecisionReads(store: Store) {
  return {
    decisions: (query: DecisionQuery) => decisions(store, query),
    decision(id: string): Decision | undefined {
      const row = decisionRow(store, id);
      return row === undefined ? undefined : (JSON.parse(String(row.body)) as Decision);
    },
    explainDecision: (id: string) => explainDecision(store, id),
  };
}

/**
 * One page. With `after`: in order of running numbers from there. Else newest first: by running number, and where a time is asked
 * for of few lanes, by received_at.
 */
function decisions(store: Store, query: DecisionQuery): Page<Decision> {
  const limit = limited(query.limit);
  const asked: Asked = { store, query, limit, lanes: lanesOf(store, query) };
  const timed = query.since_ms !== undefined || query.until_ms !== undefined;
  const ascending = query.after !== undefined;
  const few = timed && !ascending ? fewLanes(asked) : undefined;
  const ns = few === undefined ? byNumber(asked, timed ? boundsOf(asked) : {}) : byTime(asked, few);
  const items = ns.flatMap((n) => bodyOf(store, n));
  const last = ns.at(-1);
  const more = ascending && last !== undefined && ns.length === limit;
  return { items, ...(more ? { next: last } : {}) };
}

interface Asked {
  readonly store: Store;
  readonly query: DecisionQuery;
  readonly limit: number;
  readonly lanes: readonly number[] | undefined;
}

// First the numbers of the page, then their bodies: merging lanes must not read what it leaves out.
function bodyOf(store: Store, n: number): Decision[] {
  const row = one(store, 'SELECT body FROM decision WHERE n = ?', n);
  // Retention may have been there in between.
  return row === undefined ? [] : [JSON.parse(String(row.body)) as Decision];
}

const filtersOf = ({ query }: Asked) =>
  given({
    'label = ?': query.label,
    'score >= ?': query.score_min,
    'outcome = ?': query.outcome,
    'received_ms >= ?': query.since_ms,
    'received_ms < ?': query.until_ms,
  });

function byNumber(asked: Asked, { low, high }: Bounds): number[] {
  const { store, query, limit, lanes } = asked;
  const ascending = query.after !== undefined;
  const filters = [...given({ 'n > ?': query.after, 'n >= ?': low, 'n <= ?': high }), ...filtersOf(asked)];
  const conditions = filters.map(([condition]) => ` AND ${condition}`).join('');
  const values = filters.map(([, value]) => value);
  const order = `ORDER BY n ${ascending ? 'ASC' : 'DESC'} LIMIT ${limit}`;
  const select = (from: string, ...first: Value[]) =>
    all(store, `SELECT n FROM decision ${from}${conditions} ${order}`, ...first, ...values).map(({ n }) => Number(n));
  if (lanes === undefined) return select('WHERE 1');
  if (lanes.length > LANES_MERGED_MAX) {
    return select('WHERE lane IN (SELECT value FROM json_each(?))', JSON.stringify(lanes));
  }
  // The index gives each lane's rows in order of n: a page of each, merged, is the page of all.
  const rows = lanes.flatMap((lane) => select('INDEXED BY decision_lane WHERE lane = ?', lane));
  return rows.sort((a, b) => (ascending ? a - b : b - a)).slice(0, limit);
}

function byTime(asked: Asked, lanes: readonly number[]): number[] {
  const { store, limit } = asked;
  const filters = filtersOf(asked);
  const conditions = filters.map(([condition]) => ` AND ${condition}`).join('');
  const text = `SELECT n, received_ms FROM decision INDEXED BY decision_time WHERE lane = ?${conditions}
    ORDER BY received_ms DESC, n DESC LIMIT ${limit}`;
  const rows = lanes.flatMap((lane) => all(store, text, lane, ...filters.map(([, value]) => value)));
  rows.sort((a, b) => Number(b.received_ms) - Number(a.received_ms) || Number(b.n) - Number(a.n));
  return rows.slice(0, limit).map(({ n }) => Number(n));
}

/** The lanes to merge, where they are few. */
function fewLanes({ store, lanes }: Asked): readonly number[] | undefined {
  const found = lanes ?? all(store, 'SELECT id FROM lane LIMIT ?', LANES_MERGED_MAX + 1).map(({ id }) => Number(id));
  return found.length > LANES_MERGED_MAX ? undefined : found;
}

interface Bounds {
  readonly low?: number | undefined;
  readonly high?: number | undefined;
}

/**
 * Between which running numbers the decisions of a time lie, from the sums by the minute: without, a page far back would
 * be looked for from one end of the table. What is received later is not always committed later, so both ends count.
 */
function boundsOf({ store, query, lanes }: Asked): Bounds {
  const first = minuteOf(query.since_ms ?? 0);
  const last = minuteOf(query.until_ms ?? Number.MAX_SAFE_INTEGER);
  const oldest = one(store, 'SELECT min(minute) AS minute FROM minute_summary')?.minute;
  // Older minutes may be gone, and rows of them still be there for an action's sake.
  if (typeof oldest !== 'number' || first <= oldest) return {};
  const select = 'SELECT min(first_n) AS low, max(last_n) AS high FROM minute_summary';
  if (lanes === undefined || lanes.length > LANES_MERGED_MAX) {
    // Without lanes there may be thousands of rows a minute.
    if (last - first > MINUTES_BOUNDED_MAX) return {};
    return boundsIn(all(store, `${select} INDEXED BY minute_summary_time WHERE minute BETWEEN ? AND ?`, first, last));
  }
  return boundsIn(
    lanes.flatMap((lane) => all(store, `${select} WHERE lane = ? AND minute BETWEEN ? AND ?`, lane, first, last)),
  );
}

function boundsIn(rows: readonly Row[]): Bounds {
  const found = rows.filter(({ low }) => low !== null);
  if (found.length === 0) return { low: 0, high: 0 };
  const low = Math.min(...found.map((row) => Number(row.low)));
  return { low, high: Math.max(...found.map((row) => Number(row.high))) };
}

/** undefined: every lane. */
export function lanesOf(
  store: Store,
  { device, stream, pipeline }: Pick<DecisionQuery, 'device' | 'stream' | 'pipeline'>,
): number[] | undefined {
  const filters = given({ 'device = ?': device, 'stream = ?': stream, 'pipeline = ?': pipeline });
  if (filters.length === 0) return undefined;
  const where = filters.map(([condition]) => condition).join(' AND ');
  const rows = all(store, `SELECT id FROM lane WHERE ${where}`, ...filters.map(([, value]) => value));
  return rows.map((row) => Number(row.id));
}

/** @throws BrinkError E_BAD_REQUEST where it is no decision's id */
export function decisionRow(store: Store, id: string): Row | undefined {
  const { device, stream, pipeline, boot, seq, part } = parseUnitId(id);
  return one(
    store,
    `SELECT n, body, evidence FROM decision
     WHERE lane = (SELECT id FROM lane WHERE device = ? AND stream = ? AND pipeline = ?)
       AND boot = ? AND seq = ? AND part = ?`,
    ...[device, stream, pipeline, boot, seq, part],
  );
}

function explainDecision(store: Store, id: string): DecisionExplanation | undefined {
  const row = decisionRow(store, id);
  if (row === undefined) return undefined;
  const actions = all(store, 'SELECT id, rule, state FROM action WHERE n = ? ORDER BY row', Number(row.n));
  return {
    decision: JSON.parse(String(row.body)),
    evidence: JSON.parse(String(row.evidence)),
    actions: actions.map((action) => ({
      id: String(action.id),
      ...(action.rule === null ? {} : { rule: String(action.rule) }),
      state: action.state as ActionState,
    })),
  };
}
