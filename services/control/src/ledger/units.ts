import type { Decision, Outcome } from '@brink/protocol';
import type { Devices } from './devices.ts';
import { createLanes } from './lanes.ts';
import { decisionOf } from './rows.ts';
import type { Seen } from './seen.ts';
import type { Store } from './store.ts';

export interface Inserted {
  readonly decision: Decision;
  readonly text: string;
}

/** Outcomes into their table: unique, numbered, counted. */
export function createUnits(store: Store, d: { seen: Seen; devices: Devices }) {
  const lanes = createLanes(store);
  let n = lastNumber(store);

  return {
    /** @returns undefined where this unit was committed before */
    add(outcome: Outcome, nowMs: number, revision: string): Inserted | undefined {
      const lane = lanes.of(outcome);
      const decision = decisionOf(outcome, n + 1, revision);
      const text = JSON.stringify(decision);
      const inserted =
        !d.seen.has(lane.id, outcome.boot, outcome.seq) &&
        store
          .sql('INSERT INTO decision VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING')
          .run(
            ...([n + 1, lane.id, outcome.boot, outcome.seq, outcome.part, outcome.outcome] as const),
            ...([decision.label ?? null, decision.score ?? null, outcome.received_ms, text] as const),
            JSON.stringify(outcome.evidence),
          ).changes === 1;
      if (!inserted) {
        lane.duplicate += 1;
        return undefined;
      }
      n += 1;
      lane[outcome.outcome] += 1;
      d.devices.seen(outcome.device, nowMs);
      return { decision, text };
    },

    flush: () => lanes.flush(),

    /** After a ROLLBACK: what was remembered may not have been written. */
    forget(): void {
      n = lastNumber(store);
      lanes.forget();
    },

    /** The running number outlives the rows: it is never given twice. */
    saveNumber(): void {
      store.sql("INSERT INTO meta VALUES ('n', ?) ON CONFLICT DO UPDATE SET value = excluded.value").run(n);
    },
  };
}
export type Units = ReturnType<typeof createUnits>;

function lastNumber(store: Store): number {
  const kept = Number(store.sql("SELECT value FROM meta WHERE key = 'n'").get()?.value ?? 0);
  return Math.max(kept, Number(store.sql('SELECT max(n) AS n FROM decision').get()?.n ?? 0));
}
