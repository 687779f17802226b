import type { AuditEntry, Token } from '@brink/protocol';

export interface NewTokenRow extends Omit<Token, 'created_at' | 'expires_at' | 'revoked_at' | 'last_used_at'> {
  /** Hexadecimal, of the whole text. */
  readonly sha256: string;
  readonly created_ms: number;
  readonly expires_ms: number;
}

export interface TokenRow extends Token {
  readonly sha256: string;
}

export interface AuditQuery {
  readonly who?: string | undefined;
  readonly path?: string | undefined;
  readonly since_ms?: number | undefined;
  readonly until_ms?: number | undefined;
  /** Newest first; older than this number (`next` of the page before). */
  readonly before?: number | undefined;
  readonly limit: number;
}

/** A stretch of the audit, oldest first, as far as each entry follows from the one before. */
export interface AuditStretch {
  readonly rows: number;
  /** The last that was looked at, and its hash: where the next stretch begins. */
  readonly last?: { readonly n: number; readonly sha256: string } | undefined;
  readonly more: boolean;
  /** The first that does not follow. */
  readonly broken?: number | undefined;
}

export type NewAuditEntry = Omit<AuditEntry, 'n' | 'sha256'>;

export type AccessChange =
  | { readonly change: 'putToken'; readonly token: NewTokenRow }
  | { readonly change: 'revokeToken'; readonly id: string }
  /** Ids, and when each was used last. */
  | { readonly change: 'useTokens'; readonly used: [id: string, ms: number][] }
  | { readonly change: 'audit'; readonly entry: NewAuditEntry };
