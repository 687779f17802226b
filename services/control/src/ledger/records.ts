import type {
  ActionConfig,
  ActionExplanation,
  ActionKind,
  ActionRecord,
  ActionState,
  AuditEntry,
  CommittedCounts,
  DeadLetter,
  DeadRecord,
  Decision,
  DecisionExplanation,
  DecisionSummary,
  DeviceRecord,
  Outcome,
  PublishedConfiguration,
  RuleArming,
  RuleState,
} from '@brink/protocol';
import type { AuditQuery, AuditStretch, TokenRow } from './access-rows.ts';

/** What the gateway sends: the checked value, and the text it came as (kept, so that it is not written again). */
export type LedgerItem =
  | { readonly kind: 'outcome'; readonly outcome: Outcome; readonly json: string }
  | { readonly kind: 'dead'; readonly letter: DeadLetter; readonly json: string };

/** A duplicate is committed too: it was there before. `inserted + duplicates` is the number of items. */
export interface CommitResult {
  readonly inserted: number;
  readonly duplicates: number;
}

/** A decision after COMMIT, with the text that the feed, SSE and HTTP send. */
export interface CommittedDecision {
  readonly decision: Decision;
  readonly json: string;
  /** W3C trace context as the gateway left it, where the frame is traced. */
  readonly traceparent?: string | undefined;
}

/** What one COMMIT brought, in order of `n`. */
export interface Committed {
  readonly decisions: readonly CommittedDecision[];
  /**
   * New actions of every state (pending ones are due at once, suppressed ones are only to be shown), then those that
   * ended without an ack: expired, dead, cancelled, suppressed.
   */
  readonly actions: readonly ActionRecord[];
}

export interface DecisionQuery {
  readonly device?: string | undefined;
  readonly stream?: string | undefined;
  readonly pipeline?: string | undefined;
  readonly label?: string | undefined;
  readonly score_min?: number | undefined;
  readonly outcome?: Outcome['outcome'] | undefined;
  /** ms since 1970, of received_at: since ≤ received < until. */
  readonly since_ms?: number | undefined;
  readonly until_ms?: number | undefined;
  /** Ascending from here, exclusive. Without it: newest first. */
  readonly after?: number | undefined;
  /** 1 … 500. */
  readonly limit: number;
}

export interface SummaryQuery {
  readonly device?: string | undefined;
  readonly stream?: string | undefined;
  readonly pipeline?: string | undefined;
  /** ms since 1970, of received_at: since ≤ received < until; since is taken down to a whole bucket. */
  readonly since_ms: number;
  readonly until_ms: number;
  /** A multiple of 60; at most 500 buckets. */
  readonly bucket_s: number;
}

export interface ActionQuery {
  readonly state?: ActionState | undefined;
  readonly rule?: string | undefined;
  /** The device of a command, the topic of a publish, a name of `targets`. */
  readonly target?: string | undefined;
  readonly kind?: ActionKind | undefined;
  /** Of the error that it ended with, or that its last attempt had. */
  readonly code?: string | undefined;
  /** ms since 1970, of its making: since ≤ created < until. */
  readonly since_ms?: number | undefined;
  readonly until_ms?: number | undefined;
  /** Newest first; older than this row number (`next` of the page before). */
  readonly before?: number | undefined;
  readonly limit: number;
}

export interface DeadQuery {
  readonly device?: string | undefined;
  readonly stream?: string | undefined;
  readonly code?: string | undefined;
  /** Newest first; older than this id (`next` of the page before). */
  readonly before?: number | undefined;
  readonly limit: number;
}

/** `next` is absent on the last page. */
export interface Page<T> {
  readonly items: T[];
  readonly next?: number;
}

/** How a configuration came to be active: files that were written by hand, an edit over HTTP, or going back to an earlier one. */
export interface ActivationOrigin {
  readonly how: 'files' | 'http' | 'rollback';
  /** Who asked for it, as audit names them; undefined where nobody knows. */
  readonly by?: string | undefined;
}

/** One file of the configuration folder. */
export interface RevisionFile {
  /** Without its folder. */
  readonly name: string;
  readonly text: string;
}

/** What is remembered of an activation besides the configuration itself. */
export interface Activation {
  readonly origin?: ActivationOrigin | undefined;
  /** What it was read from; undefined: nobody knows. */
  readonly files?: readonly RevisionFile[] | undefined;
}

/** One activation. */
export interface Revision {
  readonly revision: string;
  readonly activated_at: string;
  readonly how: ActivationOrigin['how'];
  readonly by: string | null;
  /** What was active before. */
  readonly previous: string | null;
}

/** A person fires a rule to see what it does. */
export interface FireOrder {
  readonly rule: string;
  readonly phase: 'then' | 'on_release';
  /** What templates are filled from. */
  readonly decision: Partial<Decision> & Pick<Decision, 'id' | 'device' | 'stream' | 'pipeline'>;
  /** It is of no frame: its id is made up. */
  readonly sample: boolean;
  readonly by: string;
}

