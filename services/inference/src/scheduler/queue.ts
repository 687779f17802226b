import { type Job, joinKey, rankOf } from './job.ts';
import { createOrder } from './order.ts';

/** Jobs that wait, in the order in which they run. */
export interface JobQueue {
  readonly length: number;
  /** Of all jobs; whole tensors count as one. */
  readonly rows: number;
  readonly first: Job | undefined;
  /** The lowest rank in which something waits. */
  readonly lowestRank: number | undefined;
  add(job: Job): void;
  /** Before everything else of its client, of its rank and deadline. */
  addFirst(job: Job): void;
  /**
   * Takes the first job and as many others as go into one run with it: up to `rowsMax`, but the first one whole. What is late on
   * the way is taken too, apart.
   */
  take(rowsMax: number, isLate: (job: Job) => boolean): Taken;
  /** Takes what has its deadline at `now` or before it. */
  takeExpired(now: number): Job[];
  takeWhere(matches: (job: Job) => boolean): Job[];
  /**
   * Which is to go so that `than` can wait: of the lowest rank the oldest job of the client with the most there. `than` itself where
   * it is of lower rank than all. Whoever it is, it stays in the queue.
   */
  victim(than: Job): Job;
  remove(job: Job): void;
}

interface Taken {
  readonly batch: Job[];
  readonly late: Job[];
}

export function createJobQueue(): JobQueue {
  const order = createOrder();

  function takeAll(jobs: Job[]): Job[] {
    for (const job of jobs) order.remove(job);
    return jobs;
  }

  return {
    get length() {
      return order.length;
    },
    get rows() {
      return order.rows;
    },
    get first() {
      return firstOf(order);
    },
    get lowestRank() {
      return order.lowest?.rank;
    },
    add: (job) => order.add(job, false),
    addFirst: (job) => order.add(job, true),
    take(rowsMax, isLate) {
      const taken = choose(order, rowsMax, isLate);
      // In this sequence: without a job a client has no place in the turns.
      for (const job of taken.batch) {
        order.takeTurn(job);
        order.remove(job);
      }
      takeAll(taken.late);
      return taken;
    },
    takeExpired: (now) => takeAll([...order.past(now)].filter(({ deadlineAt }) => deadlineAt <= now)),
    takeWhere: (matches) => takeAll([...order].filter(matches)),
    victim(than) {
      const { lowest } = order;
      const largest = lowest?.shares.largest;
      if (lowest === undefined || largest === undefined || rankOf(than) < lowest.rank) return than;
      const { shares } = lowest;
      const own = rankOf(than) === lowest.rank ? shares.countOf(than.client) : 0;
      // With this one it would have the most itself. A client without any is let in before one that has as much as all others.
      const isLargest = own > 0 && own + 1 >= shares.countOf(largest);
      return shares.oldestOf(isLargest ? than.client : largest) ?? than;
    },
    remove: order.remove,
  };
}

function firstOf(jobs: Iterable<Job>): Job | undefined {
  for (const job of jobs) return job;
  return undefined;
}

/** Through the whole queue if need be: a batch is filled exactly, with whatever is alike and fits. */
function choose(jobs: Iterable<Job>, rowsMax: number, isLate: (job: Job) => boolean): Taken {
  const taken: Taken = { batch: [], late: [] };
  const { batch } = taken;
  let rows = 0;
  for (const job of jobs) {
    const [first] = batch;
    if (isLate(job)) taken.late.push(job);
    else if (first === undefined || (joins(job, first) && rows + job.rows <= rowsMax)) {
      batch.push(job);
      rows += job.rows;
      if (rows >= rowsMax || joinKey(job) === undefined) break;
    }
  }
  return taken;
}

function joins(job: Job, first: Job): boolean {
  return job.session === first.session && joinKey(job) === joinKey(first);
}
