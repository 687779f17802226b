import { statSync } from 'node:fs';
import { join } from 'node:path';
import {
  type Ack,
  type ActionConfig,
  type ActionRecord,
  BrinkError,
  type DeviceRecord,
  type PublishedConfiguration,
} from '@brink/protocol';
import type { Clock, Logger, Part, Timer } from '@brink/runtime';
import { createLog } from './log.ts';
import type { CommitReply, Failure, Group, GroupReply, Operation, Testing, WorkerData } from './messages.ts';
import { createQueries } from './queries.ts';
import type {
  AckOutcome,
  AttemptOutcome,
  CommitResult,
  Committed,
  CommittedDecision,
  Lease,
  LedgerItem,
  LedgerReads,
} from './records.ts';
import { decisionOf } from './rows.ts';
import { createThread, errorOf } from './thread.ts';

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
  /** How long a timer of a rule waits for decisions that are under way before it is taken as due, ms. */
  readonly timerGraceMs?: number;
  readonly testing?: Testing;
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

/** A group waits this long for company. A commit costs about a millisecond, so waiting longer gains little. */
const GROUP_MS = 2;
/** About 20 MB of outcomes. */
const QUEUE_MAX = 10_000;
const RETAIN_DAYS = 30;
const RETAIN_ROWS = 10_000_000;
const TIMER_GRACE_MS = 200;
const RETAIN_EVERY_MS = 60_000;
/** About 10 ms of work: what arrives meanwhile waits that long. */
const RETAIN_ROWS_AT_ONCE = 500;
/** setTimeout takes 2^31 ms; a due time may lie further off. */
const TIMER_MS_MAX = 3_600_000;
/** Dates beyond cannot be written down (ECMA-262, time values). */
const TIME_MS_MAX = 8.64e15;

