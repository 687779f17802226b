import type { TensorInfo } from '@brink/onnx';
import type { LoadedModel } from '../models/version.ts';
import type { FinishedRun, Head } from '../scheduler/job.ts';

// Requests of several clients may share a run where their tensors can be put one behind the other along the first dimension.

/**
 * How many rows a request has that may share a run; 0: it runs by itself, with whole tensors. It may where the passport allows
 * batches and the graph leaves the first dimension of every input and output free, under one name where it has names. A graph
 * that only looks like it is found out by its results (`liesInRows`).
 */
export function rowsOf(model: LoadedModel, batchBest: number, heads: readonly Head[]): number {
  const { passport, native } = model;
  if (passport === undefined || passport.batch_max <= 1) return 0;
  const tensors = [...native.inputs, ...native.outputs];
  if (!tensors.every(isFreeFirst)) return 0;
  if (new Set(tensors.map(({ shape }) => shape?.[0]).filter((size) => size !== undefined)).size > 1) return 0;
  const rows = heads[0]?.shape[0] ?? 0;
  if (rows > batchBest || heads.some(({ shape }) => shape[0] !== rows)) return 0;
  return rows;
}

/** Strings have no equal rows. */
function isFreeFirst({ dtype, shape }: TensorInfo): boolean {
  return dtype !== 'string' && shape !== undefined && shape.length > 0 && typeof shape[0] !== 'number';
}

/** Heads of one row, and what another request must have in common to share a run. */
export function joinedHeads(heads: readonly Head[]): { heads: readonly Head[]; join: string } {
  const rows = heads.map((head) => ({ ...head, shape: head.shape.slice(1) }));
  return { heads: rows, join: `oip ${rows.map(({ name, shape }) => `${name}[${shape}]`).join(' ')}` };
}

/** Whether every output has one row per row that went in. */
export function liesInRows(run: FinishedRun): boolean {
  return run.heads.every(({ shape }) => shape[0] === run.outputs.batch);
}
