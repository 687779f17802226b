import { expect } from 'vitest';
import type { Units } from './units.ts';

/** Every unit of a recording as numbers; there are as many as were announced. */
export function floatsOf({ count, tensors }: Units): Float32Array[] {
  const all = [...tensors].map((bytes) => new Float32Array(bytes.slice().buffer));
  expect(all.length).toBe(count);
  return all;
}
