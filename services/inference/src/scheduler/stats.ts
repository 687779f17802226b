/** How often, and how long in all. */
export interface Spent {
  count: number;
  ns: number;
}

/** Of one size of batch. */
export interface BatchStats {
  readonly compute_input: Spent;
  readonly compute_infer: Spent;
  readonly compute_output: Spent;
}

/**
 * What one model version did since it was loaded, under the names and with the meanings of Triton's statistics extension: every job
 * counts the whole time of the run that it was in. (triton-inference-server/server docs/protocol/extension_statistics.md)
 */
export interface LaneStats extends BatchStats {
  /** From arrival to answer. */
  readonly success: Spent;
  readonly fail: Spent;
  readonly queue: Spent;
  /** Rows that were computed. */
  inferenceCount: number;
  /** Runs. */
  executionCount: number;
  /** ms since 1970; 0: none yet */
  lastInferenceMs: number;
  /** by rows per run; at most as many as there are sizes */
  readonly batches: Map<number, BatchStats>;
}

const none = (): Spent => ({ count: 0, ns: 0 });
const batchStats = (): BatchStats => ({ compute_input: none(), compute_infer: none(), compute_output: none() });

export function createLaneStats(): LaneStats {
  return {
    success: none(),
    fail: none(),
    queue: none(),
    ...batchStats(),
    inferenceCount: 0,
    executionCount: 0,
    lastInferenceMs: 0,
    batches: new Map(),
  };
}

/** @param times how often it is counted */
export function spend(on: Spent, ms: number, times = 1): void {
  on.count += times;
  on.ns += Math.round(ms * 1e6) * times;
}

export function statsOfBatch({ batches }: LaneStats, rows: number): BatchStats {
  const known = batches.get(rows);
  if (known !== undefined) return known;
  const fresh = batchStats();
  batches.set(rows, fresh);
  return fresh;
}
