import type { ActionExplanation, ActionRecord, ActionState, Decision, Evidence } from '@brink/protocol';
import { decisionRow } from './decision-reads.ts';
import { all, one, pageOf } from './pages.ts';
import type { ActionQuery } from './records.ts';
import { actionRecord, attemptRecord } from './rows.ts';
import type { Store } from './store.ts';

export function createActionReads(store: Store) {
  const table = { name: 'action', key: 'row', record: actionRecord };
  return {
    actions: (query: ActionQuery) =>
      pageOf(store, table, query, { state: query.state, rule: query.rule, target: query.target }),
    action(id: string): ActionRecord | undefined {
      const row = one(store, 'SELECT * FROM action WHERE id = ?', id);
      return row === undefined ? undefined : actionRecord(row);
    },
    explainAction: (id: string) => explainAction(store, id),
    actionCounts(): Partial<Record<ActionState, number>> {
      const rows = all(store, 'SELECT state, count(*) AS count FROM action GROUP BY state');
      return Object.fromEntries(rows.map((row) => [String(row.state), Number(row.count)]));
    oldestOpenAction(): number | undefined {
      const row = one(store, 'SELECT min(created_ms) AS oldest FROM action WHERE next_ms IS NOT NULL');
      return typeof row?.oldest === 'number' ? row.oldest : undefined;
    },
    },
  };
}

/** From the ack back to the frame. What the action came from may be gone by age; then it says so with null. */
function explainAction(store: Store, id: string): ActionExplanation | undefined {
  const row = one(store, 'SELECT * FROM action WHERE id = ?', id);
  if (row === undefined) return undefined;
  const action = actionRecord(row);
  const attempts = all(store, 'SELECT * FROM attempt WHERE action = ? ORDER BY attempt', Number(row.row));
  return {
    action,
    ack: action.ack ?? null,
    attempts: attempts.map(attemptRecord),
    because: row.because === null ? null : JSON.parse(String(row.because)),
    ...sourceOf(store, action),
  };
}

type Source = Pick<ActionExplanation, 'decision' | 'model' | 'prepared' | 'frame'>;

function sourceOf(store: Store, action: ActionRecord): Source {
  const row = action.rule === undefined ? undefined : decisionRow(store, action.decision);
  if (row === undefined) return { decision: null, model: null, prepared: null, frame: null };
  const decision = JSON.parse(String(row.body)) as Decision;
  const evidence = JSON.parse(String(row.evidence)) as Evidence;
  const { transform, batch, ms, top, attempts } = evidence;
  const prepared = Object.entries({ transform, batch, ms, top, attempts }).filter(([, part]) => part !== undefined);
  return {
    decision,
    model: { ...decision.model, ...evidence.model },
    prepared: Object.fromEntries(prepared),
    frame: { ...evidence.frame, gateway: evidence.gateway },
  };
}
