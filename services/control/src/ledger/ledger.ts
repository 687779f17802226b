import type { Ack, ActionConfig, ActionRecord, DeviceRecord, PublishedConfiguration } from '@brink/protocol';
import type { Clock, Logger, Part } from '@brink/runtime';
import type { AckOutcome, AttemptOutcome, CommitResult, Committed, Lease, LedgerItem, LedgerReads } from './records.ts';

export interface LedgerConfig {
  /** Existing, writable folder; ledger.db lies in it. One ledger per folder: the caller holds its lock. */
  readonly folder: string;
  /** How long the first unit of a group waits for others, ms. */
  readonly groupMs?: number;
  /** Operations that wait for a COMMIT; beyond: E_BUSY. */
  readonly queueMax?: number;
  /** Decisions and dead letters older than this are deleted; ended actions and what they refer to live as long. */
  readonly retainDays?: number;
  /** At most so many decisions. */
  readonly retainRows?: number;
}

export interface LedgerDeps {
  readonly logger: Logger;
  readonly clock: Clock;
}

export interface LedgerStats {
  readonly queued: number;
  readonly committed: number;
  readonly duplicates: number;
  readonly groups: number;
  readonly refusedBusy: number;
  readonly failedCommits: number;
  readonly actions: number;
  readonly purged: number;
  readonly lastCommitMs: number;
  readonly walBytes: number;
  /** Gaps in a lane's numbers that were closed to keep `seen` small. */
  readonly gapsClosed: number;
}

/**
 * The one place that knows what happened. Every write is one operation in one ordered log; operations that arrive
 * together are one transaction. A promise that resolves means COMMITTED.
 */
export interface Ledger extends Part {
  /**
   * start rejects E_STORAGE_READONLY, E_STORAGE_NEWER, E_STORAGE_CORRUPT.
   * Outcomes and dead letters of one batch, in order. Resolves after COMMIT; a repeat counts as committed.
   * Rejects E_BUSY (queue full), E_STORAGE_FULL (nothing of it was written; send again), E_UNAVAILABLE (stopped).
   */
  commit(items: readonly LedgerItem[]): Promise<CommitResult>;
  /** Swaps rules between two decisions and stores the revision. Rejects E_RULE or E_CONFIG and changes nothing. */
  configure(published: PublishedConfiguration): Promise<void>;
  ack(device: string, ack: Ack): Promise<AckOutcome>;
  /** Called after each COMMIT, in order. Must not throw and must not wait. */
  onCommitted(listener: (committed: Committed) => void): void;

  // outbox
  /** Takes due rows, oldest due first. Ends expired ones on the way. */
  lease(options: { limit: number; leaseMs: number }): Promise<Lease>;
  settle(outcomes: readonly AttemptOutcome[]): Promise<void>;
  /** Called when rows may have become due: after a COMMIT with actions, a retry, an order. */
  onDue(listener: () => void): void;
  /** An action that a person ordered, not a rule. `id` is its idempotency key. */
  order(id: string, config: ActionConfig, by: string): Promise<ActionRecord>;
  /** A new life for an ended action: pending again, under the same key. Rejects E_NOT_FOUND, E_CONFLICT. */
  retry(id: string): Promise<ActionRecord>;
  /** Rejects E_NOT_FOUND, E_CONFLICT where it has ended. */
  cancel(id: string): Promise<ActionRecord>;

  // devices
  deviceStatus(device: string, state: 'online' | 'offline'): Promise<void>;
  /** Adds or changes. Fields that are not given stay. */
  putDevice(
    name: string,
    patch: { registered?: boolean; note?: string; credentials_at?: string },
  ): Promise<DeviceRecord>;
  /** Removes the device's row. @returns whether there was one */
  deleteDevice(name: string): Promise<boolean>;

  /** Deletes at most `rows` rows that are past their age. Runs by itself once a minute. */
  retain(rows: number): Promise<{ deleted: number }>;
  readonly read: LedgerReads;
  /** Why it cannot commit at present, for /readyz. */
  readonly problem: string | undefined;
  readonly stats: LedgerStats;
}

export declare function createLedger(config: LedgerConfig, deps: LedgerDeps): Ledger;
