import { statfsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import {
  type Ack,
  type ActionConfig,
  type ActionRecord,
  BrinkError,
  type Decision,
  type DeviceRecord,
  type PublishedConfiguration,
} from '@brink/protocol';
import type { Clock, Logger, Part } from '@brink/runtime';
import type { AccessChange } from './access.ts';
import type { ArmingOrder } from './arming.ts';
import { type LedgerCopy, listCopies } from './backup/copies.ts';
import { createCare } from './care.ts';
import type { MachineTime } from './clock-at-start.ts';
import { commitOperation, committedOf } from './commits.ts';
import type { DevicePatch } from './devices.ts';
import { createDisk, type Disk, type DiskLimits, type DiskState, type DiskUse } from './disk.ts';
import type { ForgetPiece } from './forgetting.ts';
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
  LeaseOptions,
  LedgerItem,
  LedgerReads,
} from './records.ts';
import { takesIn } from './room.ts';
import { createSchedule } from './schedule.ts';
import { createThread, errorOf } from './thread.ts';
import { createWatchdog, type HungRule } from './watchdog.ts';

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

/** Groups begin so far apart, so that many outcomes share a COMMIT; one that comes alone need not wait for company. */
const GROUP_MS = 2;
/** About 20 MB of outcomes. */
const QUEUE_MAX = 10_000;
const RETAIN_DAYS = 30;
const RETAIN_ROWS = 10_000_000;
const GIB = 1024 ** 3;
const RETAIN_BYTES = 20 * GIB;
const RETAIN_SUMMARY_DAYS = 90;
const DISK: DiskLimits = { lowPercent: 90, fullPercent: 95, spareBytes: 4 * GIB };
/** Decisions that were not kept and are remembered, for whoever waits for one over HTTP. */
const UNKEPT_MAX = 1000;
/** Twice what SQLite lets it grow to by itself: some reader kept it from being emptied. */
const WAL_BYTES_LARGE = 32 * 1024 * 1024;
const TIMER_GRACE_MS = 200;

export function createLedger(config: LedgerConfig, d: LedgerDeps): Ledger {
  const state = createState(d.logger);
  const { writer, queries, beDeep, watchdog } = createThreads(config, d, state);
  const { counters } = state;

  const log = createLog(
    { groupMs: config.groupMs ?? GROUP_MS, queueMax: config.queueMax ?? QUEUE_MAX },
    { clock: d.clock, events: { post: (group) => writer.post(group), onReply, onClock: state.onClock } },
  );
  const disk = createDisk({ folder: config.folder, ...DISK, ...config.disk }, d);
  const { perform, commit, takeFresh } = createWrites(log, state, disk);
  const schedule = createSchedule(
    { graceMs: config.timerGraceMs ?? TIMER_GRACE_MS },
    {
      ...{ clock: d.clock, retain, tick: (dueMs) => perform({ op: 'tick', dueMs }, false) },
      look: () => perform({ op: 'look' }, false),
      pressed: () => state.short || walBytes(config.folder) > WAL_BYTES_LARGE,
    },
  );
  const onCorrupt = (detail: string) => lifecycle.suspect(detail);
  const care = createCare(config, { ...d, onCorrupt, perform });
  const lifecycle = createLifecycle({
    ...{ writer, queries, log, schedule, clock: d.clock, logger: d.logger },
    ...{ care, beDeep },
    onProblem: (problem) => void Object.assign(state, { problem }),
    onDamage: (damage) => void Object.assign(state, { damage }),
  });
  state.onCorrupt = lifecycle.suspect;

  function onReply(reply: GroupReply): void {
    counters.lastCommitMs = reply.commitMs;
    counters.gapsClosed = reply.gapsClosed;
    counters.rows = reply.rows;
    counters.bytes = reply.bytes;
    if (state.isShort(reply.short)) schedule.lookSoon();
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
    copy: care.copy,
    copies: () => listCopies(config.folder),
    async acceptDamage() {
      const accepted = await perform<number>({ op: 'acceptDamage' });
      state.damage = [];
      return accepted;
    },
    get damage() {
      return state.damage;
    },
    async start(signal) {
      await disk.start();
      await lifecycle.start(signal);
    },
    async stop() {
      disk.stop();
      await lifecycle.stop();
    },
    read: {
      ...queries.read,
      // What `keep` left out is still to be had by whoever waits for it.
      decision: async (id) => (await queries.read.decision(id)) ?? state.unkept.get(id),
    },
    get problem() {
      return state.problem ?? state.full ?? disk.full?.message;
    },
    get notes() {
      return disk.note === undefined ? [] : [disk.note];
    },
    get stats() {
      const { percent, freeBytes } = disk.use;
      return {
        ...{ ...counters, queued: log.queued, groups: log.groups, walBytes: walBytes(config.folder) },
        ...{ ...care.stats, hangs: watchdog.hangs },
        ...{ diskState: state.short ? 'full' : disk.state, diskFreeBytes: freeBytes, diskPercent: percent },
      };
    },
  };
}

