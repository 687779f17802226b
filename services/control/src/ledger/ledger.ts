import { statSync } from 'node:fs';
import { join } from 'node:path';
import type { BrinkError } from '@brink/protocol';
import { listCopies } from './backup/copies.ts';
import { createCare } from './care.ts';
import { commitOperation, committedOf } from './commits.ts';
import { createState, type LedgerState } from './condition.ts';
import type { Ledger, LedgerConfig, LedgerDeps } from './contract.ts';
import { createDisk, type Disk, type DiskLimits } from './disk.ts';
import type { ForgetPiece } from './forgetting.ts';
import { createLifecycle } from './lifecycle.ts';
import { createLog, type Log } from './log.ts';
import type { CommitReply, Failure, GroupReply, Operation } from './messages.ts';
import type { CommitResult, CommittedDecision, LedgerItem } from './records.ts';
import { takesIn } from './room.ts';
import { createSchedule } from './schedule.ts';
import { errorOf } from './thread.ts';
import { createThreads } from './threads.ts';

export type { Ledger, LedgerConfig, LedgerDeps } from './contract.ts';

/** Groups begin so far apart, so that many outcomes share a COMMIT; one that comes alone need not wait for company. */
const GROUP_MS = 2;
/** About 20 MB of outcomes. */
const QUEUE_MAX = 10_000;
const DISK: DiskLimits = { lowPercent: 90, fullPercent: 95, spareBytes: 4 * 1024 ** 3 };
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
    forgot: (device) => perform({ op: 'forgot', device }),
    access: (change) => perform({ op: 'access', change }, change.change !== 'useTokens'),
  } satisfies Partial<Ledger>;
}

const walBytes = (folder: string) => statSync(join(folder, 'ledger.db-wal'), { throwIfNoEntry: false })?.size ?? 0;
