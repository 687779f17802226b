import type { Outcome } from '@brink/protocol';
import type { LastKept } from './keeping.ts';
import type { Store } from './store.ts';

const CACHED_MAX = 50_000;

/** One device's stream through one pipeline, with what its counts have grown by since they were written. */
export interface Lane {
  readonly id: number;
  decided: number;
  expired: number;
  dead: number;
  duplicate: number;
  readonly last: LastKept;
}

/** Counters change once per transaction, not once per unit. */
export function createLanes(store: Store) {
  const lanes = new Map<string, Lane>();
  const dirty = new Set<Lane>();

  function open({ device, stream, pipeline }: Outcome): Lane {
    store
      .sql('INSERT INTO lane (device, stream, pipeline) VALUES (?, ?, ?) ON CONFLICT DO NOTHING')
      .run(device, stream, pipeline);
    const row = store
      .sql('SELECT id, kept_ms, kept_sign FROM lane WHERE device = ? AND stream = ? AND pipeline = ?')
      .get(device, stream, pipeline);
    const last = {
      ms: row?.kept_ms === null ? undefined : Number(row?.kept_ms),
      sign: row?.kept_sign === null ? undefined : String(row?.kept_sign),
    };
    return { id: Number(row?.id), decided: 0, expired: 0, dead: 0, duplicate: 0, last };
  }

  return {
    /** The lane of an outcome that is about to be counted. */
    of(outcome: Outcome): Lane {
      const name = `${outcome.device}.${outcome.stream}.${outcome.pipeline}`;
      let lane = lanes.get(name);
      if (lane === undefined) {
        lane = open(outcome);
        if (lanes.size >= CACHED_MAX && dirty.size === 0) lanes.clear();
        lanes.set(name, lane);
      }
      dirty.add(lane);
      return lane;
    },
    flush(): void {
      for (const lane of dirty) {
        store
          .sql(
            `UPDATE lane SET decided = decided + ?, expired = expired + ?, dead = dead + ?, duplicate = duplicate + ?,
               kept_ms = ?, kept_sign = ? WHERE id = ?`,
          )
          .run(
            ...([lane.decided, lane.expired, lane.dead, lane.duplicate] as const),
            ...([lane.last.ms ?? null, lane.last.sign ?? null, lane.id] as const),
          );
        lane.decided = lane.expired = lane.dead = lane.duplicate = 0;
      }
      dirty.clear();
    },
    forget(): void {
      lanes.clear();
      dirty.clear();
    },
  };
}