/** The writing side: each call is an entry of the log, and a promise that its COMMIT settles. */
function createWrites(log: Log, state: LedgerState, disk: Disk) {
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

  /** @throws BrinkError E_STORAGE_FULL before anything is written: a disk is not filled to its last byte */
  function checkRoom(operation: Operation): void {
    const { full } = disk;
    if (full === undefined || !takesIn(operation)) return;
    counters.refusedFull += 1;
    throw full;
  }

  return {
    async perform<T>(operation: Operation, full = true): Promise<T> {
      checkRoom(operation);
      return add(operation, { full, weight: 1 }, (value) => value as T);
    },

    async commit(items: readonly LedgerItem[]): Promise<CommitResult> {
      if (items.length === 0) return { inserted: 0, duplicates: 0 };
      const { operation, full } = commitOperation(items);
      checkRoom(operation);
      return add(operation, { full, weight: items.length }, (value) => {
        const { result, decisions, unkept } = committedOf(items, value as CommitReply);
        fresh.push(...decisions);
        state.remember(unkept);
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

function createThreads(config: LedgerConfig, { clock, logger, machine }: LedgerDeps, state: LedgerState) {
  let deep = false;
  const data = (role: 'write' | 'read'): WorkerData => ({
    ...{ role, folder: config.folder, nowMs: clock.now(), testing: config.testing ?? {}, deep, machine: machine?.() },
    ...{ retainDays: config.retainDays ?? RETAIN_DAYS, retainRows: config.retainRows ?? RETAIN_ROWS },
    retainBytes: Math.min(config.retainBytes ?? RETAIN_BYTES, halfOfDisk(config.folder)),
    // Queries by time find their way with them, so they live as long as the decisions at the least.
    retainSummaryDays: Math.max(
      config.retainSummaryDays ?? RETAIN_SUMMARY_DAYS,
      (config.retainDays ?? RETAIN_DAYS) + 1,
    ),
  });
  const watchdog = createWatchdog({ clock, onHang });
  const writer = createThread<Group | 'stop', GroupReply>(() => ({
    ...data('write'),
    ...{ watch: watchdog.memory, hung: watchdog.hung },
  }));

  function onHang({ rule, note }: HungRule): void {
    logger.error({ rule }, `${note}: the rule rests until its configuration changes; the writer starts again`);
    writer.end(new BrinkError('E_UNAVAILABLE', `rule ${rule}: ${note}; it is set aside`));
  }

  return {
    writer: watchdog.over(writer),
    watchdog,
    queries: createQueries(
      () => data('read'),
      (failure) => state.corrupt(failure),
    ),
    beDeep: (on: boolean) => {
      deep = on;
    },
  };
}

type Perform = <T>(operation: Operation, full?: boolean) => Promise<T>;

/** Everything that is one entry of the log and nothing more. */
function createOperations(perform: Perform) {
  return {
    configure: (published, activation = {}) => perform({ op: 'configure', published, activation }),
    ack: (device, ack) => perform({ op: 'ack', device, ack }),
    // A lease is no promise: after a power cut the row is due again. The same goes for what was sent.
    lease: (options) => perform({ op: 'lease', ...options }, false),
    settle: (outcomes) =>
      perform(
        { op: 'settle', outcomes: [...outcomes] },
        outcomes.some((outcome) => outcome.result === 'dead'),
      ),
    order: (id, config, by) => perform({ op: 'order', id, config, by }),
    retry: (id) => perform({ op: 'retry', id }),
    retryAll: (ids) => perform({ op: 'retryAll', ids: [...ids] }),
    cancel: (id) => perform({ op: 'cancel', id }),
    arm: (rule, order) => perform({ op: 'arm', rule, order }),
    fire: (order) => perform({ op: 'fire', ...order }),
    deviceStatus: (device, state, { retained } = { retained: false }) =>
      perform({ op: 'deviceStatus', device, state, retained }, false),
    putDevice: (name, patch) => perform({ op: 'putDevice', name, patch }),
    deleteDevice: (name) => perform({ op: 'deleteDevice', name }),
    look: () => perform({ op: 'look' }, false),
    async forget(device) {
      let deleted = 0;
      for (let piece: ForgetPiece = { from: 0, deleted: 0, done: false }; !piece.done; deleted += piece.deleted)
        piece = await perform<ForgetPiece>({ op: 'forget', device, from: piece.from });
      return deleted;
    },
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
    damage: [] as readonly string[],
    onCorrupt: (_detail: string) => {},
    /** What SQLite finds wrong with the file. */
    corrupt({ code, detail }: Failure): void {
      if (code === 'E_STORAGE_CORRUPT') this.onCorrupt(detail);
    },
    counters: {
      ...{ committed: 0, duplicates: 0, refusedBusy: 0, failedCommits: 0, actions: 0, purged: 0 },
      ...{ lastCommitMs: 0, gapsClosed: 0, rows: 0, bytes: 0, unkept: 0, refusedFull: 0 },
    },
    /** The writer found no room on the disk. */
    short: false,
    /** The newest ones that `keep` left out. */
    unkept: new Map<string, Decision>(),
    remember(decisions: readonly Decision[]): void {
      for (const decision of decisions) this.unkept.set(decision.id, decision);
      this.counters.unkept += decisions.length;
      for (const id of this.unkept.keys()) {
        if (this.unkept.size <= UNKEPT_MAX) break;
        this.unkept.delete(id);
      }
    },
    get full(): string | undefined {
      return this.short ? 'E_STORAGE_FULL: the disk, or what the ledger may take of it, is full' : undefined;
    },
    /** @returns whether it is news that there is none */
    isShort(short: boolean): boolean {
      const news = short && !this.short;
      if (news) logger.error({ code: 'E_STORAGE_FULL' }, 'the ledger has no room: nothing new is taken in');
      else if (this.short && !short) logger.info('the ledger has room again');
      this.short = short;
      return news;
    },
    /** A refusal is the caller's; what the store cannot do is everybody's. */
    note({ code, detail }: Failure): void {
      if (!code.startsWith('E_STORAGE') && code !== 'E_UNAVAILABLE') return;
      this.counters.failedCommits += 1;
      // How long that lasts is the room's to say, not the next commit's.
      if (code === 'E_STORAGE_FULL') return;
      this.corrupt({ code, detail });
      const problem = `${code}: ${detail}`;
      if (this.problem !== problem) logger.error({ code, detail }, 'the ledger cannot commit');
      this.problem = problem;
    },
    onClock(shiftMs: number): void {
      logger.warn({ seconds: shiftMs / 1000 }, 'the clock was set; deadlines move along');
    },
    onCommitted: (listener: (committed: Committed) => void) => void committedListeners.push(listener),
    onDue: (listener: () => void) => void dueListeners.push(listener),
    tellCommitted: (committed: Committed) => tell(committedListeners, committed),
    tellDue: () => tell(dueListeners, undefined),
  };
}

type LedgerState = ReturnType<typeof createState>;

/** Where the folder is not there yet, opening it will say so. */
function halfOfDisk(folder: string): number {
  try {
    const { blocks, bsize } = statfsSync(folder);
    return (blocks * bsize) / 2;
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}

const walBytes = (folder: string) => statSync(join(folder, 'ledger.db-wal'), { throwIfNoEntry: false })?.size ?? 0;
