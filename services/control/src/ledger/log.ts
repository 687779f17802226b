import { type ActionRecord, BrinkError } from '@brink/protocol';
import type { Clock, Timer } from '@brink/runtime';
import { createClockWatch } from './clock-watch.ts';
import type { Failure, Group, GroupReply, Operation } from './messages.ts';

/** A transaction takes at most so many items: longer ones would make everyone wait. */
const GROUP_ITEMS_MAX = 500;

export interface LogEntry {
  readonly operation: Operation;
  /** How many items it holds, for the bound. */
  readonly weight: number;
  readonly full: boolean;
  done(value: unknown): void;
  failed(failure: Failure): void;
}

export interface LogEvents {
  post(group: Group): void;
  /** The wall clock was set, by so much. */
  onClock(shiftMs: number): void;
  /** After the entries' own `done`, in order of COMMIT. */
  onReply(reply: GroupReply, actions: readonly ActionRecord[]): void;
}

/**
 * The order of everything: entries wait here and go to the writer in groups, one group at a time. While one is being
 * committed the next one gathers, and groups begin at least `groupMs` apart: what comes alone is committed at once.
 */
export function createLog(config: { groupMs: number; queueMax: number }, d: { clock: Clock; events: LogEvents }) {
  let waiting: LogEntry[] = [];
  let weight = 0;
  let inFlight: LogEntry[] | undefined;
  let open = false;
  let draining = false;
  let groups = 0;
  let idle: (() => void) | undefined;
  const clockWatch = createClockWatch(d.clock, d.events.onClock);
  const turns = createTurns(config, { clock: d.clock, flush: () => flush() });

  function flush(): void {
    if (!open || inFlight !== undefined || waiting.length === 0) return;
    let items = 0;
    let count = 0;
    for (const entry of waiting) {
      if (count > 0 && items + entry.weight > GROUP_ITEMS_MAX) break;
      items += entry.weight;
      count++;
    }
    inFlight = waiting.slice(0, count);
    waiting = waiting.slice(count);
    groups += 1;
    turns.began();
    d.events.post({
      id: groups,
      ...clockWatch.now(),
      full: inFlight.some((entry) => entry.full),
      operations: inFlight.map((entry) => entry.operation),
    });
  }

  function finish(entries: readonly LogEntry[]): void {
    for (const entry of entries) weight -= entry.weight;
    if (weight === 0) idle?.();
  }

  return {
    /** @throws BrinkError E_BUSY, E_UNAVAILABLE */
    add(entry: LogEntry): void {
      if (!open || draining) throw new BrinkError('E_UNAVAILABLE', 'the ledger is not running');
      if (weight > 0 && weight + entry.weight > config.queueMax) {
        throw new BrinkError('E_BUSY', `${weight} entries wait for the ledger; its limit is ${config.queueMax}`);
      }
      waiting.push(entry);
      weight += entry.weight;
      if (inFlight === undefined) turns.soon();
    },
    reply(reply: GroupReply): void {
      const entries = inFlight ?? [];
      inFlight = undefined;
      for (const [index, entry] of entries.entries()) {
        const result = reply.results[index];
        if (result === undefined) entry.failed({ code: 'E_INTERNAL', detail: 'the writer left it out' });
        else if ('failure' in result) entry.failed(result.failure);
        else entry.done(result.value);
      }
      d.events.onReply(reply, reply.actions);
      finish(entries);
      if (waiting.length > 0) turns.soon();
    },
    open(): void {
      open = true;
      draining = false;
    },
    /** Fails everything that waits or is under way. */
    close(failure: Failure): void {
      open = false;
      turns.stop();
      const entries = [...(inFlight ?? []), ...waiting];
      inFlight = undefined;
      waiting = [];
      for (const entry of entries) entry.failed(failure);
      finish(entries);
    },
    /** Takes nothing more; resolves when all that was taken is committed. */
    async drain(): Promise<void> {
      draining = true;
      if (weight === 0) return;
      if (inFlight === undefined) flush();
      await new Promise<void>((resolve) => {
        idle = resolve;
      });
      idle = undefined;
    },
    get queued() {
      return weight;
    },
    get groups() {
      return groups;
    },
  };
}
/** When the next group begins. */
function createTurns({ groupMs }: { groupMs: number }, d: { clock: Clock; flush: () => void }) {
  let timer: Timer | undefined;
  let immediate: NodeJS.Immediate | undefined;
  let lastAt = Number.NEGATIVE_INFINITY;

  function now(): void {
    timer = undefined;
    immediate = undefined;
    d.flush();
  }

  return {
    began(): void {
      lastAt = d.clock.monotonic();
    },
    /** Not before this turn of the event loop is over: what comes with it goes along. */
    soon(): void {
      if (timer !== undefined || immediate !== undefined) return;
      const waitMs = lastAt + groupMs - d.clock.monotonic();
      if (waitMs > 0) timer = d.clock.setTimeout(now, waitMs);
      else immediate = setImmediate(now);
    },
    stop(): void {
      if (timer !== undefined) d.clock.clearTimeout(timer);
      clearImmediate(immediate);
      timer = undefined;
      immediate = undefined;
    },
  };
}

export type Log = ReturnType<typeof createLog>;
