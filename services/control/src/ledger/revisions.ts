import type { PublishedConfiguration } from '@brink/protocol';
import type { ActivationOrigin, Revision, RevisionFile } from './records.ts';
import { iso } from './rows.ts';
import type { Store } from './store.ts';

/** Activations that are remembered; a revision goes with the last activation that speaks of it. */
const ACTIVATIONS_MAX = 500;
/** Of all of them together: a site can be large. */
const BYTES_MAX = 64 * 1024 * 1024;

/**
 * The one that was activated last, or the one named. Order is that of activation, not of the clock: a clock that was put back must not
 * bring an older configuration back.
 */
export function loadPublished(store: Store, revision?: string): PublishedConfiguration | undefined {
  const row =
    revision === undefined
      ? store
          .sql(
            `SELECT body FROM config_revision JOIN config_activation USING (revision)
             ORDER BY config_activation.id DESC LIMIT 1`,
          )
          .get()
      : store.sql('SELECT body FROM config_revision WHERE revision = ?').get(revision);
  return row === undefined ? undefined : (JSON.parse(String(row.body)) as PublishedConfiguration);
}

/** Remembers that it is active from now on, who made it so, and the files that it was read from, where they are known. */
export function savePublished(
  store: Store,
  published: PublishedConfiguration,
  o: { nowMs: number; origin?: ActivationOrigin | undefined; files?: readonly RevisionFile[] | undefined },
): void {
  const files = o.files === undefined ? null : JSON.stringify(o.files);
  store
    .sql(
      `INSERT INTO config_revision (revision, body, activated_ms, files) VALUES (?, ?, ?, ?)
       ON CONFLICT DO UPDATE SET body = excluded.body, activated_ms = excluded.activated_ms,
         files = coalesce(excluded.files, files)`,
    )
    .run(published.revision, JSON.stringify(published), o.nowMs, files);
  const last = store.sql('SELECT revision FROM config_activation ORDER BY id DESC LIMIT 1').get();
  // A restart activates again what is active: nothing changed.
  if (last?.revision === published.revision) return;
  store
    .sql('INSERT INTO config_activation (revision, previous, at_ms, how, author) VALUES (?, ?, ?, ?, ?)')
    .run(
      published.revision,
      last === undefined ? null : String(last.revision),
      o.nowMs,
      o.origin?.how ?? 'files',
      o.origin?.by ?? null,
    );
  forgetOldest(store);
}

/** The newest that fit; the active one, and what was before it, always do. */
function forgetOldest(store: Store): void {
  const rows = store
    .sql(
      `SELECT id, length(body) + coalesce(length(files), 0) AS bytes FROM config_activation JOIN config_revision USING (revision)
       ORDER BY id DESC`,
    )
    .all();
  let bytes = 0;
  const kept = rows.slice(0, ACTIVATIONS_MAX).filter((row, index) => {
    bytes += Number(row.bytes);
    return index < 2 || bytes <= BYTES_MAX;
  });
  if (kept.length === rows.length) return;
  store.sql('DELETE FROM config_activation WHERE id < ?').run(Number(kept.at(-1)?.id ?? 0));
  store
    .sql(
      `DELETE FROM config_revision WHERE revision NOT IN (SELECT revision FROM config_activation)
       AND revision NOT IN (SELECT previous FROM config_activation WHERE previous IS NOT NULL)`,
    )
    .run();
}

/** Activations, newest first: a revision that came back stands there twice. */
export function listRevisions(store: Store, limit: number): Revision[] {
  const text = 'SELECT revision, previous, at_ms, how, author FROM config_activation ORDER BY id DESC LIMIT ?';
  return store
    .sql(text)
    .all(limit)
    .map((row) => ({
      revision: String(row.revision),
      activated_at: iso(row.at_ms),
      how: String(row.how) as Revision['how'],
      by: row.author === null ? null : String(row.author),
      previous: row.previous === null ? null : String(row.previous),
    }));
}

/** The files that a revision was read from, comments and all; undefined where nobody kept them. */
export function loadFiles(store: Store, revision: string): RevisionFile[] | undefined {
  const row = store.sql('SELECT files FROM config_revision WHERE revision = ?').get(revision);
  return row === undefined || row.files === null ? undefined : (JSON.parse(String(row.files)) as RevisionFile[]);
}
