import { BrinkError, type OutputSpec, type Result } from '@brink/protocol';
import type { Decode, DecoderOptions } from './decode.ts';
import { sliceOf } from './tensors.ts';

/** How far from 0..1 a score may lie that a model calculated by itself. */
const ROUNDING = 1e-4;
const TOP_RAW = 5;

/**
 * One tensor of one value per class, whatever the passport calls it. Scores are softmax, sigmoid, or the values themselves.
 * Where no class reaches score_min the label is "none" with score 0.
 */
export function createClassification({ task, output, labels }: DecoderOptions): Decode {
  const name = tensorOf(output);
  return (outputs, unit, language) => {
    const raw = sliceOf(outputs, name, unit);
    refuseNotFinite(raw, name);
    if (labels !== undefined && labels.names.length !== raw.length) {
      throw new BrinkError(
        'E_PASSPORT',
        `output "${name}" has ${raw.length} values per unit; there are ${labels.names.length} labels`,
      );
    }
    const texts = labels?.texts[language];
    const order = largest(raw, Math.max(output.top, TOP_RAW));
    const scores = activate(raw, order, output.activation, name);
    const label = (index: number) => labels?.names[index] ?? String(index);
    const classes = order.slice(0, output.top).flatMap((index, rank) => {
      const score = scores[rank] ?? 0;
      if (score < output.score_min) return [];
      const text = texts?.[index];
      return [text === undefined ? { label: label(index), score } : { label: label(index), label_text: text, score }];
    });
    const best = classes[0] ?? { label: 'none', score: 0 };
    const result: Result = { task, ...best, classes };
    return {
      result,
      top: order.slice(0, TOP_RAW).map((index) => ({ label: label(index), raw: digits(raw[index] ?? 0) })),
    };
  };
}

function tensorOf(output: OutputSpec): string {
  const [name, ...more] = Object.values(output.tensors);
  if (name === undefined || more.length > 0) {
    throw new BrinkError(
      'E_PASSPORT',
      `output.tensors has ${more.length + (name === undefined ? 0 : 1)} entries; classification takes one`,
    );
  }
  return name;
}

function refuseNotFinite(raw: ArrayLike<number>, name: string): void {
  for (let i = 0; i < raw.length; i++) {
    if (!Number.isFinite(raw[i]))
      throw new BrinkError('E_MODEL_OUTPUT', `output "${name}" is ${raw[i]} for class ${i}`);
  }
}

/** Indices of the k largest values, largest first; equal values keep the order of their classes. */
function largest(values: ArrayLike<number>, k: number): number[] {
  const order: number[] = [];
  for (let i = 0; i < values.length; i++) {
    const value = values[i] ?? 0;
    if (order.length === k && value <= (values[order[k - 1] ?? 0] ?? 0)) continue;
    let at = order.length;
    while (at > 0 && value > (values[order[at - 1] ?? 0] ?? 0)) at -= 1;
    order.splice(at, 0, i);
    if (order.length > k) order.pop();
  }
  return order;
}

/** Scores of the classes in `order`. */
function activate(
  raw: ArrayLike<number>,
  order: number[],
  activation: OutputSpec['activation'],
  name: string,
): number[] {
  if (activation === 'sigmoid') return order.map((index) => digits(1 / (1 + Math.exp(-(raw[index] ?? 0)))));
  if (activation === 'none') return order.map((index) => digits(probability(raw[index] ?? 0, index, name)));
  const top = raw[order[0] ?? 0] ?? 0;
  let sum = 0;
  for (let i = 0; i < raw.length; i++) sum += Math.exp((raw[i] ?? 0) - top);
  return order.map((index) => digits(Math.exp((raw[index] ?? 0) - top) / sum));
}

function probability(value: number, index: number, name: string): number {
  if (value < -ROUNDING || value > 1 + ROUNDING) {
    throw new BrinkError(
      'E_MODEL_OUTPUT',
      `output "${name}" is ${value} for class ${index}; activation "none" expects scores of 0..1`,
    );
  }
  return Math.min(1, Math.max(0, value));
}

/** Six decimals: more than a float32 holds near 1, and half the bytes of a record. */
const digits = (value: number) => Math.round(value * 1e6) / 1e6;
