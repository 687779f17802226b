import { statSync } from 'node:fs';
import { join } from 'node:path';
import type {
  Ack,
  ActionConfig,
  ActionRecord,
  BrinkError,
  DeviceRecord,
  PublishedConfiguration,
} from '@brink/protocol';
import type { Clock, Logger, Part } from '@brink/runtime';
import type { AccessChange } from './access.ts';
import type { ArmingOrder } from './arming.ts';
import { commitOperation, committedOf } from './commits.ts';
import type { DevicePatch } from './devices.ts';
import { createLifecycle } from './lifecycle.ts';
import { createLog, type Log } from './log.ts';
import type { CommitReply, Failure, Group, GroupReply, Operation, Testing, WorkerData } from './messages.ts';
import { createQueries } from './queries.ts';
import type {
  AckOutcome,
  Activation,
  AttemptOutcome,
  CommitResult,
  Committed,
  CommittedDecision,
  FireOrder,
  Lease,
  LedgerItem,
  LedgerReads,
} from './records.ts';
import { createSchedule } from './schedule.ts';
import { createThread, errorOf } from './thread.ts';

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
  /** How long a timer of a rule waits for decisions that are under way before it is taken as due, ms. */
  readonly timerGraceMs?: number;
  readonly testing?: Testing;
}

export interface LedgerDeps {
  readonly logger: Logger;
  readonly clock: Clock;
}

interface LedgerStats {
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
  configure(published: PublishedConfiguration, activation?: Activation): Promise<void>;
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

  // rules
  /** Sets a rule aside from here on in the log, or arms it again. Rejects E_NOT_FOUND, E_BAD_REQUEST where until is over. */
  arm(rule: string, order: ArmingOrder | undefined): Promise<void>;
  /** A test: the actions of a rule go out now, whatever its condition, state and cooldown say. Rejects E_NOT_FOUND. */
  fire(order: FireOrder): Promise<ActionRecord[]>;

  // devices
  deviceStatus(device: string, state: 'online' | 'offline'): Promise<void>;
  /** Adds or changes. Fields that are not given stay. */
  putDevice(name: string, patch: DevicePatch): Promise<DeviceRecord>;
  /** Removes the device's row. @returns whether there was one */
  deleteDevice(name: string): Promise<boolean>;

  /** Tokens and the audit. Resolves with what the change made (access.ts). Rejects E_NOT_FOUND, E_CONFLICT. */
  access<T>(change: AccessChange): Promise<T>;

  /** Deletes at most `rows` rows that are past their age. Runs by itself once a minute. */
  retain(rows: number): Promise<{ deleted: number }>;
  readonly read: LedgerReads;
  /** Why it cannot commit at present, for /readyz. */
  readonly problem: string | undefined;
  readonly stats: LedgerStats;
}

/** Groups begin so far apart, so that many outcomes share a COMMIT; one that comes alone need not wait for company. */
const GROUP_MS = 2;
/** About 20 MB of outcomes. */
const QUEUE_MAX = 10_000;
const RETAIN_DAYS = 30;
const RETAIN_ROWS = 10_000_000;
const TIMER_GRACE_MS = 200;
export function createLedger(config: LedgerConfig, d: LedgerDeps): Ledger {
  const state = createState(d.logger);
  const { writer, queries } = createThreads(config, d.clock);
  const { counters } = state;

  const log = createLog(
    { groupMs: config.groupMs ?? GROUP_MS, queueMax: config.queueMax ?? QUEUE_MAX },
    { clock: d.clock, events: { post: (group) => writer.post(group), onReply } },
  );
  const { perform, commit, takeFresh } = createWrites(log, state);
  const schedule = createSchedule(
    { graceMs: config.timerGraceMs ?? TIMER_GRACE_MS },
    { clock: d.clock, retain, tick: (dueMs) => perform({ op: 'tick', dueMs }, false) },
  );
  const lifecycle = createLifecycle({
    ...{ writer, queries, log, schedule, clock: d.clock, logger: d.logger },
    onProblem: (problem) => {
      state.problem = problem;
    },
  });

  function onReply(reply: GroupReply): void {
    counters.lastCommitMs = reply.commitMs;
    counters.gapsClosed = reply.gapsClosed;
    counters.actions += reply.actions.length;
    schedule.nextTimer(reply.nextTimerMs);
    const decisions = takeFresh();
    const actions = [...reply.actions, ...reply.ended];
    if (decisions.length > 0 || actions.length > 0) state.tellCommitted({ decisions, actions });
    if (reply.outboxDue) state.tellDue();
  }

  async function retain(rows: number): Promise<{ deleted: number }> {
    const result = await perform<{ deleted: number }>({ op: 'retain', rows }, false);
    counters.purged += result.deleted;
    return result;
  }

  return {
    ...lifecycle,
    commit,
    retain,
    ...createOperations(perform),
    onCommitted: state.onCommitted,
    onDue: state.onDue,
    read: queries.read,
    get problem() {
      return state.problem;
    },
    get stats() {
      return { ...counters, queued: log.queued, groups: log.groups, walBytes: walBytes(config.folder) };
    },
  };
}

