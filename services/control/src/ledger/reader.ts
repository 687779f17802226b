import {
  type ActionExplanation,
  type ActionRecord,
  BrinkError,
  type CommittedCounts,
  type Decision,
  type DecisionExplanation,
  type Evidence,
  type PublishedConfiguration,
  parseUnitId,
  type RuleKeyState,
  type RuleState,
} from '@brink/protocol';
import { holdingIn, type KeyState } from '@brink/rules';
import type { ActionQuery, DeadQuery, DecisionQuery, Page, Revision } from './records.ts';
import { actionRecord, attemptRecord, deadRecord, deviceRecord, iso } from './rows.ts';
import type { Row, Store } from './store.ts';

const LIMIT_MAX = 500;
/** Beyond, one walk over all decisions is cheaper than one over each lane. */
const LANES_MERGED_MAX = 32;

/** Everything that is read from the ledger, on a connection of its own. Reads are short: a page at most. */
export function createReader(store: Store) {
  function all(text: string, values: (string | number)[]): Row[] {
    return store.sql(text).all(...values) as Row[];
  }
  function one(text: string, ...values: (string | number)[]): Row | undefined {
    return store.sql(text).get(...values) as Row | undefined;
  }

  function decisions(query: DecisionQuery): Page<Decision> {
    const limit = limited(query.limit);
    const ascending = query.after !== undefined;
    const where = ['1'];
    const values: (string | number)[] = [];
    const filter = (text: string, value: string | number | undefined) => {
      if (value === undefined) return;
      where.push(text);
      values.push(value);
    };
    filter('n > ?', query.after);
    filter('label = ?', query.label);
    filter('score >= ?', query.score_min);
    filter('outcome = ?', query.outcome);
    filter('received_ms >= ?', query.since_ms);
    filter('received_ms < ?', query.until_ms);
    const order = `ORDER BY n ${ascending ? 'ASC' : 'DESC'} LIMIT ${limit}`;
    const select = (condition: string) =>
      `SELECT n, body FROM decision ${condition} AND ${where.join(' AND ')} ${order}`;
    const lanes = lanesOf(query);
    const rows =
      lanes === undefined
        ? all(select('WHERE 1'), values)
        : lanes.length > LANES_MERGED_MAX
          ? all(select('WHERE lane IN (SELECT value FROM json_each(?))'), [JSON.stringify(lanes), ...values])
          : lanes.flatMap((lane) => all(select('INDEXED BY decision_lane WHERE lane = ?'), [lane, ...values]));
    if (lanes !== undefined) rows.sort((a, b) => (Number(a.n) - Number(b.n)) * (ascending ? 1 : -1));
    const page = rows.slice(0, limit);
    const last = page.at(-1);
    return {
      items: page.map((row) => JSON.parse(String(row.body)) as Decision),
      ...(ascending && last !== undefined && page.length === limit ? { next: Number(last.n) } : {}),
    };
  }

  /** undefined: every lane. */
  function lanesOf({ device, stream, pipeline }: DecisionQuery): number[] | undefined {
    if (device === undefined && stream === undefined && pipeline === undefined) return undefined;
    const wanted = { device, stream, pipeline };
    const given = Object.entries(wanted).filter((entry): entry is [string, string] => entry[1] !== undefined);
    const where = given.map(([name]) => `${name} = ?`).join(' AND ');
    return all(
      `SELECT id FROM lane WHERE ${where}`,
      given.map(([, value]) => value),
    ).map((row) => Number(row.id));
  }

  function decisionRow(id: string): Row | undefined {
    const unit = parseUnitId(id);
    return one(
      `SELECT n, body, evidence FROM decision
       WHERE lane = (SELECT id FROM lane WHERE device = ? AND stream = ? AND pipeline = ?) AND boot = ? AND seq = ? AND part = ?`,
      ...([unit.device, unit.stream, unit.pipeline, unit.boot, unit.seq, unit.part] as const),
    );
  }

  function explainDecision(id: string): DecisionExplanation | undefined {
    const row = decisionRow(id);
    if (row === undefined) return undefined;
    const actions = all('SELECT id, rule, state FROM action WHERE n = ? ORDER BY row', [Number(row.n)]);
    return {
      decision: JSON.parse(String(row.body)),
      evidence: JSON.parse(String(row.evidence)),
      actions: actions.map((action) => ({
        id: String(action.id),
        ...(action.rule === null ? {} : { rule: String(action.rule) }),
        state: action.state as ActionRecord['state'],
      })),
    };
  }

  function actions(query: ActionQuery): Page<ActionRecord> {
    const { text, values, limit } = pageQuery('action', 'row', query, {
      state: query.state,
      rule: query.rule,
      target: query.target,
    });
    return pageOf(all(text, values), limit, 'row', actionRecord);
  }

  function explainAction(id: string): ActionExplanation | undefined {
    const row = one('SELECT * FROM action WHERE id = ?', id);
    if (row === undefined) return undefined;
    const action = actionRecord(row);
    const source = row.rule === null ? undefined : decisionRow(action.decision);
    const decision = source === undefined ? null : (JSON.parse(String(source.body)) as Decision);
    const evidence = source === undefined ? null : (JSON.parse(String(source.evidence)) as Evidence);
    return {
      action,
      ack: action.ack ?? null,
      attempts: all('SELECT * FROM attempt WHERE action = ? ORDER BY attempt', [row.row as number]).map(attemptRecord),
      because: row.because === null ? null : JSON.parse(String(row.because)),
      decision,
      model: decision === null ? null : { ...decision.model, ...evidence?.model },
      prepared: evidence === null ? null : preparedOf(evidence),
      frame: evidence === null ? null : { ...evidence.frame, gateway: evidence.gateway },
    };
  }

  function dead(query: DeadQuery) {
    const { text, values, limit } = pageQuery('dead_letter', 'id', query, {
      device: query.device,
      stream: query.stream,
      code: query.code,
    });
    return pageOf(all(text, values), limit, 'id', deadRecord);
  }

  function ruleStates(name?: string): RuleState[] {
    const active = configuration()?.configuration.rules ?? {};
    return Object.keys(active)
      .filter((rule) => name === undefined || rule === name)
      .map((rule) => {
        const health = one('SELECT errors, last_error FROM rule WHERE name = ?', rule);
        const keys = all('SELECT key, body FROM rule_state WHERE rule = ? ORDER BY key LIMIT 1000', [rule]);
        return {
          rule,
          errors: Number(health?.errors ?? 0),
          ...(typeof health?.last_error === 'string' ? { last_error: health.last_error } : {}),
          keys: keys.map((row) => keyState(String(row.key), JSON.parse(String(row.body)) as KeyState)),
        };
      });
  }

  function configuration(revision?: string): PublishedConfiguration | undefined {
    const row =
      revision === undefined
        ? one('SELECT body FROM config_revision ORDER BY activated_ms DESC, rowid DESC LIMIT 1')
        : one('SELECT body FROM config_revision WHERE revision = ?', revision);
    return row === undefined ? undefined : (JSON.parse(String(row.body)) as PublishedConfiguration);
  }

  return {
    decisions,
    decision(id: string): Decision | undefined {
      const row = decisionRow(id);
      return row === undefined ? undefined : (JSON.parse(String(row.body)) as Decision);
    },
    explainDecision,
    actions,
    action(id: string): ActionRecord | undefined {
      const row = one('SELECT * FROM action WHERE id = ?', id);
      return row === undefined ? undefined : actionRecord(row);
    },
    explainAction,
    dead,
    deadLetter(id: string) {
      const row = /^[0-9]{1,15}$/.test(id) ? one('SELECT * FROM dead_letter WHERE id = ?', Number(id)) : undefined;
      return row === undefined ? undefined : deadRecord(row);
    },
    ruleStates,
    devices: () => all('SELECT * FROM device ORDER BY name', []).map(deviceRecord),
    device(name: string) {
      const row = one('SELECT * FROM device WHERE name = ?', name);
      return row === undefined ? undefined : deviceRecord(row);
    },
    counts: (): CommittedCounts[] =>
      all(
        'SELECT device, stream, pipeline, decided, expired, dead, duplicate FROM lane ORDER BY device, stream, pipeline',
        [],
      ).map((row) => ({ ...row }) as unknown as CommittedCounts),
    actionCounts: () =>
      Object.fromEntries(
        all('SELECT state, count(*) AS count FROM action GROUP BY state', []).map((row) => [row.state, row.count]),
      ),
    deadCounts: () =>
      all('SELECT code, count FROM dead_count ORDER BY code', []).map((row) => ({
        code: String(row.code),
        count: Number(row.count),
      })),
    revisions: (limit: number): Revision[] =>
      all('SELECT revision, activated_ms FROM config_revision ORDER BY activated_ms DESC, rowid DESC LIMIT ?', [
        limited(limit),
      ]).map((row) => ({ revision: String(row.revision), activated_at: iso(row.activated_ms) })),
    configuration,
  };
}
export type Reader = ReturnType<typeof createReader>;

