import type { Ack, ActionConfig, ActionRecord, PublishedConfiguration } from '@brink/protocol';
import type { AccessChange } from './access-rows.ts';
import type { ArmingOrder } from './arming.ts';
import type { LedgerCopy } from './backup/copies.ts';
import type { MachineTime } from './clock-at-start.ts';
import type { Activation, AttemptOutcome, FireOrder } from './records.ts';

// What the ledger and its two threads say to each other. Outcomes travel as the text they came as: a string is handed
// over at a fraction of what cloning the object would cost.

/** What is not given stays; null takes it away. */
export interface DevicePatch {
  readonly registered?: boolean | undefined;
  readonly note?: string | null | undefined;
  readonly credentials_at?: string | null | undefined;
}

/** A rule whose evaluation did not end. */
export interface HungRule {
  readonly rule: string;
  readonly note: string;
}

/** One operation of the log. `commit`: JSON texts, and which of them are dead letters. */
export type Operation =
  | { readonly op: 'commit'; readonly texts: string[]; readonly dead: boolean[] }
  | { readonly op: 'configure'; readonly published: PublishedConfiguration; readonly activation: Activation }
  | { readonly op: 'ack'; readonly device: string; readonly ack: Ack }
  | { readonly op: 'tick'; readonly dueMs: number }
  /** Rules whose evaluation did not end. */
  | { readonly op: 'rest'; readonly hung: readonly HungRule[] }
  | {
      readonly op: 'lease';
      readonly limit: number;
      readonly leaseMs: number;
      readonly rooms?: Readonly<Record<string, number>> | undefined;
      readonly holdUntilMs?: number | undefined;
    }
  | { readonly op: 'settle'; readonly outcomes: AttemptOutcome[] }
  | { readonly op: 'order'; readonly id: string; readonly config: ActionConfig; readonly by: string }
  | { readonly op: 'retry'; readonly id: string }
  | { readonly op: 'retryAll'; readonly ids: string[] }
  | { readonly op: 'cancel'; readonly id: string }
  /** Without an order: armed again. */
  | { readonly op: 'arm'; readonly rule: string; readonly order?: ArmingOrder | undefined }
  | ({ readonly op: 'fire' } & FireOrder)
  | {
      readonly op: 'deviceStatus';
      readonly device: string;
      readonly state: 'online' | 'offline' | 'unknown';
      readonly retained: boolean;
    }
  | {
      readonly op: 'putDevice';
      readonly name: string;
      readonly patch: DevicePatch;
    }
  | { readonly op: 'deleteDevice'; readonly name: string }
  | { readonly op: 'access'; readonly change: AccessChange }
  | { readonly op: 'retain'; readonly rows: number }
  /** Compares pages with their checksums, between transactions. */
  | { readonly op: 'scrub'; readonly from: number; readonly pages: number }
  /** A piece of forgetting a device; the first from 0. */
  | { readonly op: 'forget'; readonly device: string; readonly from: number }
  /** All that could be reached of it is gone. */
  | { readonly op: 'forgot'; readonly device: string }
  /** The wall clock was set. */
  | { readonly op: 'clock'; readonly shiftMs: number; readonly why: string }
  /** Somebody has taken note of what was lost. */
  | { readonly op: 'acceptDamage' }
  /** Looks after the disk: the WAL is emptied, room kept for bad times. */
  | { readonly op: 'look' };

/** Operations that arrived together: one transaction. */
export interface Group {
  readonly id: number;
  readonly nowMs: number;
  /** The wall clock was set since the last group, by so much; 0: it was not. */
  readonly shiftMs: number;
  /** FULL: at least one of them is a promise to someone outside. */
  readonly full: boolean;
  readonly operations: Operation[];
}

export interface Failure {
  readonly code: string;
  readonly detail: string;
}

/** Of a `commit` operation: running number and text per item; 0 and "" for duplicates and dead letters. */
export interface CommitReply {
  readonly ns: number[];
  readonly texts: string[];
  /** Items that are in the table now: the others are to be had from the feed alone (`keep`). */
  readonly kept: boolean[];
  readonly duplicates: number;
  readonly revision: string;
}

export interface GroupReply {
  readonly id: number;
  /** In order of the operations. */
  readonly results: ({ readonly value: unknown } | { readonly failure: Failure })[];
  /** New ones. */
  readonly actions: ActionRecord[];
  /** Older ones that ended without an ack. */
  readonly ended: ActionRecord[];
  readonly nextTimerMs: number | undefined;
  readonly outboxDue: boolean;
  readonly commitMs: number;
  readonly gapsClosed: number;
  /** Rows of decisions, and bytes of the file that are in use. */
  readonly rows: number;
  readonly bytes: number;
  /** There is no room on the disk: what takes something in is refused. */
  readonly short: boolean;
}

export type Query = { readonly id: number; readonly method: string; readonly args: unknown[] };
export type Answer = { readonly id: number } & ({ readonly value: unknown } | { readonly failure: Failure });

export interface Ready {
  readonly ready: true;
  readonly nextTimerMs?: number | undefined;
  /** What was odd at start, in sentences to log. */
  readonly warnings: string[];
  /** What was lost, at this start or before, and nobody has taken note of yet. */
  readonly damage: string[];
}
export interface CopyMade {
  readonly copy: LedgerCopy;
}
export interface NotReady {
  readonly ready: false;
  readonly failure: Failure;
}

export interface WorkerData {
  readonly role: 'write' | 'read' | 'copy';
  /** Copies that stay, for the role that makes them. */
  readonly keep?: number;
  readonly folder: string;
  readonly nowMs: number;
  /** Of this start; absent: it is not asked whether the clock was set meanwhile. */
  readonly machine?: MachineTime | undefined;
  /** A doubt came up while it ran: the whole store is checked before it is used again. */
  readonly deep?: boolean;
  readonly retainDays: number;
  readonly retainRows: number;
  readonly retainBytes: number;
  readonly retainSummaryDays: number;
  /** Where the writer says which rule it evaluates. */
  readonly watch?: SharedArrayBuffer;
  /** Rules on which the writer before hung: they are set aside before anything else is done. */
  readonly hung?: readonly HungRule[];
  readonly testing: Testing;
}

/** Only for tests: what must go wrong for a promise to be seen to hold. */
export interface Testing {
  /** Negative control: without the key that makes an outcome unique. */
  readonly dropUniqueKey?: boolean;
  /** A full disk: SQLite's max_page_count. */
  readonly pagesMax?: number;
  /** Room that is kept for a full disk; default 16 MiB. */
  readonly ballastBytes?: number;
  /** Negative control: a clock that is set moves no deadline. */
  readonly ignoreClock?: boolean;
  /** A thread that ends: the status of this device ends the writer before it commits. */
  readonly exitOnDevice?: string;
  /** An evaluation that does not end: that of this rule. */
  readonly hangOnRule?: string;
  /** `kill -9` of the process at the n-th time that its writer is about to commit a group, or has committed it. */
  readonly killAt?: { readonly point: string; readonly n: number };
}
