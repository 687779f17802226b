import type { ActionExplanation, ActionRecord, ActionState, Because, Decision, Evidence } from '@brink/protocol';
import { decisionRow } from './decision-reads.ts';
import { all, one, pageOf } from './pages.ts';
import type { ActionQuery } from './records.ts';
import { actionRecord, attemptRecord } from './rows.ts';
import type { Store } from './store.ts';

export function createActionReads(store: Store) {
  const table = { name: 'action', key: 'row', record: actionRecord };
  return {
    actions: (query: ActionQuery) =>
      pageOf(store, table, query, {
        ...{ state: query.state, rule: query.rule, target: query.target, kind: query.kind, error_code: query.code },
        ...{ 'created_ms >=': query.since_ms, 'created_ms <': query.until_ms },
      }),
    action(id: string): ActionRecord | undefined {
      const row = one(store, 'SELECT * FROM action WHERE id = ?', id);
      return row === undefined ? undefined : actionRecord(row);
    },
    explainAction: (id: string) => explainAction(store, id),
    oldestOpenAction(): number | undefined {
      const row = one(store, 'SELECT min(created_ms) AS oldest FROM action WHERE next_ms IS NOT NULL');
      return typeof row?.oldest === 'number' ? row.oldest : undefined;
    },
    actionCounts(): Partial<Record<ActionState, number>> {
      const rows = all(store, 'SELECT state, count(*) AS count FROM action GROUP BY state');
      return Object.fromEntries(rows.map((row) => [String(row.state), Number(row.count)]));
    },
  };
}

/** From the ack back to the frame. What the action came from may be gone by age; then it says so with null. */
function explainAction(store: Store, id: string): ActionExplanation | undefined {
  const row = one(store, 'SELECT * FROM action WHERE id = ?', id);
  if (row === undefined) return undefined;
  const action = actionRecord(row);
  const attempts = all(store, 'SELECT * FROM attempt WHERE action = ? ORDER BY attempt', Number(row.row));
  const because = row.because === null ? null : (JSON.parse(String(row.because)) as Because);
  return {
    action,
    ...causeOf(action, because),
    ack: action.ack ?? null,
    attempts: attempts.map(attemptRecord),
    because,
    ...sourceOf(store, action, because),
  };
}

/** Where there is no rule, who ordered it stands in place of a decision. */
function causeOf(action: ActionRecord, because: Because | null): Pick<ActionExplanation, 'cause' | 'by'> {
  if (because?.test !== undefined) return { cause: 'test', by: because.test.by };
  if (action.rule === undefined) return { cause: 'person', by: action.decision };
  return { cause: because?.timer_due === undefined ? 'rule' : 'timer' };
}

type Source = Pick<ActionExplanation, 'decision' | 'model' | 'prepared' | 'frame'>;

function sourceOf(store: Store, action: ActionRecord, because: Because | null): Source {
  // Of a sample the id is made up.
  const sourced = action.rule !== undefined && because?.test?.sample !== true;
  const row = sourced ? decisionRow(store, action.decision) : undefined;
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
