import { BrinkError, type StateSpec } from '@brink/protocol';
import type { TensorInfo } from '../read.ts';
import type { Chain } from './chain.ts';
import { takes } from './fit.ts';

/**
 * Where the graph has the batch among the dimensions of a state: a free one that the passport says is 1, else any 1.
 * @returns undefined: the graph has no dimension for it, so it takes one unit at a time
 * @throws BrinkError E_PASSPORT where the shapes differ
 */
export function batchAxis(
  state: StateSpec,
  native: TensorInfo,
  batch: string | undefined,
  path: string,
): number | undefined {
  const ones = [...state.shape.keys()].filter((axis) => state.shape[axis] === 1);
  const { shape } = native;
  if (shape === undefined) return ones[0];
  if (shape.length !== state.shape.length || !shape.every((given, axis) => takes(given, state.shape[axis] ?? 0))) {
    const [given, expected] = [shape.map((size) => size ?? '?').join(', '), state.shape.join(', ')];
    throw new BrinkError('E_PASSPORT', `${path}.shape is [${expected}]; "${native.name}" of the graph is [${given}]`);
  }
  const free = ones.filter((axis) => typeof shape[axis] !== 'number');
  return free.find((axis) => batch !== undefined && shape[axis] === batch) ?? free[0] ?? ones[0];
}

/** [batch, ...shape] of the wire → the graph's own order, the batch at `axis`. */
export function addStateIn(chain: Chain, state: StateSpec, axis: number | undefined): void {
  if (axis === undefined) {
    chain.reshape(state.shape);
    return;
  }
  const rest = state.shape.filter((_, at) => at !== axis);
  chain.reshape([0, ...rest]);
  if (axis > 0) chain.add('Transpose', [], { perm: moved(rest.length + 1, 0, axis) });
}

/** What the graph gives → [batch, ...shape] of the wire. */
export function addStateOut(chain: Chain, state: StateSpec, axis: number | undefined): void {
  if (axis !== undefined && axis > 0) chain.add('Transpose', [], { perm: moved(state.shape.length, axis, 0) });
  chain.reshape([axis === undefined ? 1 : 0, ...state.shape]);
}

/** The order of dimensions after one of them moved. */
function moved(rank: number, from: number, to: number): number[] {
  const order = [...Array(rank).keys()].filter((axis) => axis !== from);
  order.splice(to, 0, from);
  return order;
}
