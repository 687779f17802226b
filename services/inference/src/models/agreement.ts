import { comparePassport, fitShape, type ModelInfo } from '@brink/onnx';
import { isPrepared, type WireHead, wireHeads } from '@brink/preprocess';
import { BrinkError, type Passport } from '@brink/protocol';

export interface Agreement {
  /** What a unit must bring. */
  readonly heads: readonly WireHead[];
  /** Most units in one run: the passport's batch_max, or 1 where the graph takes one at a time. */
  readonly batchMax: number;
  /** The graph takes one unit at a time, whatever the passport says. */
  readonly single: boolean;
}

/**
 * Compares what the passport says with what the ONNX file says.
 * @throws BrinkError E_PASSPORT naming tensor, dimension, given and expected
 */
export function agree(passport: Passport, info: ModelInfo): Agreement {
  const heads = wireHeads(passport);
  const wrong = comparePassport(passport, info, heads);
  if (wrong.length > 0) {
    const lines = wrong.map(({ path, given, expected }) => `${path}: ${given}; expected ${expected}`);
    throw new BrinkError('E_PASSPORT', lines.join(' · ').slice(0, 2000));
  }
  const single = takesOne(passport, info, heads);
  return { heads, batchMax: single ? 1 : passport.batch_max, single };
}

/** Some tensor of the graph has no room for a second unit. */
function takesOne({ inputs, state }: Passport, info: ModelInfo, heads: readonly WireHead[]): boolean {
  const shapeOf = (tensor: string) => info.inputs.find(({ name }) => name === tensor)?.shape;
  const isFree = (size: unknown) => typeof size !== 'number';
  return (
    inputs.filter(isPrepared).some((input, at) => {
      const shape = shapeOf(input.tensor);
      if (shape === undefined) return false;
      const isBatched = 'image' in input || fitShape(heads[at]?.shape ?? [], shape)?.batched === true;
      return !isBatched || !isFree(shape[0]);
    }) ||
    state.some((one) => {
      // Shapes of states are written with a 1 where the graph has its batch, which need not come first.
      const shape = shapeOf(one.in);
      return shape !== undefined && !shape.some((size, axis) => isFree(size) && one.shape[axis] === 1);
    })
  );
}
