import type { CommittedCounts } from '@brink/protocol';
import { createAccessReads } from './access.ts';
import { createActionReads } from './action-reads.ts';
import { createDecisionReads } from './decision-reads.ts';
import { createForgettingReads } from './forgetting.ts';
import { all, limited, one, pageOf } from './pages.ts';
import type { DeadQuery } from './records.ts';
import { listRevisions, loadFiles, loadPublished } from './revisions.ts';
import { deadRecord, deviceRecord } from './rows.ts';
import { createRuleReads } from './rule-reads.ts';
import type { Store } from './store.ts';
import { createSummaryReads } from './summary-reads.ts';

/** Everything that is read from the ledger, on a connection of its own. Reads are short: a page at most. */
export function createReader(store: Store) {
  return {
    ...createDecisionReads(store),
    ...createSummaryReads(store),
    ...createActionReads(store),
    ...createDeadReads(store),
    ...createRuleReads(store),
    ...createAccessReads(store),
    ...createForgettingReads(store),
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
