import type { Ack, ActionConfig, ActionRecord, DeviceRecord, PublishedConfiguration } from '@brink/protocol';
import type { Clock, Logger, Part } from '@brink/runtime';
import type { AccessChange } from './access-rows.ts';
import type { ArmingOrder } from './arming.ts';
import type { LedgerCopy } from './backup/copies.ts';
import type { MachineTime } from './clock-at-start.ts';
import type { DiskLimits, DiskState, DiskUse } from './disk.ts';
import type { DevicePatch, Testing } from './messages.ts';
import type {
  AckOutcome,
  Activation,
  AttemptOutcome,
  CommitResult,
  Committed,
  FireOrder,
  Lease,
  LeaseOptions,
  LedgerItem,
  LedgerReads,
} from './records.ts';

export interface LedgerConfig {
  /** Existing, writable folder; ledger.db lies in it. One ledger per folder: the caller holds its lock. */
  readonly folder: string;
  /** Groups begin at least so far apart, ms. */
  readonly groupMs?: number;
  /** Operations that wait for a COMMIT; beyond: E_BUSY. */
  readonly queueMax?: number;
  /** Decisions and dead letters older than this are deleted; ended actions and what they refer to live as long. */
  readonly retainDays?: number;
  /** At most so many decisions. */
  readonly retainRows?: number;
  /** At most so many bytes of the file, and never more than half of the disk; beyond, the oldest decisions go. */
  readonly retainBytes?: number;
  /** Sums by the minute are deleted after so many days. */
  readonly retainSummaryDays?: number;
  readonly disk?: Partial<DiskLimits>;
  /** How long a timer of a rule waits for decisions that are under way before it is taken as due, ms. */
  readonly timerGraceMs?: number;
  /** Between two copies of the ledger; absent or 0: none is made by itself. */
  readonly copyEveryMs?: number;
  /** Copies that stay. */
  readonly copiesKept?: number;
  readonly testing?: Testing;
}

export interface LedgerDeps {
  readonly logger: Logger;
  readonly clock: Clock;
  /** How long the machine runs: tells a clock that was set from time that passed while control was down. */
  readonly machine?: () => MachineTime;
  /** How full the disk is; default: as the system says. */
  readonly use?: (folder: string) => Promise<DiskUse>;
}

interface LedgerStats {
  readonly queued: number;
  /** Evaluations of rules that did not end, since start. */
  readonly hangs: number;
  readonly committed: number;
  readonly duplicates: number;
  readonly groups: number;
  readonly refusedBusy: number;
  readonly failedCommits: number;
  readonly actions: number;
  readonly purged: number;
  readonly lastCommitMs: number;
  readonly walBytes: number;
  /** Decisions that are kept as rows at present. */
  readonly rows: number;
  /** Of the file, in use. */
  readonly bytes: number;
  /** Decisions that `keep` left out, since start. */
  readonly unkept: number;
  readonly refusedFull: number;
  readonly diskState: DiskState;
  readonly diskFreeBytes: number;
  readonly diskPercent: number;
  /** Copies of the ledger since start, and those that could not be made. */
  readonly copies: number;
  readonly copiesFailed: number;
  /** When the newest copy was made, seconds since 1970; 0: there is none. */
  readonly copiedAt: number;
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
  configure(published: PublishedConfiguration, activation?: Activation): Promise<void>;
  ack(device: string, ack: Ack): Promise<AckOutcome>;
  /** Called after each COMMIT, in order. Must not throw and must not wait. */
  onCommitted(listener: (committed: Committed) => void): void;

  // outbox
  /**
   * Takes due rows, oldest due first of each outlet. Ends expired ones on the way.
   * @param options rooms: how many each outlet may take, by its name; one that is not named: `limit`. holdUntilMs: a
   * command that may have left before is not sent again until then, for its ack may be on its way
   */
  lease(options: LeaseOptions): Promise<Lease>;
  settle(outcomes: readonly AttemptOutcome[]): Promise<void>;
  /** Called when rows may have become due: after a COMMIT with actions, a retry, an order. */
  onDue(listener: () => void): void;
  /** An action that a person ordered, not a rule. `id` is its idempotency key. */
  order(id: string, config: ActionConfig, by: string): Promise<ActionRecord>;
  /** A new life for an ended action: pending again, under the same key. Rejects E_NOT_FOUND, E_CONFLICT. */
  retry(id: string): Promise<ActionRecord>;
  /** The same for many, in one transaction; those that cannot be (acknowledged, not ended, unknown) are left out. */
  retryAll(ids: readonly string[]): Promise<ActionRecord[]>;
  /** Rejects E_NOT_FOUND, E_CONFLICT where it has ended. */
  cancel(id: string): Promise<ActionRecord>;

  // rules
  /** Sets a rule aside from here on in the log, or arms it again. Rejects E_NOT_FOUND, E_BAD_REQUEST where until is over. */
  arm(rule: string, order: ArmingOrder | undefined): Promise<void>;
  /** A test: the actions of a rule go out now, whatever its condition, state and cooldown say. Rejects E_NOT_FOUND. */
  fire(order: FireOrder): Promise<ActionRecord[]>;

  // devices
  /** `retained`: how it is, and nothing of when it was seen. `unknown`: of one that is there. */
  deviceStatus(
    device: string,
    state: 'online' | 'offline' | 'unknown',
    options?: { readonly retained: boolean },
  ): Promise<void>;
  /** Adds or changes. Fields that are not given stay. */
  putDevice(name: string, patch: DevicePatch): Promise<DeviceRecord>;
  /** Removes the device's row. @returns whether there was one */
  deleteDevice(name: string): Promise<boolean>;

  /** The device and all that it left, in pieces. @returns how many rows that were */
  forget(name: string): Promise<number>;

  /** What else there was of it is gone as well: a restart need not go on with it. */
  forgot(name: string): Promise<void>;

  /** Looks after the disk now: the log goes into the file, and is emptied. */
  look(): Promise<void>;

  /** Tokens and the audit. Resolves with what the change made (access.ts). Rejects E_NOT_FOUND, E_CONFLICT. */
  access<T>(change: AccessChange): Promise<T>;

  /** Deletes at most `rows` rows that are past their age. Runs by itself once a minute. */
  retain(rows: number): Promise<{ deleted: number }>;
  /** A copy in backups/, now. @param keep copies that stay, this one with them. Rejects E_STORAGE_FULL, E_STORAGE_CORRUPT. */
  copy(keep?: number): Promise<LedgerCopy>;
  /** Those that there are, newest first. */
  copies(): LedgerCopy[];
  /** Somebody has taken note of what was lost. @returns how many sentences that were */
  acceptDamage(): Promise<number>;
  /** What was lost and nobody has taken note of, in sentences. It goes on meanwhile. */
  readonly damage: readonly string[];
  readonly read: LedgerReads;
  /** Why it cannot commit at present, for /readyz. */
  readonly problem: string | undefined;
  /** What people should know though it works. */
  readonly notes: readonly string[];
  readonly stats: LedgerStats;
}
