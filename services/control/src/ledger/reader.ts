import type { CommittedCounts, RuleKeyState, RuleState } from '@brink/protocol';
import { holdingIn, type KeyState } from '@brink/rules';
import { createActionReads } from './action-reads.ts';
import { createDecisionReads } from './decision-reads.ts';
import { all, limited, one, pageOf } from './pages.ts';
import type { DeadQuery } from './records.ts';
import { listRevisions, loadFiles, loadPublished } from './revisions.ts';
import { deadRecord, deviceRecord, iso } from './rows.ts';
import type { Store } from './store.ts';

/** Keys of one rule that are shown. */
const KEYS_SHOWN_MAX = 1000;

/** Everything that is read from the ledger, on a connection of its own. Reads are short: a page at most. */
export function createReader(store: Store) {
  return {
    ...createDecisionReads(store),
    ...createActionReads(store),
    ...createDeadReads(store),
    ruleStates: (rule?: string) => ruleStates(store, rule),
    devices: () => all(store, 'SELECT * FROM device ORDER BY name').map(deviceRecord),
    device(name: string) {
      const row = one(store, 'SELECT * FROM device WHERE name = ?', name);
      return row === undefined ? undefined : deviceRecord(row);
    },
    counts: () => counts(store),
    revisions: (limit: number) => listRevisions(store, limited(limit)),
    configurationFiles: (revision: string) => loadFiles(store, revision),
    configuration: (revision?: string) => loadPublished(store, revision),
  };
}

function createDeadReads(store: Store) {
  const table = { name: 'dead_letter', key: 'id', record: deadRecord };
  return {
    dead: (query: DeadQuery) =>
      pageOf(store, table, query, { device: query.device, stream: query.stream, code: query.code }),
    deadLetter(id: string) {
      const row = /^[0-9]{1,15}$/.test(id)
        ? one(store, 'SELECT * FROM dead_letter WHERE id = ?', Number(id))
        : undefined;
      return row === undefined ? undefined : deadRecord(row);
    },
    deadCounts: () =>
      all(store, 'SELECT code, count FROM dead_count ORDER BY code').map((row) => ({
        code: String(row.code),
        count: Number(row.count),
      })),
  };
}

function counts(store: Store): CommittedCounts[] {
  const rows = all(
    store,
    'SELECT device, stream, pipeline, decided, expired, dead, duplicate FROM lane ORDER BY device, stream, pipeline',
  );
  // SQLite's rows have no prototype; these travel on as ordinary objects.
  return rows.map((row) => ({ ...row }) as unknown as CommittedCounts);
}

function ruleStates(store: Store, wanted?: string): RuleState[] {
  const active = Object.keys(loadPublished(store)?.configuration.rules ?? {});
  const rules = wanted === undefined ? active : active.filter((rule) => rule === wanted);
  return rules.map((rule) => {
    const health = one(store, 'SELECT errors, last_error FROM rule WHERE name = ?', rule);
    const text = `SELECT key, body FROM rule_state WHERE rule = ? ORDER BY key LIMIT ${KEYS_SHOWN_MAX}`;
    return {
      rule,
      errors: Number(health?.errors ?? 0),
      ...(typeof health?.last_error === 'string' ? { last_error: health.last_error } : {}),
      keys: all(store, text, rule).map((row) => keyState(String(row.key), JSON.parse(String(row.body)) as KeyState)),
    };
  });
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
