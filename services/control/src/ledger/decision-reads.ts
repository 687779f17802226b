import { type ActionState, type Decision, type DecisionExplanation, parseUnitId } from '@brink/protocol';
import { all, given, limited, one, type Value } from './pages.ts';
import type { DecisionQuery, Page } from './records.ts';
import type { Row, Store } from './store.ts';

/** Beyond, one walk over all decisions is cheaper than one over each lane. */
const LANES_MERGED_MAX = 32;

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

function decisions(store: Store, query: DecisionQuery): Page<Decision> {
  const limit = limited(query.limit);
  const ascending = query.after !== undefined;
  const filters = given({
    'n > ?': query.after,
    'label = ?': query.label,
    'score >= ?': query.score_min,
    'outcome = ?': query.outcome,
    'received_ms >= ?': query.since_ms,
    'received_ms < ?': query.until_ms,
  });
  const conditions = filters.map(([condition]) => ` AND ${condition}`).join('');
  const values = filters.map(([, value]) => value);
  const order = `ORDER BY n ${ascending ? 'ASC' : 'DESC'} LIMIT ${limit}`;
  const select = (from: string, ...first: Value[]) =>
    all(store, `SELECT n, body FROM decision ${from}${conditions} ${order}`, ...first, ...values);

  const lanes = lanesOf(store, query);
  const rows =
    lanes === undefined
      ? select('WHERE 1')
      : lanes.length > LANES_MERGED_MAX
        ? select('WHERE lane IN (SELECT value FROM json_each(?))', JSON.stringify(lanes))
        : // The index gives each lane's rows in order of n: a page of each, merged, is the page of all.
          lanes.flatMap((lane) => select('INDEXED BY decision_lane WHERE lane = ?', lane));
  if (lanes !== undefined) rows.sort((a, b) => (Number(a.n) - Number(b.n)) * (ascending ? 1 : -1));
  const page = rows.slice(0, limit);
  const last = page.at(-1);
  const more = ascending && last !== undefined && page.length === limit;
  return {
    items: page.map((row) => JSON.parse(String(row.body)) as Decision),
    ...(more ? { next: Number(last.n) } : {}),
  };
}

/** undefined: every lane. */
function lanesOf(store: Store, { device, stream, pipeline }: DecisionQuery): number[] | undefined {
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
