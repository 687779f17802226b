import { BrinkError } from '@brink/protocol';
import { type Best, largestOf } from './levels.ts';
import { sigmoid } from './scores.ts';
import { type BatchOutputs, finiteSliceOf, type Values } from './tensors.ts';

/** Rows of one score per class, as many rows as there are boxes. */
export interface ClassRows {
  readonly classes: number;
  /** The best class of a row that is not the background. @param best is written: class, score */
  best(row: number, best: Best): void;
}

/** @throws BrinkError E_MODEL_OUTPUT, E_PASSPORT where scores and boxes are not equally many */
export function classRowsOf(
  outputs: BatchOutputs,
  unit: number,
  o: { name: string; rows: number; activation: 'none' | 'sigmoid' | 'softmax'; background: number | null },
): ClassRows {
  const data = finiteSliceOf(outputs, o.name, unit);
  const classes = data.length / o.rows;
  if (!Number.isInteger(classes) || (o.background !== null && (classes < 2 || o.background >= classes))) {
    const background = o.background === null ? '' : `, class ${o.background} being the background`;
    throw new BrinkError(
      'E_PASSPORT',
      `output "${o.name}" has ${data.length} numbers per unit; expected scores for ${o.rows} boxes${background}`,
    );
  }
  return {
    classes,
    best(row, best) {
      const from = row * classes;
      largestBut(data, from, classes, o.background, best);
      if (o.activation === 'sigmoid') best.value = sigmoid(best.value);
      if (o.activation === 'softmax') best.value = softmaxOf(data, from, classes, best.value);
    },
  };
}

function largestBut(data: Values, from: number, count: number, background: number | null, best: Best): void {
  if (background === null) {
    largestOf(data, from, 1, count, best);
    return;
  }
  best.index = background === 0 ? 1 : 0;
  best.value = data[from + best.index] as number;
  for (let i = best.index + 1; i < count; i++) {
    const value = data[from + i] as number;
    if (value <= best.value || i === background) continue;
    best.index = i;
    best.value = value;
  }
}

/** The share of `value`, which is one of the row, among all of the row. */
function softmaxOf(data: Values, from: number, count: number, value: number): number {
  let sum = 0;
  for (let i = 0; i < count; i++) sum += Math.exp((data[from + i] as number) - value);
  return 1 / sum;
}