/** @throws nothing: building does nothing, `start` opens */
export function createLedger(config: LedgerConfig, d: LedgerDeps): Ledger {
  const workerData = (role: 'write' | 'read'): WorkerData => ({
    ...{ role, folder: config.folder, nowMs: d.clock.now(), testing: config.testing ?? {} },
    ...{ retainDays: config.retainDays ?? RETAIN_DAYS, retainRows: config.retainRows ?? RETAIN_ROWS },
  });
  const writer = createThread<Group | 'stop', GroupReply>(() => workerData('write'));
  const queries = createQueries(() => workerData('read'));
  const graceMs = config.timerGraceMs ?? TIMER_GRACE_MS;
  const committedListeners: ((committed: Committed) => void)[] = [];
  const dueListeners: (() => void)[] = [];
  const counters = {
    committed: 0,
    duplicates: 0,
    refusedBusy: 0,
    failedCommits: 0,
    actions: 0,
    purged: 0,
    lastCommitMs: 0,
    gapsClosed: 0,
  };
  let fresh: CommittedDecision[] = [];
  let problem: string | undefined = 'not started';
  let ruleTimer: Timer | undefined;
  let retainTimer: Timer | undefined;

  const log = createLog(
    { groupMs: config.groupMs ?? GROUP_MS, queueMax: config.queueMax ?? QUEUE_MAX },
    { clock: d.clock, events: { post: (group) => writer.post(group), onReply } },
  );

  function onReply(reply: GroupReply): void {
    counters.lastCommitMs = reply.commitMs;
    counters.gapsClosed = reply.gapsClosed;
    counters.actions += reply.actions.length;
    const decisions = fresh;
    fresh = [];
    setRuleTimer(reply.nextTimerMs);
    if (decisions.length > 0 || reply.actions.length > 0)
      tell(committedListeners, { decisions, actions: reply.actions });
    if (reply.outboxDue) tell(dueListeners, undefined);
  }

  function tell<T>(listeners: readonly ((value: T) => void)[], value: T): void {
    for (const listener of listeners) {
      try {
        listener(value);
      } catch (error) {
        d.logger.error({ err: error }, 'a listener of the ledger failed');
      }
    }
  }

  function perform<T>(operation: Operation, options: { weight?: number; full?: boolean } = {}): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      log.add({
        operation,
        weight: options.weight ?? 1,
        full: options.full ?? true,
        done(value) {
          problem = undefined;
          resolve(value as T);
        },
        failed(failure) {
          note(failure);
          reject(errorOf(failure));
        },
      });
    });
  }

  function note({ code, detail }: Failure): void {
    if (!code.startsWith('E_STORAGE') && code !== 'E_UNAVAILABLE') return;
    counters.failedCommits += 1;
    const text = `${code}: ${detail}`;
    if (problem !== text) d.logger.error({ code, detail }, 'the ledger cannot commit');
    problem = text;
  }

  /** For what the ledger does by itself: its failures are noted, and tried again at the next occasion. */
  function background(operation: Operation, full: boolean, then: (value: unknown) => void = () => {}): void {
    perform(operation, { full }).then(then, (error: unknown) => {
      const { code, detail } = BrinkError.from(error);
      d.logger.warn({ code, detail, operation: operation.op }, 'the ledger could not do its own work');
    });
  }

  function setRuleTimer(dueMs: number | undefined): void {
    if (ruleTimer !== undefined) d.clock.clearTimeout(ruleTimer);
    ruleTimer = undefined;
    if (dueMs === undefined) return;
    const waitMs = Math.min(Math.max(0, dueMs + graceMs - d.clock.now()), TIMER_MS_MAX);
    ruleTimer = d.clock.setTimeout(() => {
      ruleTimer = undefined;
      background({ op: 'tick', dueMs: d.clock.now() - graceMs }, false);
    }, waitMs);
  }

  function setRetainTimer(waitMs: number): void {
    retainTimer = d.clock.setTimeout(() => {
      background({ op: 'retain', rows: RETAIN_ROWS_AT_ONCE }, false, (value) => {
        const { deleted } = value as { deleted: number };
        counters.purged += deleted;
        if (retainTimer === undefined) return;
        d.clock.clearTimeout(retainTimer);
        setRetainTimer(deleted === RETAIN_ROWS_AT_ONCE ? RETAIN_ROWS_AT_ONCE / 5 : RETAIN_EVERY_MS);
      });
      setRetainTimer(RETAIN_EVERY_MS);
    }, waitMs);
  }

  async function commit(items: readonly LedgerItem[]): Promise<CommitResult> {
    if (items.length === 0) return { inserted: 0, duplicates: 0 };
    for (const item of items) {
      const { received_ms } = item.kind === 'outcome' ? item.outcome : item.letter;
      if (!(Math.abs(received_ms) <= TIME_MS_MAX)) {
        throw new BrinkError('E_BAD_REQUEST', `received_ms ${received_ms}; expected milliseconds since 1970`);
      }
    }
    const operation: Operation = {
      op: 'commit',
      texts: items.map((item) => item.json),
      dead: items.map((item) => item.kind === 'dead'),
    };
    const full = items.some((item) => item.kind === 'outcome' && item.outcome.durable);
    return new Promise((resolve, reject) => {
      const entry = {
        ...{ operation, weight: items.length, full },
        done(value: unknown) {
          problem = undefined;
          resolve(collect(items, value as CommitReply));
        },
        failed(failure: Failure) {
          note(failure);
          reject(errorOf(failure));
        },
      };
      try {
        log.add(entry);
      } catch (error) {
        counters.refusedBusy += 1;
        reject(error as BrinkError);
      }
    });
  }

  /** In order of COMMIT: `fresh` goes to the listeners with the group that it came in. */
  function collect(items: readonly LedgerItem[], { ns, texts, duplicates, revision }: CommitReply): CommitResult {
    for (const [index, item] of items.entries()) {
      const n = ns[index] ?? 0;
      if (n > 0 && item.kind === 'outcome') {
        fresh.push({ decision: decisionOf(item.outcome, n, revision), json: texts[index] ?? '' });
      }
    }
    counters.committed += items.length - duplicates;
    counters.duplicates += duplicates;
    return { inserted: items.length - duplicates, duplicates };
  }

  function onGone(error: BrinkError): void {
    const { code, detail } = error;
    problem = `${code}: ${detail}`;
    d.logger.fatal({ code, detail }, 'a thread of the ledger ended');
    log.close({ code: 'E_UNAVAILABLE', detail });
  }

  async function start(signal: AbortSignal): Promise<void> {
    const ready = await writer.start(log.reply, onGone);
    try {
      for (const warning of ready.warnings) d.logger.warn({ warning }, 'the ledger opened with a warning');
      await queries.start(onGone);
      if (signal.aborted) throw new BrinkError('E_CANCELLED', 'stopped while starting');
    } catch (error) {
      await stop();
      throw error;
    }
    log.open();
    problem = undefined;
    setRuleTimer(ready.nextTimerMs);
    setRetainTimer(RETAIN_EVERY_MS);
  }

  async function stop(): Promise<void> {
    for (const timer of [ruleTimer, retainTimer]) if (timer !== undefined) d.clock.clearTimeout(timer);
    ruleTimer = undefined;
    retainTimer = undefined;
    await log.drain();
    log.close({ code: 'E_UNAVAILABLE', detail: 'the ledger was stopped' });
    problem = 'stopped';
    await queries.stop();
    await writer.stop();
  }

  function walBytes(): number {
    return statSync(join(config.folder, 'ledger.db-wal'), { throwIfNoEntry: false })?.size ?? 0;
  }

  return {
    start,
    stop,
    commit,
    configure: (published) => perform({ op: 'configure', published }),
    ack: (device, ack) => perform({ op: 'ack', device, ack }),
    onCommitted: (listener) => committedListeners.push(listener),
    // A lease is no promise: after a power cut the row is due again.
    lease: ({ limit, leaseMs }) => perform({ op: 'lease', limit, leaseMs }, { full: false }),
    settle: (outcomes) =>
      perform(
        { op: 'settle', outcomes: [...outcomes] },
        { full: outcomes.some((outcome) => outcome.result === 'dead') },
      ),
    onDue: (listener) => dueListeners.push(listener),
    order: (id, action, by) => perform({ op: 'order', id, config: action, by }),
    retry: (id) => perform({ op: 'retry', id }),
    cancel: (id) => perform({ op: 'cancel', id }),
    deviceStatus: (device, state) => perform({ op: 'deviceStatus', device, state }, { full: false }),
    putDevice: (name, patch) => perform({ op: 'putDevice', name, patch }),
    deleteDevice: (name) => perform({ op: 'deleteDevice', name }),
    async retain(rows) {
      const result = await perform<{ deleted: number }>({ op: 'retain', rows }, { full: false });
      counters.purged += result.deleted;
      return result;
    },
    read: queries.read,
    get problem() {
      return problem;
    },
    get stats() {
      return { ...counters, queued: log.queued, groups: log.groups, walBytes: walBytes() };
    },
  };
}
