import { BrinkError } from '@brink/protocol';
import type { Clock } from '@brink/runtime';
import type { ModelMetrics } from '../metrics.ts';
import type { Admission } from './admission.ts';
import type { FinishedRun, Head, Job, Session } from './job.ts';
import { type LaneStats, spend, statsOfBatch } from './stats.ts';

/** What computes batches for a lane: one runner process. Runs one after the other, in the order in which they were given. */
export interface BatchRunner {
  /** Never rejects. */
  run(request: RunRequest, runMsMax: number): Promise<RunEnd>;
}

export interface RunRequest {
  readonly session: Session;
  /** Rows in all; 0: `heads` are whole tensors. */
  readonly batch: number;
  /** Of one row, without the batch dimension. */
  readonly heads: readonly Head[];
  /** Job by job, one per head; each holds all rows of its job. */
  readonly payloads: readonly Uint8Array[];
}

/**
 * attempt: the runner crashed or was ended while it computed this. again: it crashed before it came to it.
 * final: the runner lives and says that it cannot be computed.
 */
export type RunEnd =
  | { kind: 'ran'; run: Omit<FinishedRun, 'startedAt'> }
  | { kind: 'failed'; error: BrinkError; fate: 'attempt' | 'again' | 'final' };

export const rowsOf = (batch: readonly Job[]) => batch.reduce((rows, job) => rows + job.rows, 0);

/** @param batch not empty; all with the same heads */
export function requestOf(batch: readonly Job[]): RunRequest {
  const { session, heads } = batch[0] as Job;
  return { session, batch: rowsOf(batch), heads, payloads: batch.flatMap((job) => job.payloads) };
}

/** Gives each job its rows, and counts. @param endedAt when the runner's answer came */
export function settleRan(
  d: { metrics: ModelMetrics; stats: LaneStats; clock: Clock },
  batch: readonly Job[],
  run: FinishedRun,
  endedAt: number,
): void {
  const begunAt = d.clock.monotonic();
  let row = 0;
  for (const job of batch) {
    give(job, run, row);
    row += job.rows;
  }
  const times = {
    queueMs: batch.reduce((most, job) => Math.max(most, run.startedAt - job.arrivedAt), 0),
    prepareMs: Math.max(0, endedAt - run.startedAt - run.runMs),
    runMs: run.runMs,
    decodeMs: d.clock.monotonic() - begunAt,
  };
  for (const { wrong } of batch) d.metrics.answered(wrong ?? 'ok');
  measure(d.metrics, Math.max(1, row), times);
  count(d, batch, Math.max(1, row), { ...times, startedAt: run.startedAt });
}

/** One that stumbles over its result keeps none of the others waiting. */
function give(job: Job, run: FinishedRun, row: number): void {
  try {
    job.done(run, row);
  } catch (reason) {
    const error = BrinkError.from(reason);
    job.wrong = error.code;
    job.failed(error, false);
  }
}

interface Times {
  readonly queueMs: number;
  readonly prepareMs: number;
  readonly runMs: number;
  readonly decodeMs: number;
}

function measure(metrics: ModelMetrics, rows: number, times: Times): void {
  metrics.units.inc(rows);
  metrics.batch.observe(rows);
  metrics.queue.observe(times.queueMs / 1000);
  metrics.prepare.observe(times.prepareMs / 1000);
  metrics.run.observe(times.runMs / 1000);
  metrics.decode.observe(times.decodeMs / 1000);
}

function count(
  { stats, clock }: { stats: LaneStats; clock: Clock },
  batch: readonly Job[],
  rows: number,
  times: Times & { startedAt: number },
): void {
  stats.inferenceCount += rows;
  stats.executionCount += 1;
  stats.lastInferenceMs = clock.now();
  for (const [on, often] of [[stats, batch.length] as const, [statsOfBatch(stats, rows), 1] as const]) {
    spend(on.compute_input, times.prepareMs, often);
    spend(on.compute_infer, times.runMs, often);
    spend(on.compute_output, times.decodeMs, often);
  }
  const now = clock.monotonic();
  for (const job of batch) {
    spend(stats.queue, times.startedAt - job.arrivedAt);
    spend(job.wrong === undefined ? stats.success : stats.fail, now - job.arrivedAt);
  }
}

export function settleFailed(
  admission: Admission,
  batch: readonly Job[],
  { error, fate }: Extract<RunEnd, { kind: 'failed' }>,
): void {
  // One unit that the graph refuses must not take its batch-mates along: each shows by itself what it is.
  const apart = fate === 'final' && batch.length > 1;
  if (apart) for (const job of batch) job.alone = true;
  if (apart || fate === 'again') admission.addAgain(batch);
  else for (const job of batch) admission.refuse(job, error, fate === 'attempt');
}
