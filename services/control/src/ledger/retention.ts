import type { Minutes } from './minutes.ts';
import type { Seen } from './seen.ts';
import type { Row, Store } from './store.ts';
import type { Units } from './units.ts';
import type { Unkept } from './unkept.ts';

const DAY_MS = 86_400_000;
/**
 * Refused frames, and actions that have ended, of each at most so many: a device that sends nothing but rubbish must not push the
 * decisions of the others out.
 */
const OTHERS_MAX = 1_000_000;

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
  const othersMax = Math.min(config.retainRows, OTHERS_MAX);

  const actions: Piece = (cutoffMs, rows) => {
    const excess = endedBeyond(store, othersMax);
    const ended = store
      .sql('SELECT row, ended_ms FROM action WHERE ended_ms IS NOT NULL ORDER BY ended_ms LIMIT ?')
      .all(rows) as Row[];
    return deleteOldest(ended, { excess, isOld: ({ ended_ms }) => Number(ended_ms) < cutoffMs }, ({ row }) => {
      store.sql('DELETE FROM attempt WHERE action = ?').run(row as number);
      store.sql('DELETE FROM action WHERE row = ?').run(row as number);
    });
  };

  const decisions: Piece = (cutoffMs, rows) => {
    const excess = Math.max(d.units.rows - config.retainRows, excessByBytes());
    const first = store.sql('SELECT received_ms FROM decision ORDER BY n LIMIT 1').get();
    if (first === undefined || (excess <= 0 && Number(first.received_ms) >= cutoffMs)) return 0;
    // What a rule will act on when its time is over is not named by an action yet.
    const triggers = d.triggers();
    const oldest = store
      .sql(
        `SELECT n, lane, boot, seq, received_ms FROM decision
         WHERE NOT EXISTS (SELECT 1 FROM action WHERE action.n = decision.n) ORDER BY n LIMIT ?`,
      )
      .all(rows + triggers.size) as Row[];
    const free = oldest.filter(({ n }) => !triggers.has(Number(n))).slice(0, rows);
    return deleteOldest(
      free,
      { excess, isOld: ({ received_ms }) => Number(received_ms) < cutoffMs },
      d.units.forgetRow.bind(d.units),
    );
  };

  /** Rows to delete so that the file holds no more bytes than it may: taken as if each were as large as the mean. */
  function excessByBytes(): number {
    const overBytes = usedBytes(store) - config.retainBytes;
    return overBytes <= 0 ? 0 : Math.ceil((overBytes / usedBytes(store)) * d.units.rows);
  }

  const deadLetters: Piece = (cutoffMs, rows) => {
    const excess = spanOf(store, 'dead_letter', 'id') - othersMax;
    const oldest = store.sql('SELECT id, received_ms FROM dead_letter ORDER BY id LIMIT ?').all(rows) as Row[];
    return deleteOldest(oldest, { excess, isOld: ({ received_ms }) => Number(received_ms) < cutoffMs }, ({ id }) => {
      store.sql('DELETE FROM dead_letter WHERE id = ?').run(id as number);
    });
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

/** In order, up to the first that may stay. @returns how many */
function deleteOldest(
  oldest: readonly Row[],
  { excess, isOld }: { readonly excess: number; readonly isOld: (row: Row) => boolean },
  remove: (row: Row) => void,
): number {
  let deleted = 0;
  for (const row of oldest) {
    if (deleted >= excess && !isOld(row)) break;
    remove(row);
    deleted++;
  }
  return deleted;
}

/** As many rows as there may be at most: counting them would take seconds. */
function spanOf(store: Store, table: 'action' | 'dead_letter', key: 'row' | 'id'): number {
  const found = store.sql(`SELECT (SELECT max(${key}) FROM ${table}) - (SELECT min(${key}) FROM ${table}) + 1 AS span`);
  return Number(found.get()?.span ?? 0);
}

function endedBeyond(store: Store, max: number): number {
  const excess = spanOf(store, 'action', 'row') - max;
  if (excess <= 0) return 0;
  const open = store.sql('SELECT count(*) AS open FROM action WHERE next_ms IS NOT NULL').get()?.open;
  return excess - Number(open);
}

/** Of the file, pages that are free not counted: both numbers stand in its first page. */
export function usedBytes(store: Store): number {
  const pragma = (name: string) => Number(Object.values(store.sql(`PRAGMA ${name}`).get() ?? {})[0]);
  return (pragma('page_count') - pragma('freelist_count')) * pragma('page_size');
}