/** `unknown`: no such action. `foreign`: of another device. `late`: it had ended before; recorded all the same. */
export type AckOutcome = 'acked' | 'refused' | 'unknown' | 'foreign' | 'late';

/** A row of the outbox that the dispatcher holds until `leased_until_ms`. */
export interface LeasedAction {
  readonly id: string;
  readonly kind: ActionRecord['kind'];
  readonly config: ActionConfig;
  readonly decision: string;
  /** The device of a command, the topic of a publish, a name of `targets`. */
  readonly target: string;
  /** The way by which it leaves: `mqtt`, `record`, `to:<target>`. */
  readonly outlet: string;
  /** When it was made, or a person asked for it again. */
  readonly asked_ms: number;
  /** Rule time of what led to it: received_at of the decision, or when a timer was due. */
  readonly at_ms: number;
  /** This attempt, from 1. */
  readonly attempt: number;
  readonly expires_ms: number;
  readonly leased_until_ms: number;
}

export interface LeaseOptions {
  readonly limit: number;
  readonly leaseMs: number;
  /** By outlet. */
  readonly rooms?: Readonly<Record<string, number>> | undefined;
  readonly holdUntilMs?: number | undefined;
}

export interface Lease {
  readonly actions: LeasedAction[];
  /** When the next row is due that is not among these; undefined: nothing waits. */
  readonly nextDueMs: number | undefined;
}

/**
 * What became of an attempt. `acked`: it left and the answer was that it was taken. `sent`: it left; where an ack is required the row is due again at `retryMs`, else that was
 * all. `failed`: it did not leave; due again at `retryMs`. `dead`: it never will be.
 */
export type AttemptOutcome =
  | { readonly id: string; readonly attempt: number; readonly result: 'acked'; readonly status: number }
  | { readonly id: string; readonly attempt: number; readonly result: 'sent'; readonly retryMs?: number }
  | {
      readonly id: string;
      readonly attempt: number;
      readonly result: 'failed';
      readonly code: string;
      readonly detail: string;
      readonly retryMs: number;
    }
  | {
      readonly id: string;
      readonly attempt: number;
      readonly result: 'dead';
      readonly code: string;
      readonly detail: string;
    };

/** Everything that can be read. Runs on a connection and a thread of its own: a long read never holds up a commit. */
export interface LedgerReads {
  decisions(query: DecisionQuery): Promise<Page<Decision>>;
  /** By id; undefined where there is none. */
  decision(id: string): Promise<Decision | undefined>;
  explainDecision(id: string): Promise<DecisionExplanation | undefined>;
  /** Sums over all lanes that are asked for, bucket by bucket; also of what is not kept. Rejects E_BAD_REQUEST. */
  summary(query: SummaryQuery): Promise<DecisionSummary>;
  actions(query: ActionQuery): Promise<Page<ActionRecord>>;
  action(id: string): Promise<ActionRecord | undefined>;
  explainAction(id: string): Promise<ActionExplanation | undefined>;
  /** When the oldest action was made that has not ended, ms since 1970. */
  oldestOpenAction(): Promise<number | undefined>;
  dead(query: DeadQuery): Promise<Page<DeadRecord>>;
  deadLetter(id: string): Promise<DeadRecord | undefined>;
  /** All rules of the active configuration, or the one. @param nowMs when a snooze or a cooldown is over; default now */
  ruleStates(rule?: string, nowMs?: number): Promise<RuleState[]>;
  /** Rules that are disarmed or snoozed, by name. */
  setAside(nowMs?: number): Promise<(RuleArming & { rule: string })[]>;
  devices(): Promise<DeviceRecord[]>;
  device(name: string): Promise<DeviceRecord | undefined>;
  /** Devices of which `forget` was asked, and not said that all of it is done. */
  unforgotten(): Promise<string[]>;
  /** Whether anything is known of a device of this name, be it that it was forgotten. */
  hasTraces(name: string): Promise<boolean>;
  tokens(): Promise<TokenRow[]>;
  audit(query: AuditQuery): Promise<Page<AuditEntry>>;
  auditStretch(after?: { readonly n: number; readonly sha256: string }): Promise<AuditStretch>;
  counts(): Promise<CommittedCounts[]>;
  actionCounts(): Promise<Partial<Record<ActionState, number>>>;
  deadCounts(): Promise<{ code: string; count: number }[]>;
  /** Activations, newest first. */
  revisions(limit: number): Promise<Revision[]>;
  /** The newest, or the one named: what control starts with when the folder's is not valid. */
  configuration(revision?: string): Promise<PublishedConfiguration | undefined>;
  /** The files that a revision was read from; undefined where they were not kept. */
  configurationFiles(revision: string): Promise<RevisionFile[] | undefined>;
}
