import type { AuditEntry, Scope } from '@brink/protocol';

/** Who asks. */
export interface Caller {
  readonly kind: AuditEntry['who']['kind'];
  /** Of the token. */
  readonly id?: string;
  /** Stands in the audit and with what was ordered. */
  readonly name: string;
  readonly address: string;
  readonly scopes: readonly Scope[];
  /** Names and patterns; undefined: all devices. */
  readonly devices?: readonly string[] | undefined;
}
