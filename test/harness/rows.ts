import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

// Millions of rows in a ledger that control has made and closed: straight into its tables, because the way over the link would take
// an hour. The sums of its pages are made anew at its next start.

export const FIRST_MS = Date.parse('2026-11-01T00:00:00.000Z');
/** Of received_at, between two decisions. */
export const STEP_MS = 100;
export const DEVICES = 64;

/** As a camera's decisions with their evidence: about 700 bytes a row. @param rows numbered from 1, devices in turn */
export function fillDecisions(folder: string, rows: number): void {
  const db = open(folder);
  const evidence = {
    frame: { sha256: 'f'.repeat(64), bytes: 4096, type: 'image/jpeg' },
    attempts: 1,
    gateway: 'gateway-1',
  };
  db.exec('BEGIN');
  for (let device = 0; device < DEVICES; device++) {
    db.prepare(`INSERT INTO lane (id, device, stream, pipeline, decided) VALUES (?, ?, 'front', 'pets', ?)`).run(
      device + 1,
      `cam-${device}`,
      Math.floor(rows / DEVICES),
    );
  }
  db.prepare(
    `WITH RECURSIVE count (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM count WHERE n < ?1),
     row AS (SELECT n, n % ${DEVICES} AS d, ${FIRST_MS} + n * ${STEP_MS} AS ms, CASE WHEN n % 7 = 0 THEN 'dog' ELSE 'cat' END AS label FROM count)
     INSERT INTO decision (n, lane, boot, seq, part, outcome, label, score, received_ms, body, evidence)
     SELECT n, d + 1, 'k3v9', n, 0, 'decided', label, 0.91, ms,
       printf('{"v":1,"id":"cam-%d.front.k3v9.%d.0.pets","n":%d,"device":"cam-%d","stream":"front","pipeline":"pets","outcome":"decided","task":"classification","label":"%s","score":0.91,"classes":[{"label":"%s","score":0.91}],"frames":{"boot":"k3v9","first":%d,"last":%d,"received":1},"model":{"name":"cifar-net","version":3},"received_at":"%sZ","latency_ms":8.4,"revision":"c7f1a2000000"}',
         d, n, n, d, label, label, n, n, strftime('%Y-%m-%dT%H:%M:%f', ms / 1000.0, 'unixepoch')), ?2
     FROM row`,
  ).run(rows, JSON.stringify(evidence));
  db.exec(`INSERT INTO minute_summary
    SELECT lane, CAST(received_ms / 60000 AS INTEGER), min(n), max(n), count(*), 0, 0, 0, 0, NULL, NULL, 0, 0, '[]'
    FROM decision INDEXED BY decision_time GROUP BY 1, 2`);
  db.exec(`INSERT OR REPLACE INTO meta VALUES ('n', ${rows}), ('rows', ${rows})`);
  close(db);
}

/** Actions that wait to be sent, in their order. @param dueMs of all of them; @param lifeMs until they expire */
export function fillActions(folder: string, rows: number, o: { dueMs: number; lifeMs: number }): void {
  const db = open(folder);
  const config = {
    command: { device: 'siren-1', name: 'sound', args: { level: 3 }, expires_ms: o.lifeMs, ack: 'none' },
  };
  db.exec('BEGIN');
  db.prepare(
    `WITH RECURSIVE count (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM count WHERE n < ?1)
     INSERT INTO action (id, n, decision, rule, key, phase, idx, kind, target, config, because, state, created_ms, expires_ms, next_ms)
     SELECT printf('backlog-%d', n), 0, 'somebody', NULL, NULL, NULL, 0, 'command', 'siren-1', ?2, NULL, 'pending', ?3, ?4, ?3 FROM count`,
  ).run(rows, JSON.stringify(config), o.dueMs, o.dueMs + o.lifeMs);
  close(db);
}

/** All that wait are to be sent now. */
export function makeActionsDue(folder: string): void {
  const db = open(folder);
  db.exec('BEGIN');
  db.prepare('UPDATE action SET next_ms = ? WHERE next_ms IS NOT NULL').run(Date.now());
  close(db);
}

function open(folder: string): DatabaseSync {
  const db = new DatabaseSync(join(folder, 'ledger.db'));
  db.exec('PRAGMA journal_mode = DELETE; PRAGMA synchronous = OFF; PRAGMA cache_size = -200000');
  return db;
}

function close(db: DatabaseSync): void {
  db.exec('COMMIT; PRAGMA journal_mode = WAL; PRAGMA wal_checkpoint(TRUNCATE)');
  const folder = join(String(db.location()), '..');
  db.close();
  // Else they would say that somebody has changed the file, and be right.
  rmSync(join(folder, 'ledger.sums'), { force: true });
}
