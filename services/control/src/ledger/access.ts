import { createHash } from 'node:crypto';
import { type AuditEntry, BrinkError } from '@brink/protocol';
import type { AccessChange, AuditQuery, AuditStretch, NewAuditEntry, NewTokenRow, TokenRow } from './access-rows.ts';
import { all, limited, one } from './pages.ts';
import type { Page } from './records.ts';
import { iso } from './rows.ts';
import type { Row, Store } from './store.ts';

// Who may come in over HTTP, and what they did. Tokens are kept by SHA-256; entries of the audit are chained, each by the hash of
// the one before, so that one that was changed or taken out is noticed.

/** About 300 MB, or a change each minute for two years. */
const AUDIT_ROWS_MAX = 1_000_000;
const TRIM_EVERY = 1000;
/** Live ones; revoked and expired ones stay to be named in the audit, and go when they are old. */
const TOKENS_MAX = 1000;
const TOKENS_KEPT_MS = 366 * 86_400_000;
const STRETCH_ROWS = 1000;

export function createAccess(store: Store) {
  let last: { n: number; sha256: string } | undefined;

  function newest(): { n: number; sha256: string } {
    if (last !== undefined) return last;
    const row = one(store, 'SELECT n, sha256 FROM audit ORDER BY n DESC LIMIT 1');
    return row === undefined ? { n: 0, sha256: '' } : { n: Number(row.n), sha256: String(row.sha256) };
  }

  function putToken(token: NewTokenRow, nowMs: number): TokenRow {
    store.sql('DELETE FROM token WHERE max(expires_ms, coalesce(revoked_ms, 0)) < ?').run(nowMs - TOKENS_KEPT_MS);
    const live = one(store, 'SELECT count(*) AS n FROM token WHERE revoked_ms IS NULL AND expires_ms > ?', nowMs);
    if (Number(live?.n) >= TOKENS_MAX)
      throw new BrinkError('E_CONFLICT', `there are ${TOKENS_MAX} tokens; expected fewer, revoke some`);
    store
      .sql(
        `INSERT INTO token (id, name, sha256, scopes, devices, created_ms, created_by, expires_ms)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
      )
      .run(
        ...[token.id, token.name, token.sha256, JSON.stringify(token.scopes)],
        token.devices === undefined ? null : JSON.stringify(token.devices),
        ...[token.created_ms, token.created_by, token.expires_ms],
      );
    return known(token.id);
  }

  function known(id: string): TokenRow {
    const row = one(store, 'SELECT * FROM token WHERE id = ?', id);
    if (row === undefined) throw new BrinkError('E_NOT_FOUND', `there is no token "${id.slice(0, 80)}"`);
    return tokenRow(row);
  }

  function audit(entry: NewAuditEntry): number {
    const before = newest();
    const n = before.n + 1;
    const body = JSON.stringify(entry);
    const sha256 = chained(before.sha256, n, body);
    store
      .sql('INSERT INTO audit (n, at_ms, who, path, body, sha256) VALUES (?, ?, ?, ?, ?, ?)')
      .run(n, Date.parse(entry.at), entry.who.name, entry.path, body, sha256);
    if (n % TRIM_EVERY === 0) store.sql('DELETE FROM audit WHERE n <= ?').run(n - AUDIT_ROWS_MAX);
    last = { n, sha256 };
    return n;
  }

  return {
    apply(change: AccessChange, nowMs: number): unknown {
      switch (change.change) {
        case 'putToken':
          return putToken(change.token, nowMs);
        case 'revokeToken':
          store.sql('UPDATE token SET revoked_ms = coalesce(revoked_ms, ?) WHERE id = ?').run(nowMs, change.id);
          return known(change.id);
        case 'useTokens':
          for (const [id, ms] of change.used) store.sql('UPDATE token SET used_ms = ? WHERE id = ?').run(ms, id);
          return undefined;
        case 'audit':
          return audit(change.entry);
      }
    },
    /** After a ROLLBACK. */
    forget(): void {
      last = undefined;
    },
  };
}

export function createAccessReads(store: Store) {
  return {
    tokens: (): TokenRow[] => all(store, 'SELECT * FROM token ORDER BY created_ms, id').map(tokenRow),

    audit({ who, path, since_ms, until_ms, before, limit }: AuditQuery): Page<AuditEntry> {
      const text = `SELECT n, body, sha256 FROM audit WHERE n < ?1 AND (?2 = '' OR who = ?2)
        AND (?3 = '' OR path = ?3 OR substr(path, 1, length(?3) + 1) = ?3 || '/') AND at_ms >= ?4 AND at_ms < ?5
        ORDER BY n DESC LIMIT ${limited(limit)}`;
      const times = [since_ms ?? -8.64e15, until_ms ?? 8.64e15];
      const rows = all(store, text, before ?? Number.MAX_SAFE_INTEGER, who ?? '', path ?? '', ...times);
      const items = rows.map((row) => auditEntry(row));
      const end = items.at(-1);
      return { items, ...(end !== undefined && items.length === limit ? { next: end.n } : {}) };
    },

    /** @param after where the stretch before ended; undefined: from the oldest that is kept, which is taken as it is */
    auditStretch(after?: { readonly n: number; readonly sha256: string }): AuditStretch {
      const text = `SELECT n, body, sha256 FROM audit WHERE n > ? ORDER BY n LIMIT ${STRETCH_ROWS}`;
      const rows = all(store, text, after?.n ?? 0);
      let at = after;
      for (const row of rows) {
        const n = Number(row.n);
        const sha256 = String(row.sha256);
        const first = at === undefined && n > 1;
        const follows = n === (at?.n ?? 0) + 1 && sha256 === chained(at?.sha256 ?? '', n, String(row.body));
        if (!first && !follows) return { rows: rows.length, more: false, broken: n };
        at = { n, sha256 };
      }
      return { rows: rows.length, more: rows.length === STRETCH_ROWS, last: at };
    },
  };
}

const chained = (before: string, n: number, body: string) =>
  createHash('sha256').update(`${before}\n${n}\n${body}`).digest('hex');

const auditEntry = (row: Row): AuditEntry => ({
  n: Number(row.n),
  ...(JSON.parse(String(row.body)) as NewAuditEntry),
  sha256: String(row.sha256),
});

function tokenRow(row: Row): TokenRow {
  const { devices, revoked_ms, used_ms } = row;
  return {
    id: String(row.id),
    name: String(row.name),
    sha256: String(row.sha256),
    scopes: JSON.parse(String(row.scopes)),
    ...(devices === null ? {} : { devices: JSON.parse(String(devices)) }),
    created_at: iso(row.created_ms),
    created_by: String(row.created_by),
    expires_at: iso(row.expires_ms),
    ...(revoked_ms === null ? {} : { revoked_at: iso(revoked_ms) }),
    ...(used_ms === null ? {} : { last_used_at: iso(used_ms) }),
  };
}
