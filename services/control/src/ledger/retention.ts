import type { Minutes } from './minutes.ts';
import type { Seen } from './seen.ts';
import type { Row, Store } from './store.ts';
import type { Units } from './units.ts';
import type { Unkept } from './unkept.ts';

const DAY_MS = 86_400_000;

export interface RetentionConfig {
  readonly retainDays: number;
  readonly retainRows: number;
  /** Of the file, pages that are free not counted. */
  readonly retainBytes: number;
  readonly retainSummaryDays: number;
}

export interface RetentionParts {
  readonly seen: Seen;
  readonly unkept: Unkept;
  readonly units: Units;
  readonly minutes: Minutes;
  /** Running numbers of decisions that rules refer to. */
  readonly triggers: () => ReadonlySet<number>;
}

type Piece = (cutoffMs: number, rows: number, nowMs: number) => number;

/**
 * Deletes what is past its age or beyond the caps, oldest first, at most `rows` rows: a bounded piece of work within one
 * transaction. Ended actions go first; a decision that an action refers to stays as long as the action.
 */
export function createRetention(store: Store, d: RetentionParts, config: RetentionConfig) {
  let sweptTo = 0;

  const actions: Piece = (cutoffMs, rows) => {
    const old = store
      .sql('SELECT row FROM action WHERE ended_ms < ? ORDER BY ended_ms LIMIT ?')
      .all(cutoffMs, rows) as Row[];
    for (const { row } of old) {
      store.sql('DELETE FROM attempt WHERE action = ?').run(row as number);
      store.sql('DELETE FROM action WHERE row = ?').run(row as number);
    }
    return old.length;
  };

  const decisions: Piece = (cutoffMs, rows) => {
    const excess = Math.max(d.units.rows - config.retainRows, excessByBytes());
    const oldest = store
      .sql(
        `SELECT n, lane, boot, seq, received_ms FROM decision
         WHERE NOT EXISTS (SELECT 1 FROM action WHERE action.n = decision.n) ORDER BY n LIMIT ?`,
      )
      .all(rows) as Row[];
    let deleted = 0;
    for (const row of oldest) {
      if (deleted >= excess && Number(row.received_ms) >= cutoffMs) break;
      d.units.forgetRow(row);
      deleted++;
    }
    return deleted;
  };

  /** Rows to delete so that the file holds no more bytes than it may: taken as if each were as large as the mean. */
  function excessByBytes(): number {
    const overBytes = usedBytes(store) - config.retainBytes;
    return overBytes <= 0 ? 0 : Math.ceil((overBytes / usedBytes(store)) * d.units.rows);
  }

  const deadLetters: Piece = (cutoffMs, rows) => {
    const { changes } = store
      .sql('DELETE FROM dead_letter WHERE id IN (SELECT id FROM dead_letter WHERE received_ms < ? ORDER BY id LIMIT ?)')
      .run(cutoffMs, rows);
    return Number(changes);
  };

  /** Rows that were kept for what referred to them alone, and that nothing refers to any longer. */
  const held: Piece = (_, rows, nowMs) => {
    const found = store
      .sql(
        `SELECT n, lane, boot, seq, part, EXISTS (SELECT 1 FROM action WHERE action.n = decision.n) AS named
         FROM decision WHERE held = 1 AND n > ? ORDER BY n LIMIT ?`,
      )
      .all(sweptTo, rows) as Row[];
    // Round and round, so that rows that stay do not keep others from their turn.
    sweptTo = found.length < rows ? 0 : Number(found.at(-1)?.n);
    if (found.length === 0) return 0;
    const triggers = d.triggers();
    const free = found.filter(({ n, named }) => named === 0 && !triggers.has(Number(n)));
    for (const row of free) d.units.release(row, nowMs);
    return free.length;
  };

  const unkept: Piece = (cutoffMs, rows) => d.unkept.fold(cutoffMs, Math.ceil(rows / 10), d.seen.add);
  const minutes: Piece = (_, rows, nowMs) => d.minutes.purge(nowMs - config.retainSummaryDays * DAY_MS, rows);
  const pieces = [actions, decisions, deadLetters, held, unkept, minutes];

  return {
    run(nowMs: number, rows: number): number {
      const cutoffMs = nowMs - config.retainDays * DAY_MS;
      let left = rows;
      for (const piece of pieces) if (left > 0) left -= piece(cutoffMs, left, nowMs);
      return rows - left;
    },
  };
}

/** Of the file, pages that are free not counted: both numbers stand in its first page. */
export function usedBytes(store: Store): number {
  const pragma = (name: string) => Number(Object.values(store.sql(`PRAGMA ${name}`).get() ?? {})[0]);
  return (pragma('page_count') - pragma('freelist_count')) * pragma('page_size');
}
