import type { BatchOutputs } from '@brink/decoders';
import type { BrinkError } from '@brink/protocol';

/** A tensor without its bytes; the same fields as `TensorHead` of the link. */
export interface Head {
  readonly name: string;
  /** as ONNX Runtime calls it */
  readonly dtype: string;
  readonly shape: readonly number[];
}

/** What waits for a run: one unit, or one request of the Open Inference Protocol. */
export interface Job {
  /** 9 first */
  readonly priority: number;
  /** ms on the monotonic clock, Infinity for none. After it the job is not computed. */
  readonly deadlineAt: number;
  /** ms on the monotonic clock */
  readonly arrivedAt: number;
  /** It crashed or hung a runner before: it runs in a batch of its own. */
  alone: boolean;
  /** Set where it asks the native graph, with whole tensors: nothing is stacked. */
  readonly native?: readonly Head[];
  /** Its input tensors. */
  readonly payloads: readonly Uint8Array[];
  /** The caller gave up: it is not computed. */
  readonly cancelled: () => boolean;
  /** @param index of this job in the batch */
  done(run: FinishedRun, index: number): void;
  /** @param attempt a run that contained it crashed or hung */
  failed(error: BrinkError, attempt: boolean): void;
}

export interface FinishedRun {
  readonly outputs: BatchOutputs;
  /** Shapes of the outputs, whole batch. */
  readonly heads: readonly Head[];
  readonly startedAt: number;
  readonly runMs: number;
}

/** 9 before 0, then the earlier deadline, then the earlier arrival. */
export function before(a: Job, b: Job): boolean {
  if (a.priority !== b.priority) return a.priority > b.priority;
  if (a.deadlineAt !== b.deadlineAt) return a.deadlineAt < b.deadlineAt;
  return a.arrivedAt < b.arrivedAt;
}
