import { createMirror, type Head, nextHead } from './mirror.ts';
import type { SoundStore } from './recovery.ts';
import { dropRestored } from './restored.ts';
import { createSums } from './sums.ts';

export interface ScrubReply {
  /** The page to go on with; 0: that was all. */
  readonly next: number;
  /** Pages whose bytes are not what was written. */
  readonly damaged: number[];
}

/**
 * What keeps the ledger honest while it runs: the running hash in each transaction, its mirror behind each COMMIT, checksums
 * of the pages behind each checkpoint.
 */
export function createIntegrity(folder: string, opened: SoundStore, nowMs: number) {
  const { store } = opened;
  const { db } = store;
  // SQLite's own checkpoints know of no checksums.
  db.exec('PRAGMA wal_autocheckpoint = 0');
  const sums = createSums(folder, db);
  const mirror = createMirror(folder, opened.mirror);
  const changes = db.prepare('SELECT total_changes() AS count');
  const save = db.prepare("INSERT INTO meta VALUES ('head', ?) ON CONFLICT DO UPDATE SET value = excluded.value");
  let head: Head = opened.head;
  let next: Head = head;
  let changesBefore = 0;

  // Before the mirror forgets what was lost.
  writeDown(opened);
  if (opened.verified && !sums.fresh) sums.checkpoint();
  else sums.build();
  mirror.adopt(head, nowMs);
  dropRestored(folder);

  function begin(): void {
    changesBefore = Number(changes.get()?.count);
  }

  /** What happened to the ledger; and a number that was given is not given again, also where its decision is lost. */
  function writeDown({ mirror: before, damage, restored }: SoundStore): void {
    head = { ...head, n: Math.max(head.n, before?.n ?? 0) };
    next = head;
    db.exec('BEGIN IMMEDIATE');
    db.prepare(
      "INSERT INTO meta VALUES ('n', ?1) ON CONFLICT DO UPDATE SET value = max(CAST(value AS INTEGER), ?1)",
    ).run(head.n);
    const note = db.prepare('INSERT INTO event (at_ms, kind, detail, accepted_ms) VALUES (?, ?, ?, ?)');
    for (const detail of damage) note.run(nowMs, 'damage', detail, null);
    if (restored !== undefined) note.run(nowMs, 'restored', restored, nowMs);
    db.exec('COMMIT');
  }

  function checkpoint(mode: 'passive' | 'truncate'): boolean {
    const whole = sums.checkpoint(mode);
    if (whole) mirror.covered();
    return whole;
  }

  return {
    begin,
    /** Before COMMIT. A transaction that changed nothing leaves no trace. @param parts what it was made of */
    seal(n: number, parts: Iterable<string>): void {
      if (Number(changes.get()?.count) === changesBefore) return;
      next = nextHead(head, Math.max(n, head.n), parts);
      save.run(JSON.stringify(next));
    },
    /** After COMMIT. @param full it was synced to the disk */
    committed(atMs: number, full: boolean): void {
      if (next === head) return;
      head = next;
      mirror.committed(head, atMs, full);
      if (sums.committed()) mirror.covered();
    },
    rolledBack(): void {
      next = head;
    },
    /** A later sync made sure of all that was committed without one. */
    synced: () => mirror.synced(),
    checkpoint,
    scrub: (from: number, pages: number): ScrubReply => sums.scrub(from, pages),
    /** Sentences about what was lost and nobody has taken note of. */
    get damage(): string[] {
      const text = "SELECT detail FROM event WHERE kind = 'damage' AND accepted_ms IS NULL ORDER BY id";
      return store
        .sql(text)
        .all()
        .map(({ detail }) => String(detail));
    },
    /** After the connection: closing a file drops the locks that the process has on it. */
    close(): void {
      mirror.close();
      sums.close();
    },
    get head(): Head {
      return head;
    },
  };
}
export type Integrity = ReturnType<typeof createIntegrity>;