function limited(limit: number): number {
  if (Number.isInteger(limit) && limit >= 1 && limit <= LIMIT_MAX) return limit;
  throw new BrinkError('E_BAD_REQUEST', `limit ${limit}; expected a whole number from 1 to ${LIMIT_MAX}`);
}

/** Newest first, by key; names come from us, values are bound. */
function pageQuery(
  table: string,
  key: string,
  query: { readonly before?: number | undefined; readonly limit: number },
  filters: Record<string, string | undefined>,
) {
  const limit = limited(query.limit);
  const given = Object.entries(filters).filter((entry): entry is [string, string] => entry[1] !== undefined);
  const where = given.map(([name]) => ` AND ${name} = ?`).join('');
  const values: (string | number)[] = [query.before ?? Number.MAX_SAFE_INTEGER, ...given.map(([, value]) => value)];
  return { text: `SELECT * FROM ${table} WHERE ${key} < ?${where} ORDER BY ${key} DESC LIMIT ${limit}`, values, limit };
}

function pageOf<T>(rows: Row[], limit: number, key: string, record: (row: Row) => T): Page<T> {
  const last = rows.at(-1);
  return {
    items: rows.map(record),
    ...(last !== undefined && rows.length === limit ? { next: Number(last[key]) } : {}),
  };
}

function preparedOf({ transform, batch, ms, top, attempts }: Evidence): NonNullable<ActionExplanation['prepared']> {
  const parts = { transform, batch, ms, top, attempts };
  return Object.fromEntries(Object.entries(parts).filter(([, part]) => part !== undefined));
}

function keyState(key: string, state: KeyState): RuleKeyState {
  const { history, dueMs, cooldown, trigger } = state;
  return {
    ...{ key, state: state.state, since: iso(state.sinceMs) },
    ...(dueMs === undefined ? {} : { due: iso(dueMs) }),
    ...(cooldown === undefined ? {} : { cooldown_until: iso(cooldown.untilMs) }),
    ...(history === undefined ? {} : { holding: holdingIn(state), seen: history.length }),
    ...(trigger === undefined ? {} : { decision: trigger.id }),
  };
}
