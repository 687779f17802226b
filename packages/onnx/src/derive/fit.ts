import type { Dimension } from '../read.ts';

/** How a tensor of one unit lies in a tensor of the graph. */
export interface Fit {
  /** The graph's first dimension is the batch. Else it takes one unit, with no dimension for more. */
  readonly batched: boolean;
  /** Every size in the graph's order, without the batch where there is one. */
  readonly shape: readonly number[];
  /** Ranks differ by ones. */
  readonly reshape: boolean;
}

/**
 * @param wire of one unit, without a batch dimension
 * @param native as the file has it; undefined takes everything
 * @returns undefined where the two do not go together
 */
export function fitShape(wire: readonly number[], native: readonly Dimension[] | undefined): Fit | undefined {
  if (native === undefined) return { batched: true, shape: wire, reshape: false };
  const [first] = native;
  if (native.length > 0 && (typeof first !== 'number' || first === 1)) {
    const shape = assign(wire, native.slice(1));
    if (shape !== undefined)
      return { batched: true, shape, reshape: shape.length !== wire.length || !same(shape, wire) };
    // A free first dimension is the batch, and no place for channels; alone it may be the samples.
    if (typeof first !== 'number' && native.length > 1) return undefined;
  }
  const shape = assign(wire, native);
  return shape === undefined ? undefined : { batched: false, shape, reshape: true };
}

const same = (a: readonly number[], b: readonly number[]) => a.every((size, at) => size === b[at]);

/** A symbolic or unnamed dimension takes every size. */
export const takes = (given: Dimension, size: number) => typeof given !== 'number' || given === size;

/** More dimensions than any network has: files may say anything, and every way to fill them is tried. */
const RANK_MAX = 12;

/** Ones may be left out or put in; every other size keeps its place in the row. */
function assign(wire: readonly number[], native: readonly Dimension[]): number[] | undefined {
  if (native.length > RANK_MAX) return undefined;
  if (wire.length === native.length && native.every((given, at) => takes(given, wire[at] ?? 0))) return [...wire];
  return fill(
    wire.filter((size) => size !== 1),
    native,
  );
}

/** Free dimensions in front become the ones: [batch, channel, time] takes 16,000 samples as 1 × 16000. */
function fill(sizes: readonly number[], native: readonly Dimension[]): number[] | undefined {
  const [given, ...rest] = native;
  if (native.length === 0) return sizes.length === 0 ? [] : undefined;
  if (takes(given, 1)) {
    const filled = sizes.length < native.length ? fill(sizes, rest) : undefined;
    if (filled !== undefined) return [1, ...filled];
  }
  const [size, ...others] = sizes;
  if (size === undefined || !takes(given, size)) return undefined;
  const filled = fill(others, rest);
  return filled === undefined ? undefined : [size, ...filled];
}
