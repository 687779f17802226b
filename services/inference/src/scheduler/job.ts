import type { BatchOutputs } from '@brink/decoders';
import type { BrinkError, ErrorCode } from '@brink/protocol';

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
  /** Computed only when nothing else wants the slot, and shed first. */
  readonly shadow: boolean;
  /** Who asks: of equal priority and deadline clients take turns. */
  readonly client: string;
  /** ms on the monotonic clock, Infinity for none. After it the job is not computed. */
  readonly deadlineAt: number;
  /** ms on the monotonic clock */
  readonly arrivedAt: number;
  /** It crashed or hung a runner before: it runs in a batch of its own. */
  alone: boolean;
  /** '' is the graph that units run on, 'native' the one that the file has. */
  readonly session: Session;
  /** Its tensors, of one row, without the batch dimension; whole tensors where `rows` is 0. */
  readonly heads: readonly Head[];
  /** Along the batch dimension. 0: whole tensors, which run by themselves. */
  readonly rows: number;
  /**
   * Jobs with the same key share runs; none: it runs by itself. Units, which all have the heads of their model, leave it away;
   * requests of the Open Inference Protocol name what makes two of them alike.
   */
  readonly join?: string;
  /** One per head, all its rows. */
  readonly payloads: readonly Uint8Array[];
  /** The caller gave up: it is not computed. */
  readonly cancelled: () => boolean;
  /** @param firstRow of this job in the run */
  done(run: FinishedRun, firstRow: number): void;
  /** Set by `done` where what came out of the run is no answer after all. */
  wrong?: ErrorCode;
  /** @param attempt a run that contained it crashed or hung */
  failed(error: BrinkError, attempt: boolean): void;
}

export type Session = '' | 'native';

/** @returns undefined where it runs by itself */
export function joinKey({ alone, rows, join, session }: Job): string | undefined {
  if (alone || rows === 0) return undefined;
  return session === '' ? (join ?? '') : join;
}

export interface FinishedRun {
  readonly outputs: BatchOutputs;
  /** Shapes of the outputs, whole batch. */
  readonly heads: readonly Head[];
  /** ms on the monotonic clock: when the runner could begin with it. */
  readonly startedAt: number;
  readonly runMs: number;
}

/** Higher first: 9 … 0, then what is only shadow. */
export function rankOf({ priority, shadow }: Job): number {
  return shadow ? priority - 10 : priority;
}

/**
 * What a deadline counts in the order of runs: exact to an eighth of the time that was given. Deadlines of different clients are
 * hardly ever equal to the millisecond, and to serve the one that is .3 ms earlier would be the order of arrival by another name,
 * in which the client that asks most gets most.
 */
export function dueOf({ arrivedAt, deadlineAt }: Job): number {
  if (deadlineAt === Number.POSITIVE_INFINITY) return deadlineAt;
  const step = 2 ** Math.floor(Math.log2(Math.max(1, (deadlineAt - arrivedAt) / 8)));
  return Math.floor(deadlineAt / step) * step;
}
