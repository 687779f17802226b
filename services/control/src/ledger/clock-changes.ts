import type { Rulebook } from './rulebook.ts';
import type { Store } from './store.ts';

/** How long outcomes may still come that were stamped before the clock was set: they were on their way. */
const UNDER_WAY_MS = 60_000;
/** So long a clock that was set forward is not believed where rows are deleted by age: it may be set back. */
const DOUBT_MS = 86_400_000;

interface Change {
  readonly id: number;
  readonly shiftMs: number;
  /** By the monotonic clock, which begins anew with the process: negative where it was before. */
  readonly at: number;
}

/**
 * The wall clock was set: deadlines move along, so that what has a second to go still has it. Times that say when something
 * happened stay as they were written.
 */
export function createClockChanges(store: Store, d: { rulebook: Pick<Rulebook, 'shift'>; monotonic: () => number }) {
  let changes: readonly Change[] = [];

  function recent(withinMs: number): readonly Change[] {
    const now = d.monotonic();
    changes = changes.filter(({ at }) => now - at < DOUBT_MS);
    return changes.filter(({ at }) => now - at < withinMs);
  }

  return {
    /** @param why for the event that stays */
    shift(shiftMs: number, nowMs: number, why: string): void {
      store
        .sql(
          `UPDATE action SET next_ms = next_ms + ?1, expires_ms = expires_ms + ?1, stale_ms = stale_ms + ?1
           WHERE next_ms IS NOT NULL`,
        )
        .run(shiftMs);
      store.sql('UPDATE forgotten SET at_ms = at_ms + ?').run(shiftMs);
      d.rulebook.shift(shiftMs);
      store
        .sql("INSERT INTO event (at_ms, kind, detail, accepted_ms) VALUES (?1, 'clock', ?2, ?1)")
        .run(nowMs, `${why}, by ${shiftMs / 1000} s; deadlines moved along`);
      const id = 1 + (changes.at(-1)?.id ?? 0);
      changes = [...recent(DOUBT_MS), { id, shiftMs, at: d.monotonic() }];
      save(store, changes, nowMs - d.monotonic());
    },

    /** What was doubted when the ledger was closed still is: a restart makes no clock right. */
    restore(nowMs: number): void {
      const aheadMs = nowMs - d.monotonic();
      changes = load(store).map(({ id, shiftMs, atMs }) => ({ id, shiftMs, at: atMs - aheadMs }));
    },

    /** After a ROLLBACK. */
    forget(): void {
      const written = new Set(load(store).map(({ id }) => id));
      changes = changes.filter(({ id }) => written.has(id));
    },

    /** Rule time of a decision. One that was under way when the clock was set carries the time before. */
    ruleTime(receivedMs: number, nowMs: number): number {
      let best = receivedMs;
      for (const { shiftMs } of changes.length === 0 ? [] : recent(UNDER_WAY_MS)) {
        if (Math.abs(receivedMs + shiftMs - nowMs) < Math.abs(best - nowMs)) best = receivedMs + shiftMs;
      }
      return best;
    },

    /** The time by which rows are too old: without what the clock was set forward lately. */
    oldTime(nowMs: number): number {
      const forward = recent(DOUBT_MS).reduce((sum, { shiftMs }) => sum + shiftMs, 0);
      return nowMs - Math.max(0, forward);
    },
  };
}

const KEY = 'clock_changes';

interface Kept {
  readonly id: number;
  readonly shiftMs: number;
  /** By the wall clock as it was set last. */
  readonly atMs: number;
}

/** @param aheadMs how far the wall clock is ahead of the monotonic one */
function save(store: Store, changes: readonly Change[], aheadMs: number): void {
  const kept = changes.map(({ id, shiftMs, at }): Kept => ({ id, shiftMs, atMs: Math.round(at + aheadMs) }));
  store
    .sql('INSERT INTO meta VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value')
    .run(KEY, JSON.stringify(kept));
}

function load(store: Store): Kept[] {
  const text = store.sql('SELECT value FROM meta WHERE key = ?').get(KEY)?.value;
  return JSON.parse(String(text ?? '[]')) as Kept[];
}
