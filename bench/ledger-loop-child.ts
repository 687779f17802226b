// The rows of a ledger by a bare group-commit loop, as anybody would write it: the table with its key, so many rows a transaction.
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

export interface LedgerLoopRequest {
  readonly folder: string;
  readonly bodyBytes: number;
  readonly evidenceBytes: number;
  readonly rowsPerCommit: number;
  /** Each COMMIT waits for the disk. */
  readonly full: boolean;
  readonly ms: number;
}

export interface LedgerLoopReply {
  readonly perSecond: number;
  readonly commitMsP99: number;
}

process.on('message', (request: LedgerLoopRequest) => {
  process.send?.(rowsPerSecond(request) satisfies LedgerLoopReply);
});
process.on('disconnect', () => process.exit(0));

function rowsPerSecond(o: LedgerLoopRequest): LedgerLoopReply {
  const db = new DatabaseSync(join(o.folder, 'bare.db'));
  db.exec(
    `PRAGMA journal_mode = WAL; PRAGMA synchronous = ${o.full ? 'FULL' : 'NORMAL'}; DROP TABLE IF EXISTS decision`,
  );
  db.exec(`CREATE TABLE decision (
    n INTEGER PRIMARY KEY, lane INTEGER NOT NULL, boot TEXT NOT NULL, seq INTEGER NOT NULL, part INTEGER NOT NULL,
    outcome TEXT NOT NULL, label TEXT, score REAL, received_ms REAL NOT NULL, body TEXT NOT NULL, evidence TEXT NOT NULL,
    UNIQUE (lane, boot, seq, part)) STRICT`);
  const insert = db.prepare('INSERT INTO decision VALUES (?, ?, ?, ?, 0, ?, ?, ?, ?, ?, ?)');
  const body = 'b'.repeat(o.bodyBytes);
  const evidence = 'e'.repeat(o.evidenceBytes);
  const commits: number[] = [];
  let rows = 0;
  const start = performance.now();
  while (performance.now() - start < o.ms) {
    const began = performance.now();
    db.exec('BEGIN IMMEDIATE');
    for (let i = 0; i < o.rowsPerCommit; i++) {
      rows++;
      insert.run(rows, rows % 64, 'k3v9', rows, 'decided', 'cat', 0.91, Date.now(), body, evidence);
    }
    db.exec('COMMIT');
    commits.push(performance.now() - began);
  }
  const perSecond = (rows * 1000) / (performance.now() - start);
  db.close();
  commits.sort((a, b) => a - b);
  return { perSecond, commitMsP99: commits[Math.floor(commits.length * 0.99)] ?? 0 };
}