/** The writing side: each call is an entry of the log, and a promise that its COMMIT settles. */
function createWrites(log: Log, state: LedgerState) {
  const { counters } = state;
  let fresh: CommittedDecision[] = [];

  function add<T>(operation: Operation, o: { full: boolean; weight: number }, take: (value: unknown) => T): Promise<T> {
    return new Promise((resolve, reject) => {
      const done = (value: unknown) => {
        state.problem = undefined;
        resolve(take(value));
      };
      const failed = (failure: Failure) => {
        state.note(failure);
        reject(errorOf(failure));
      };
      try {
        log.add({ operation, ...o, done, failed });
      } catch (error) {
        counters.refusedBusy += 1;
        reject(error as BrinkError);
      }
    });
  }

  return {
    perform: <T>(operation: Operation, full = true) => add(operation, { full, weight: 1 }, (value) => value as T),

    async commit(items: readonly LedgerItem[]): Promise<CommitResult> {
      if (items.length === 0) return { inserted: 0, duplicates: 0 };
      const { operation, full } = commitOperation(items);
      return add(operation, { full, weight: items.length }, (value) => {
        const { result, decisions } = committedOf(items, value as CommitReply);
        fresh.push(...decisions);
        counters.committed += result.inserted;
        counters.duplicates += result.duplicates;
        return result;
      });
    },

    /** What the group that was just committed brought; the listeners hear of it. */
    takeFresh(): CommittedDecision[] {
      const decisions = fresh;
      fresh = [];
      return decisions;
    },
  };
}

function createThreads(config: LedgerConfig, clock: Clock) {
  const data = (role: 'write' | 'read'): WorkerData => ({
    ...{ role, folder: config.folder, nowMs: clock.now(), testing: config.testing ?? {} },
    ...{ retainDays: config.retainDays ?? RETAIN_DAYS, retainRows: config.retainRows ?? RETAIN_ROWS },
  });
  return {
    writer: createThread<Group | 'stop', GroupReply>(() => data('write')),
    queries: createQueries(() => data('read')),
  };
}

type Perform = <T>(operation: Operation, full?: boolean) => Promise<T>;

/** Everything that is one entry of the log and nothing more. */
function createOperations(perform: Perform) {
  return {
    configure: (published, activation = {}) => perform({ op: 'configure', published, activation }),
    ack: (device, ack) => perform({ op: 'ack', device, ack }),
    // A lease is no promise: after a power cut the row is due again. The same goes for what was sent.
    lease: ({ limit, leaseMs }) => perform({ op: 'lease', limit, leaseMs }, false),
    settle: (outcomes) =>
      perform(
        { op: 'settle', outcomes: [...outcomes] },
        outcomes.some((outcome) => outcome.result === 'dead'),
      ),
    order: (id, config, by) => perform({ op: 'order', id, config, by }),
    retry: (id) => perform({ op: 'retry', id }),
    cancel: (id) => perform({ op: 'cancel', id }),
    arm: (rule, order) => perform({ op: 'arm', rule, order }),
    fire: (order) => perform({ op: 'fire', ...order }),
    deviceStatus: (device, state) => perform({ op: 'deviceStatus', device, state }, false),
    putDevice: (name, patch) => perform({ op: 'putDevice', name, patch }),
    deleteDevice: (name) => perform({ op: 'deleteDevice', name }),
    access: (change) => perform({ op: 'access', change }, change.change !== 'useTokens'),
  } satisfies Partial<Ledger>;
}

/** Counters, listeners, and what is wrong. */
function createState(logger: Logger) {
  const committedListeners: ((committed: Committed) => void)[] = [];
  const dueListeners: (() => void)[] = [];

  function tell<T>(listeners: readonly ((value: T) => void)[], value: T): void {
    for (const listener of listeners) {
      try {
        listener(value);
      } catch (error) {
        logger.error({ err: error }, 'a listener of the ledger failed');
      }
    }
  }

  return {
    problem: 'not started' as string | undefined,
    counters: {
      ...{ committed: 0, duplicates: 0, refusedBusy: 0, failedCommits: 0, actions: 0, purged: 0 },
      ...{ lastCommitMs: 0, gapsClosed: 0 },
    },
    /** A refusal is the caller's; what the store cannot do is everybody's. */
    note({ code, detail }: Failure): void {
      if (!code.startsWith('E_STORAGE') && code !== 'E_UNAVAILABLE') return;
      this.counters.failedCommits += 1;
      const problem = `${code}: ${detail}`;
      if (this.problem !== problem) logger.error({ code, detail }, 'the ledger cannot commit');
      this.problem = problem;
    },
    onCommitted: (listener: (committed: Committed) => void) => void committedListeners.push(listener),
    onDue: (listener: () => void) => void dueListeners.push(listener),
    tellCommitted: (committed: Committed) => tell(committedListeners, committed),
    tellDue: () => tell(dueListeners, undefined),
  };
}

type LedgerState = ReturnType<typeof createState>;

const walBytes = (folder: string) => statSync(join(folder, 'ledger.db-wal'), { throwIfNoEntry: false })?.size ?? 0;
