import type { Store } from './store.ts';

/** Somebody has taken note of what was lost. @returns how many notes there were */
export function acceptDamage(store: Store, nowMs: number): number {
  const { changes } = store
    .sql("UPDATE event SET accepted_ms = ? WHERE kind = 'damage' AND accepted_ms IS NULL")
    .run(nowMs);
  return Number(changes);
}
