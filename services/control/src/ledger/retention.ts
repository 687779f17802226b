import type { Seen } from './seen.ts';
import type { Row, Store } from './store.ts';
import type { Units } from './units.ts';

const DAY_MS = 86_400_000;

/**
 * Deletes what is past its age or beyond the cap, oldest first, at most `rows` rows: a bounded piece of work within one
 * transaction. Ended actions go first; a decision that an action refers to stays as long as the action.
 */
export function createRetention(
  store: Store,
  d: { seen: Seen; units: Units },
  config: { retainDays: number; retainRows: number },
) {
  function actions(cutoffMs: number, rows: number): number {
    const old = store
      .sql('SELECT row FROM action WHERE ended_ms < ? ORDER BY ended_ms LIMIT ?')
      .all(cutoffMs, rows) as Row[];
    for (const { row } of old) {
      store.sql('DELETE FROM attempt WHERE action = ?').run(row as number);
      store.sql('DELETE FROM action WHERE row = ?').run(row as number);
    }
    return old.length;
  }

  function decisions(cutoffMs: number, rows: number): number {
    const span = store.sql('SELECT min(n) AS low, max(n) AS high FROM decision').get();
    const excess = Number(span?.high ?? 0) - Number(span?.low ?? 0) + 1 - config.retainRows;
    const oldest = store
      .sql(
        `SELECT n, lane, boot, seq, received_ms FROM decision
         WHERE NOT EXISTS (SELECT 1 FROM action WHERE action.n = decision.n) ORDER BY n LIMIT ?`,
      )
      .all(rows) as Row[];
    let deleted = 0;
    for (const row of oldest) {
      if (deleted >= excess && Number(row.received_ms) >= cutoffMs) break;
      // In the same transaction: from here on `seen` answers for this unit.
      d.seen.add(Number(row.lane), String(row.boot), Number(row.seq));
      store.sql('DELETE FROM decision WHERE n = ?').run(row.n as number);
      deleted++;
    }
    return deleted;
  }

  function deadLetters(cutoffMs: number, rows: number): number {
    const { changes } = store
      .sql('DELETE FROM dead_letter WHERE id IN (SELECT id FROM dead_letter WHERE received_ms < ? ORDER BY id LIMIT ?)')
      .run(cutoffMs, rows);
    return Number(changes);
  }

  return {
    run(nowMs: number, rows: number): number {
      const cutoffMs = nowMs - config.retainDays * DAY_MS;
      let left = rows;
      for (const part of [actions, decisions, deadLetters]) if (left > 0) left -= part(cutoffMs, left);
      if (left < rows) d.units.saveNumber();
      return rows - left;
    },
  };
}
