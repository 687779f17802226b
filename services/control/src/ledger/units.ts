import { createHash } from 'node:crypto';
import type { DeadLetter, Decision, Outcome } from '@brink/protocol';
import { decisionOf } from './rows.ts';
import type { Seen } from './seen.ts';
import type { Store } from './store.ts';

/** How often a device's last_seen is written, ms: it changes with every unit, and nobody reads it that finely. */
const LAST_SEEN_EVERY_MS = 1000;
const LANES_CACHED_MAX = 50_000;

interface Lane {
  readonly id: number;
  decided: number;
  expired: number;
  dead: number;
  duplicate: number;
}

export interface Inserted {
  readonly decision: Decision;
  readonly text: string;
}

/** Outcomes and dead letters into their tables: unique, numbered, counted. */
export function createUnits(store: Store, seen: Seen) {
  let n = lastNumber();
  const lanes = new Map<string, Lane>();
  const dirtyLanes = new Set<Lane>();
  const deadCounts = new Map<string, number>();
  const devices = new Map<string, number>();

  function lastNumber(): number {
    const kept = Number(store.sql("SELECT value FROM meta WHERE key = 'n'").get()?.value ?? 0);
    return Math.max(kept, Number(store.sql('SELECT max(n) AS n FROM decision').get()?.n ?? 0));
  }

  function laneOf({ device, stream, pipeline }: Outcome): Lane {
    const name = `${device}.${stream}.${pipeline}`;
    const known = lanes.get(name);
    if (known !== undefined) return known;
    store
      .sql('INSERT INTO lane (device, stream, pipeline) VALUES (?, ?, ?) ON CONFLICT DO NOTHING')
      .run(device, stream, pipeline);
    const row = store
      .sql('SELECT id FROM lane WHERE device = ? AND stream = ? AND pipeline = ?')
      .get(device, stream, pipeline);
    const lane = { id: Number(row?.id), decided: 0, expired: 0, dead: 0, duplicate: 0 };
    if (lanes.size >= LANES_CACHED_MAX && dirtyLanes.size === 0) lanes.clear();
    lanes.set(name, lane);
    return lane;
  }

  function touch(device: string, nowMs: number): void {
    const written = devices.get(device);
    if (written !== undefined && Math.abs(nowMs - written) < LAST_SEEN_EVERY_MS) return;
    store
      .sql(
        `INSERT INTO device (name, first_ms, last_ms) VALUES (?1, ?2, ?2)
         ON CONFLICT DO UPDATE SET first_ms = coalesce(first_ms, ?2), last_ms = ?2`,
      )
      .run(device, nowMs);
    if (devices.size >= LANES_CACHED_MAX) devices.clear();
    devices.set(device, nowMs);
  }

  return {
    /** @returns undefined where this unit was committed before */
    outcome(outcome: Outcome, nowMs: number, revision: string): Inserted | undefined {
      const lane = laneOf(outcome);
      dirtyLanes.add(lane);
      const decision = decisionOf(outcome, n + 1, revision);
      const text = JSON.stringify(decision);
      const inserted =
        !seen.has(lane.id, outcome.boot, outcome.seq) &&
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
      touch(outcome.device, nowMs);
      return { decision, text };
    },

    /** @returns whether it is new: a letter that is sent again is the same text */
    deadLetter(letter: DeadLetter, text: string): boolean {
      const hash = createHash('sha256').update(text).digest().subarray(0, 16);
      const { changes } = store
        .sql(
          `INSERT INTO dead_letter (hash, device, stream, boot, seq, code, detail, sha256, bytes, type, received_ms)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
        )
        .run(
          ...([hash, letter.device, letter.stream, letter.boot ?? null, letter.seq ?? null] as const),
          ...([letter.error.code, letter.error.detail, letter.sha256, letter.bytes] as const),
          ...([letter.type ?? null, letter.received_ms] as const),
        );
      if (changes === 0) return false;
      deadCounts.set(letter.error.code, (deadCounts.get(letter.error.code) ?? 0) + 1);
      return true;
    },

    /** Counters change once per transaction, not once per unit. */
    flush(): void {
      for (const lane of dirtyLanes) {
        store
          .sql(
            `UPDATE lane SET decided = decided + ?, expired = expired + ?, dead = dead + ?, duplicate = duplicate + ?
             WHERE id = ?`,
          )
          .run(lane.decided, lane.expired, lane.dead, lane.duplicate, lane.id);
        lane.decided = lane.expired = lane.dead = lane.duplicate = 0;
      }
      dirtyLanes.clear();
      for (const [code, count] of deadCounts) {
        store
          .sql('INSERT INTO dead_count VALUES (?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count')
          .run(code, count);
      }
      deadCounts.clear();
    },

    /** After a ROLLBACK: what was remembered may not have been written. */
    forget(): void {
      n = lastNumber();
      for (const memory of [lanes, dirtyLanes, deadCounts, devices]) memory.clear();
    },

    /** The running number outlives the rows: it is never given twice. */
    saveNumber(): void {
      store.sql("INSERT INTO meta VALUES ('n', ?) ON CONFLICT DO UPDATE SET value = excluded.value").run(n);
    },
  };
}
export type Units = ReturnType<typeof createUnits>;
