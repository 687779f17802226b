// A bare group-commit loop, as anybody would write it: rows of 2 KB, so many per transaction, each COMMIT waits for the disk.
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

export interface SqliteLoopRequest {
  readonly folder: string;
  readonly rowBytes: number;
  readonly rowsPerCommit: number;
  readonly ms: number;
}

export interface SqliteLoopReply {
  readonly perSecond: number;
}

process.on('message', (request: SqliteLoopRequest) => {
  process.send?.({ perSecond: rowsPerSecond(request) } satisfies SqliteLoopReply);
});
process.on('disconnect', () => process.exit(0));

function rowsPerSecond({ folder, rowBytes, rowsPerCommit, ms }: SqliteLoopRequest): number {
  const db = new DatabaseSync(join(folder, 'bare.db'));
  db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL');
  db.exec('CREATE TABLE IF NOT EXISTS row (id INTEGER PRIMARY KEY, bytes BLOB NOT NULL) STRICT; DELETE FROM row');
  const insert = db.prepare('INSERT INTO row VALUES (?, ?)');
  const bytes = new Uint8Array(rowBytes).fill(7);
  let rows = 0;
  const start = performance.now();
  while (performance.now() - start < ms) {
    db.exec('BEGIN IMMEDIATE');
    for (let i = 0; i < rowsPerCommit; i++) insert.run(++rows, bytes);
    db.exec('COMMIT');
  }
  const perSecond = (rows * 1000) / (performance.now() - start);
  db.close();
  return perSecond;
}
