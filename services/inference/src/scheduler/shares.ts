import type { Job } from './job.ts';

/** Who has how much waiting. Every operation takes the same time, however many clients there are. */
export interface Shares {
  add(job: Job): void;
  remove(job: Job): void;
  readonly isEmpty: boolean;
  /** The client with the most jobs here; of several the one that has had so many for longest. */
  readonly largest: string | undefined;
  countOf(client: string): number;
  oldestOf(client: string): Job | undefined;
}

export function createShares(): Shares {
  /** In the order in which they came. */
  const jobsOf = new Map<string, Set<Job>>();
  const clientsWith = new Map<number, Set<string>>();
  let most = 0;

  function move(client: string, from: number, to: number): void {
    const left = clientsWith.get(from);
    left?.delete(client);
    if (left?.size === 0) clientsWith.delete(from);
    if (to === 0) return;
    const joined = clientsWith.get(to);
    if (joined === undefined) clientsWith.set(to, new Set([client]));
    else joined.add(client);
  }

  return {
    add(job) {
      let jobs = jobsOf.get(job.client);
      if (jobs === undefined) {
        jobs = new Set();
        jobsOf.set(job.client, jobs);
      }
      jobs.add(job);
      move(job.client, jobs.size - 1, jobs.size);
      most = Math.max(most, jobs.size);
    },
    remove(job) {
      const jobs = jobsOf.get(job.client);
      if (jobs?.delete(job) !== true) return;
      move(job.client, jobs.size + 1, jobs.size);
      if (jobs.size === 0) jobsOf.delete(job.client);
      // Whoever had the most has one less now, so somebody has that many.
      if (!clientsWith.has(most)) most -= 1;
    },
    get isEmpty() {
      return jobsOf.size === 0;
    },
    get largest() {
      return clientsWith.get(most)?.values().next().value;
    },
    countOf: (client) => jobsOf.get(client)?.size ?? 0,
    oldestOf: (client) => jobsOf.get(client)?.values().next().value,
  };
}
