import type { Clock, Timer } from '@brink/runtime';
import type { Metrics, ModelMetrics } from '../metrics.ts';
import { dueOf, type Job, rankOf } from './job.ts';
import { createLane, type Lane, type LaneOptions, type LanePolicy, type ScheduledLane } from './lane.ts';

export interface Scheduler {
  /** A queue for one model version. Its units run when a slot is free, in the order of all lanes together. */
  addLane(o: LaneOptions, d: { metrics: ModelMetrics; policy: LanePolicy }): Lane;
  removeLane(lane: Lane): void;
}

/** A run that takes longer gives its slot back: nobody waits for a model that hangs until run_ms_max ends it. */
const SLOT_MS_MAX = 500;

interface Member {
  readonly name: string;
  readonly lane: ScheduledLane;
  readonly metrics: ModelMetrics;
  /** Which dispatch of the machine was its last: lanes take turns. */
  turn: number;
}

/**
 * One admission for the machine: at most `runSlots` runners work at once over all models, picked by priority, then deadline, then
 * in turns. Work-conserving: when a run ends, what waits goes out at once, up to the largest useful batch.
 *
 * A run cannot be called back. So where every slot is taken by what is of lower rank, one run of a higher one begins beside them: it
 * shares the cores for a moment instead of waiting for the end of a batch that matters less. Never more than one at a time.
 */
export function createScheduler(o: { runSlots: number }, d: { clock: Clock; metrics: Metrics }): Scheduler {
  const members = new Map<Lane, Member>();
  const { clock } = d;
  let planned = false;
  let overrun: Timer | undefined;
  let turns = 0;
  d.metrics.slots.set(o.runSlots);

  /** After the current turn: what arrived in one read of the socket goes into one batch. */
  function plan(): void {
    if (planned) return;
    planned = true;
    queueMicrotask(() => {
      planned = false;
      pump();
    });
  }

  function pump(): void {
    for (let found = next(); found !== undefined; found = next()) {
      const { member, ahead } = found;
      turns += 1;
      member.turn = turns;
      member.lane.dispatch(ahead);
    }
    d.metrics.busy.set(busy(Number.NEGATIVE_INFINITY));
  }

  /** Runners at work, but those that have been for so long already. */
  function busy(sinceMs: number): number {
    let count = 0;
    for (const { lane } of members.values()) count += lane.busy(sinceMs);
    return count;
  }

  /**
   * A batch that is sent ahead cannot be called back: whoever comes then waits for two batches instead of one. So it is only sent
   * where nobody who would go before it or take turns with it is likely to come, or where a slot is left for each of them. Where it
   * is not, a runner waits some tenths of a millisecond for its next batch, which is a few percent of the throughput of what made
   * the others wait.
   */
  function mayGoAhead(member: Member, first: Job): boolean {
    const rank = rankOf(first);
    const others = [...members.values()].filter((other) => other !== member && other.lane.hadAtLeast(rank));
    const runners = others.reduce((count, { lane }) => count + lane.runners, member.lane.runners);
    return others.length === 0 || runners <= o.runSlots;
  }

  /** Whether everything at work is of lower rank, and nothing runs beside it yet. */
  function mayGoBeside(first: Job, sinceMs: number): boolean {
    if (busy(sinceMs) > o.runSlots) return false;
    const rank = rankOf(first);
    for (const { lane } of members.values()) if (lane.busyRank(sinceMs) >= rank) return false;
    return true;
  }

  /** Of the lanes that want to run, the one that goes first. It goes ahead where it has no runner or no slot for it now. */
  function foremost(hasSlot: boolean): Wanting | undefined {
    let found: Wanting | undefined;
    for (const member of members.values()) {
      const runs = member.lane.wantsRun;
      const { first } = member.lane;
      if (first === undefined) continue;
      const ahead = !(runs && hasSlot) && member.lane.wantsAhead && mayGoAhead(member, first);
      if (!runs && !ahead) continue;
      const wanting = { member, first, ahead };
      if (found === undefined || goesBefore(wanting, found)) found = wanting;
    }
    return found;
  }

  /** A lane that must wait for a slot keeps those behind it from sending batches ahead, or it would wait for those too. */
  function next(): Wanting | undefined {
    const sinceMs = clock.monotonic() - SLOT_MS_MAX;
    const hasSlot = busy(sinceMs) < o.runSlots;
    const found = foremost(hasSlot);
    if (found === undefined || found.ahead || hasSlot || mayGoBeside(found.first, sinceMs)) return found;
    if (overrun === undefined) {
      overrun = clock.setTimeout(() => {
        overrun = undefined;
        pump();
      }, SLOT_MS_MAX);
    }
    return undefined;
  }

  return {
    addLane(options, { metrics, policy }) {
      const lane = createLane(options, { clock, metrics, policy, changed: plan, finished: pump });
      members.set(lane, { name: options.name, lane, metrics, turn: 0 });
      return lane;
    },
    removeLane(lane) {
      const member = members.get(lane);
      members.delete(lane);
      // A version that is loaded again has two lanes for a moment, and one name in the metrics.
      const isReplaced = [...members.values()].some(({ name }) => name === member?.name);
      if (!isReplaced) member?.metrics.forget();
      plan();
    },
  };
}

interface Wanting {
  readonly member: Member;
  readonly first: Job;
  /** Its runner is at work: it needs no slot of its own. */
  readonly ahead: boolean;
}

/** Of equal rank and deadline, lanes take turns, whatever waits in them: the one that got nothing for longest goes first. */
function goesBefore(a: Wanting, b: Wanting): boolean {
  const rank = rankOf(a.first) - rankOf(b.first);
  if (rank !== 0) return rank > 0;
  const [dueA, dueB] = [dueOf(a.first), dueOf(b.first)];
  if (dueA !== dueB) return dueA < dueB;
  if (a.member.turn !== b.member.turn) return a.member.turn < b.member.turn;
  return a.first.arrivedAt < b.first.arrivedAt;
}
