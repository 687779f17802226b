import type { Decision, Outcome } from '@brink/protocol';
import type { Devices } from './devices.ts';
import type { Keeping } from './keeping.ts';
import { createLanes, type Lane } from './lanes.ts';
import type { Minutes } from './minutes.ts';
import { decisionOf } from './rows.ts';
import type { Seen } from './seen.ts';
import type { Row, Store } from './store.ts';
import type { Unkept } from './unkept.ts';

/** A unit that was never committed before: numbered and counted. Whether it becomes a row is known when its rules have run. */
export interface Unit {
  readonly decision: Decision;
  readonly text: string;
  readonly outcome: Outcome;
  readonly lane: Lane;
  kept: boolean;
}

export interface UnitParts {
  readonly seen: Seen;
  readonly unkept: Unkept;
  readonly minutes: Minutes;
  readonly keeping: Keeping;
  readonly devices: Devices;
}

/** Outcomes into their table: unique, numbered, counted. */
export function createUnits(store: Store, d: UnitParts) {
  const lanes = createLanes(store);
  let numbers = lastNumbers(store);
  let saved = { ...numbers };

  /** @param held only because something refers to it @returns whether it was new */
  function insert({ decision, text, outcome, lane }: Omit<Unit, 'kept'>, held: boolean): boolean {
    const { changes } = store
      .sql('INSERT INTO decision VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING')
      .run(
        ...([decision.n, lane.id, outcome.boot, outcome.seq, outcome.part, outcome.outcome] as const),
        ...([decision.label ?? null, decision.score ?? null, outcome.received_ms, text] as const),
        ...([JSON.stringify(outcome.evidence), held ? 1 : 0] as const),
      );
    if (changes !== 1) return false;
    numbers.rows += 1;
    return true;
  }

  function wasCommitted({ boot, seq, part }: Outcome, lane: Lane): boolean {
    return d.seen.has(lane.id, boot, seq) || d.unkept.has({ lane: lane.id, boot, seq, part });
  }

  const isRow = ({ boot, seq, part }: Outcome, lane: Lane) =>
    store
      .sql('SELECT 1 FROM decision WHERE lane = ? AND boot = ? AND seq = ? AND part = ?')
      .get(lane.id, boot, seq, part) !== undefined;

  return {
    /** @returns undefined where this unit was committed before. What is returned goes to `settle` when its rules have run */
    add(outcome: Outcome, nowMs: number, revision: string): Unit | undefined {
      const lane = lanes.of(outcome);
      const decision = decisionOf(outcome, numbers.n + 1, revision);
      const unit = { decision, text: JSON.stringify(decision), outcome, lane };
      // Most pipelines keep all: then the row itself says whether it is new.
      const kept = d.keeping.all(outcome.pipeline);
      const isNew = !wasCommitted(outcome, lane) && (kept ? insert(unit, false) : !isRow(outcome, lane));
      if (!isNew) {
        lane.duplicate += 1;
        return undefined;
      }
      numbers.n += 1;
      lane[outcome.outcome] += 1;
      d.minutes.add(lane.id, outcome, decision.n);
      d.devices.seen(outcome.device, nowMs);
      return { ...unit, kept };
    },

    /** @param referred an action or a rule's state names it: it stays as long as they do */
    settle(unit: Unit, referred: boolean, nowMs: number): void {
      if (unit.kept) return;
      const { outcome, lane } = unit;
      const wanted = d.keeping.wants(outcome, lane.last);
      unit.kept = wanted || referred;
      if (unit.kept) insert(unit, !wanted);
      else d.unkept.add({ lane: lane.id, boot: outcome.boot, seq: outcome.seq, part: outcome.part }, nowMs);
    },

    /** A row goes because of `keep`: nothing refers to it any longer. */
    release(row: Row, nowMs: number): void {
      const key = { lane: Number(row.lane), boot: String(row.boot), seq: Number(row.seq), part: Number(row.part) };
      d.unkept.add(key, nowMs);
      this.remove(row);
    },

    /** A row goes by age or for want of room: from here on `seen` answers for this unit, in the same transaction. */
    forgetRow(row: Row): void {
      d.seen.add(Number(row.lane), String(row.boot), Number(row.seq));
      this.remove(row);
    },

    remove({ n }: Row): void {
      store.sql('DELETE FROM decision WHERE n = ?').run(n as number);
      numbers.rows -= 1;
    },

    get rows() {
      return numbers.rows;
    },
    /** The newest number that was given. */
    get n() {
      return numbers.n;
    },

    flush(): void {
      lanes.flush();
      // The newest row says the number as well, but there may be none, and counting rows would take seconds.
      if (numbers.n !== saved.n || numbers.rows !== saved.rows) this.saveNumbers();
    },

    /** After a ROLLBACK: what was remembered may not have been written. */
    forget(): void {
      numbers = lastNumbers(store);
      saved = { ...numbers };
      lanes.forget();
    },

    /** The running number outlives the rows: it is never given twice. */
    saveNumbers(): void {
      const save = store.sql('INSERT INTO meta VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value');
      save.run('n', numbers.n);
      save.run('rows', numbers.rows);
      saved = { ...numbers };
    },
  };
}
export type Units = ReturnType<typeof createUnits>;

function lastNumbers(store: Store): { n: number; rows: number } {
  const kept = (key: string) => Number(store.sql('SELECT value FROM meta WHERE key = ?').get(key)?.value ?? 0);
  const newest = Number(store.sql('SELECT max(n) AS n FROM decision').get()?.n ?? 0);
  return { n: Math.max(kept('n'), newest), rows: kept('rows') };
}
