import { BrinkError } from '@brink/protocol';
import type { Clock } from '@brink/runtime';
import type { ModelMetrics } from '../metrics.ts';
import type { Job } from './job.ts';
import { createJobQueue, type JobQueue } from './queue.ts';

/** The bounded waiting room of one model version. What cannot wait or need not be computed is answered here. */
export interface Admission extends Pick<JobQueue, 'length' | 'first' | 'takeBatch'> {
  /** @returns whether it waits now */
  add(job: Job): boolean;
  /** Puts back what was taken and not computed; the limit was kept when it came. */
  addAgain(job: Job): void;
  /** Answers what passed its deadline and what nobody waits for. */
  dropLate(): void;
  refuse(job: Job, error: BrinkError, attempt: boolean): void;
  /** Answers everything that waits, and from now on everything that comes. */
  close(error: BrinkError): void;
}

/** @param o name: for messages */
export function createAdmission(
  o: { name: string; queueMax: () => number },
  d: { clock: Clock; metrics: ModelMetrics },
): Admission {
  const { clock, metrics } = d;
  const queue = createJobQueue();
  let closed: BrinkError | undefined;

  function refuse(job: Job, error: BrinkError, attempt: boolean): void {
    metrics.refused(error.code);
    job.failed(error, attempt);
  }

  function dropLate(): void {
    const now = clock.monotonic();
    for (const job of queue.takeWhere((waiting) => waiting.deadlineAt <= now || waiting.cancelled())) {
      const waited = Math.round(now - job.arrivedAt);
      const expired = `its deadline passed after ${waited} ms in the queue of ${o.name}`;
      const error =
        job.deadlineAt <= now
          ? new BrinkError('E_EXPIRED', expired)
          : new BrinkError('E_CANCELLED', 'the caller gave up');
      refuse(job, error, false);
    }
  }

  /** @returns whether there is room for it; if not, it was answered */
  function makeRoom(job: Job): boolean {
    const most = o.queueMax();
    if (queue.length < most) return true;
    dropLate();
    if (queue.length < most) return true;
    const shed = queue.victim(job) ?? job;
    refuse(shed, new BrinkError('E_BUSY', `${most} units wait for ${o.name}; no more may (queue_max)`), false);
    return shed !== job;
  }

  return {
    get length() {
      return queue.length;
    },
    get first() {
      return queue.first;
    },
    takeBatch(max) {
      const batch = queue.takeBatch(max);
      metrics.waiting.set(queue.length);
      return batch;
    },
    add(job) {
      if (closed !== undefined) refuse(job, closed, false);
      else if (makeRoom(job)) {
        queue.add(job);
        metrics.waiting.set(queue.length);
        return true;
      }
      return false;
    },
    addAgain(job) {
      if (closed !== undefined) refuse(job, closed, false);
      else queue.add(job);
    },
    dropLate,
    refuse,
    close(error) {
      closed = error;
      for (const job of queue.takeWhere(() => true)) refuse(job, error, false);
      metrics.waiting.set(0);
    },
  };
}
