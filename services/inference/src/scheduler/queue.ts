import { before, type Job, joinKey } from './job.ts';

/** Jobs in the order in which they run. */
export interface JobQueue {
  readonly length: number;
  readonly first: Job | undefined;
  add(job: Job): void;
  /** Takes the first job, and with it as many others as go into one run with it. */
  takeBatch(max: number): Job[];
  /** Takes everything that matches. */
  takeWhere(matches: (job: Job) => boolean): Job[];
  /** The one to shed: of the lowest priority the one that waits longest. Undefined if `than` itself is of lower priority. */
  victim(than: Job): Job | undefined;
}

export function createJobQueue(): JobQueue {
  let jobs: Job[] = [];

  return {
    get length() {
      return jobs.length;
    },
    get first() {
      return jobs[0];
    },
    add(job) {
      // Mostly it belongs at the end.
      let at = jobs.length;
      for (let last = jobs[at - 1]; last !== undefined && before(job, last); last = jobs[at - 1]) at -= 1;
      if (at === jobs.length) jobs.push(job);
      else jobs.splice(at, 0, job);
    },
    takeBatch(max) {
      const first = jobs[0];
      if (first === undefined) return [];
      const key = joinKey(first);
      if (key === undefined) return jobs.splice(0, 1);
      const batch: Job[] = [];
      const rest: Job[] = [];
      let rows = 0;
      for (const job of jobs) {
        const fits = joinKey(job) === key && (job === first || rows + job.rows <= max);
        if (fits) rows += job.rows;
        (fits ? batch : rest).push(job);
      }
      jobs = rest;
      return batch;
    },
    takeWhere(matches) {
      // Asked before every run, and mostly in vain.
      if (!jobs.some(matches)) return [];
      const taken: Job[] = [];
      const rest: Job[] = [];
      for (const job of jobs) (matches(job) ? taken : rest).push(job);
      jobs = rest;
      return taken;
    },
    victim(than) {
      const lowest = jobs.at(-1)?.priority ?? Number.POSITIVE_INFINITY;
      if (than.priority < lowest) return undefined;
      let oldest: Job | undefined;
      for (let at = jobs.length - 1; at >= 0 && jobs[at]?.priority === lowest; at--) {
        const job = jobs[at];
        if (job !== undefined && (oldest === undefined || job.arrivedAt <= oldest.arrivedAt)) oldest = job;
      }
      if (oldest !== undefined) jobs.splice(jobs.indexOf(oldest), 1);
      return oldest;
    },
  };
}
