import type { Row, Store } from './store.ts';

// A device goes, and all that it left: in pieces, so that nobody waits long. What is left is a line that says that it was
// forgotten, and when: by it, what a gateway sends late is not taken up again.

/** How many rows of the action table one piece looks through. */
const ACTIONS_AT_ONCE = 5000;
const DECISIONS_AT_ONCE = 1000;

export interface ForgetPiece {
  /** Where the next piece goes on in the table of actions. */
  readonly from: number;
  readonly deleted: number;
  readonly done: boolean;
}

interface ForgettingParts {
  readonly units: { remove(row: Row): void };
  /** What is held in memory of the tables that change here. */
  readonly cached: readonly { flush(): void; forget(): void }[];
  readonly devices: { forget(): void };
}

/** Lives on the writer's side. */
export function createForgetting(store: Store, d: ForgettingParts) {
  let known: Map<string, number> | undefined;

  function forgotten(): Map<string, number> {
    known ??= new Map(
      (store.sql('SELECT device, at_ms FROM forgotten').all() as Row[]).map((row) => [
        String(row.device),
        Number(row.at_ms),
      ]),
    );
    return known;
  }

  function begin(device: string, nowMs: number): void {
    store.sql('INSERT INTO forgotten VALUES (?1, ?2) ON CONFLICT DO UPDATE SET at_ms = ?2').run(device, nowMs);
    forgotten().set(device, nowMs);
    saveUnfinished(store, [...new Set([...unfinished(store), device])]);
  }

  /** Rows of one lane after the other; none left: the lanes themselves, and what hangs on them and on the name. */
  function decisions(device: string): { deleted: number; done: boolean } {
    for (const part of d.cached) part.flush();
    const rows = store
      .sql('SELECT n FROM decision WHERE lane IN (SELECT id FROM lane WHERE device = ?) LIMIT ?')
      .all(device, DECISIONS_AT_ONCE) as Row[];
    for (const row of rows) d.units.remove(row);
    if (rows.length === DECISIONS_AT_ONCE) return { deleted: rows.length, done: false };
    for (const part of d.cached) part.flush();
    const deleted = rows.length + deleteNamed(store, device) + deleteRuleStates(store, device);
    for (const part of d.cached) part.forget();
    d.devices.forget();
    return { deleted, done: true };
  }

  return {
    /** It was received before its device was forgotten. */
    covers: (device: string, receivedMs: number): boolean => {
      const at = forgotten().get(device);
      return at !== undefined && receivedMs <= at;
    },
    /** One piece; the first, with `from` 0, writes down that it is forgotten. */
    run(device: string, from: number, nowMs: number): ForgetPiece {
      if (from === 0) begin(device, nowMs);
      // What is deleted is overwritten with zeros, instead of lying in free pages until they are used again.
      store.db.exec('PRAGMA secure_delete = ON');
      try {
        const last = Number(store.sql('SELECT max(row) AS row FROM action').get()?.row ?? 0);
        if (from < last) {
          const to = Math.min(last, from + ACTIONS_AT_ONCE);
          return { from: to, deleted: deleteActions(store, device, from, to), done: false };
        }
        return { from: Math.max(1, from), ...decisions(device) };
      } finally {
        store.db.exec('PRAGMA secure_delete = OFF');
      }
    },
    /** Nothing is left of it that could be reached, here and elsewhere. */
    finish(device: string): void {
      saveUnfinished(
        store,
        unfinished(store).filter((name) => name !== device),
      );
    },
    /** After a ROLLBACK. */
    forget(): void {
      known = undefined;
    },
  };
}

const UNFINISHED = 'forgetting';

/** Devices that somebody wants forgotten, and that may not be yet: control may have been killed over it. */
function unfinished(store: Store): string[] {
  const text = store.sql('SELECT value FROM meta WHERE key = ?').get(UNFINISHED)?.value;
  return JSON.parse(String(text ?? '[]')) as string[];
}

function saveUnfinished(store: Store, devices: readonly string[]): void {
  store
    .sql('INSERT INTO meta VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value')
    .run(UNFINISHED, JSON.stringify(devices));
}

export function createForgettingReads(store: Store) {
  const tables = [
    'device WHERE name = ?1',
    'lane WHERE device = ?1',
    'dead_letter WHERE device = ?1',
    'forgotten WHERE device = ?1',
  ];
  const any = tables.map((table) => `EXISTS (SELECT 1 FROM ${table})`).join(' OR ');
  return {
    unforgotten: () => unfinished(store),
    hasTraces: (device: string) => store.sql(`SELECT ${any} AS found`).get(device)?.found === 1,
  };
}

/** Those that it led to, and those that were meant for it. @param from exclusive */
function deleteActions(store: Store, device: string, from: number, to: number): number {
  const rows = store
    .sql(
      `SELECT row FROM action WHERE row > ? AND row <= ?
       AND (substr(decision, 1, ?) = ? OR (kind = 'command' AND target = ?) OR instr(coalesce(because, ''), ?) > 0)`,
    )
    .all(from, to, device.length + 1, `${device}.`, device, `"${device}.`) as Row[];
  for (const { row } of rows) {
    store.sql('DELETE FROM attempt WHERE action = ?').run(row as number);
    store.sql('DELETE FROM action WHERE row = ?').run(row as number);
  }
  return rows.length;
}

function deleteNamed(store: Store, device: string): number {
  const lanes = 'lane IN (SELECT id FROM lane WHERE device = ?)';
  let deleted = 0;
  for (const text of [
    `DELETE FROM minute_summary WHERE ${lanes}`,
    `DELETE FROM seen WHERE ${lanes}`,
    `DELETE FROM unkept WHERE ${lanes}`,
    'DELETE FROM lane WHERE device = ?',
    'DELETE FROM dead_letter WHERE device = ?',
    'DELETE FROM device WHERE name = ?',
  ]) {
    deleted += Number(store.sql(text).run(device).changes);
  }
  return deleted;
}

/** Machines whose key or memory names it. One that others share begins anew: it cannot be told what of it was whose. */
function deleteRuleStates(store: Store, device: string): number {
  const rows = store.sql('SELECT rule, key, body FROM rule_state').all() as Row[];
  const named = rows.filter(({ key, body }) => {
    const text = String(body);
    return String(key).split(':').includes(device) || text.includes(`"${device}"`) || text.includes(`"${device}.`);
  });
  for (const { rule, key } of named) {
    store.sql('DELETE FROM rule_state WHERE rule = ? AND key = ?').run(rule as string, key as string);
  }
  return named.length;
}
