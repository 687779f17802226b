import { dueOf, type Job, rankOf } from './job.ts';
import { createShares, type Shares } from './shares.ts';

/** Jobs in the order in which they run: by rank, then by deadline, then in turns of the clients, then as they came. */
export interface Order extends Iterable<Job> {
  readonly length: number;
  /** Of all jobs; whole tensors count as one. */
  readonly rows: number;
  /** @param isFirst before everything else of its client, of its rank and deadline */
  add(job: Job, isFirst: boolean): void;
  /** Nothing happens where it is not there. */
  remove(job: Job): void;
  /** It runs: its client has had a turn and stands behind the others. */
  takeTurn(job: Job): void;
  /** What may have its deadline at `now` or before it. */
  past(now: number): Iterable<Job>;
  /** The lowest rank in which something is, and who has how much there. */
  readonly lowest: { readonly rank: number; readonly shares: Shares } | undefined;
}

interface Rank {
  readonly rank: number;
  /** the earliest first; none is empty */
  readonly dues: Due[];
  readonly shares: Shares;
}

/** Jobs that are due at the same time. Clients stand in the order of their turns. */
interface Due {
  readonly at: number;
  readonly lines: Map<string, Set<Job>>;
}

export function createOrder(): Order {
  /** The highest first; none is empty. */
  const ranks: Rank[] = [];
  let length = 0;
  let rows = 0;

  function placeOf(job: Job): { rank: Rank; due: Due } {
    const [of, at] = [rankOf(job), dueOf(job)];
    const rank = findOrAdd(ranks, -of, rankKey, () => ({ rank: of, dues: [], shares: createShares() }));
    return { rank, due: findOrAdd(rank.dues, at, dueKey, () => ({ at, lines: new Map() })) };
  }

  function count(job: Job, by: 1 | -1): void {
    length += by;
    rows += by * Math.max(1, job.rows);
  }

  return {
    get length() {
      return length;
    },
    get rows() {
      return rows;
    },
    *[Symbol.iterator]() {
      for (const { dues } of ranks) for (const { lines } of dues) yield* inTurns(lines);
    },
    add(job, isFirst) {
      const { rank, due } = placeOf(job);
      const line = due.lines.get(job.client);
      if (line === undefined) due.lines.set(job.client, new Set([job]));
      else if (isFirst) due.lines.set(job.client, new Set([job, ...line]));
      else line.add(job);
      rank.shares.add(job);
      count(job, 1);
    },
    remove(job) {
      const { rank, due } = placeOf(job);
      const line = due.lines.get(job.client);
      if (line?.delete(job) === true) {
        rank.shares.remove(job);
        count(job, -1);
      }
      if (line?.size === 0) due.lines.delete(job.client);
      if (due.lines.size === 0) rank.dues.splice(rank.dues.indexOf(due), 1);
      if (rank.dues.length === 0) ranks.splice(ranks.indexOf(rank), 1);
    },
    takeTurn(job) {
      const { lines } = placeOf(job).due;
      const line = lines.get(job.client);
      if (line === undefined) return;
      lines.delete(job.client);
      lines.set(job.client, line);
    },
    /** The time of a `Due` is never later than the deadlines that it stands for. */
    *past(now) {
      for (const { dues } of ranks) {
        for (const { at, lines } of dues) if (at <= now) for (const line of lines.values()) yield* line;
      }
    },
    get lowest() {
      return ranks.at(-1);
    },
  };
}

const rankKey = ({ rank }: Rank) => -rank;
const dueKey = ({ at }: Due) => at;

/** In a list that is sorted by `keyOf`; from the end, since mostly it belongs there. */
function findOrAdd<T>(list: T[], key: number, keyOf: (one: T) => number, make: () => T): T {
  let at = list.length;
  for (let last = list[at - 1]; last !== undefined && keyOf(last) >= key; last = list[at - 1]) {
    if (keyOf(last) === key) return last;
    at -= 1;
  }
  const made = make();
  list.splice(at, 0, made);
  return made;
}

/** One of each client, then another one of each. */
function* inTurns(lines: ReadonlyMap<string, ReadonlySet<Job>>): Generator<Job, undefined> {
  let open: Iterator<Job>[] = [];
  for (const line of lines.values()) {
    const jobs = line.values();
    const { value, done } = jobs.next();
    if (done === true) continue;
    open.push(jobs);
    yield value;
  }
  while (open.length > 0) {
    const still: Iterator<Job>[] = [];
    for (const jobs of open) {
      const { value, done } = jobs.next();
      if (done === true) continue;
      still.push(jobs);
      yield value;
    }
    open = still;
  }
  return undefined;
}
