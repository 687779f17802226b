import { BrinkError } from '@brink/protocol';
import type { Labels } from './labels.ts';
import type { Values } from './tensors.ts';

/** How far from 0..1 a score may lie that a model calculated by itself. */
const ROUNDING = 1e-4;

/** Six decimals: more than a float32 holds near 1, and half the bytes of a record. */
export const digits = (value: number) => Math.round(value * 1e6) / 1e6;

export const sigmoid = (value: number) => 1 / (1 + Math.exp(-value));

/** A score of 0..1, freed of what rounding put beyond. @throws BrinkError E_MODEL_OUTPUT for one that is none */
export function probability(value: number, where: () => string): number {
  if (value >= 0 && value <= 1) return value;
  if (!(value >= -ROUNDING && value <= 1 + ROUNDING)) {
    throw new BrinkError('E_MODEL_OUTPUT', `${where()} is ${value}; expected a score of 0..1`);
  }
  return Math.min(1, Math.max(0, value));
}

/** Indices of the k largest values, largest first; equal values keep their order. */
export function largest(values: Values, k: number): number[] {
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

/** What a class is called, with the name in the language where the model has one. */
export interface Named {
  label: string;
  label_text?: string;
}

/** @returns for a class's number */
export function namer(labels: Labels | undefined, language: string): (index: number) => Named {
  const texts = labels?.texts[language];
  return (index) => {
    const label = labels?.names[index] ?? String(index);
    const text = texts?.[index];
    return text === undefined ? { label } : { label, label_text: text };
  };
}
