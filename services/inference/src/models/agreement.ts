import type { Dimension, ModelInfo, TensorInfo } from '@brink/onnx';
import { channelsOf, type WireHead, wireHeads } from '@brink/preprocess';
import { BrinkError, type Passport } from '@brink/protocol';

export interface Agreement {
  /** What a unit must bring. */
  readonly head: WireHead;
  /** Most units in one run: the passport's batch_max, or 1 where the graph's batch is fixed. */
  readonly batchMax: number;
}

/**
 * Compares what the passport says with what the ONNX file says.
 * @throws BrinkError E_PASSPORT naming tensor, dimension, given and expected
 */
export function agree(passport: Passport, info: ModelInfo): Agreement {
  const asked = new Set(passport.inputs.map(({ tensor }) => tensor));
  const missing = info.inputs.filter(({ name }) => !asked.has(name));
  if (missing.length > 0) {
    throw new BrinkError(
      'E_PASSPORT',
      `inputs: the graph also needs ${listed(missing)}; the passport says nothing about it`,
    );
  }
  for (const [at, input] of passport.inputs.entries()) {
    if (!('image' in input)) throw new BrinkError('E_UNSUPPORTED', `inputs[${at}] is no picture`);
    const { tensor, image } = input;
    const given = info.inputs.find(({ name }) => name === tensor);
    if (given === undefined) {
      throw new BrinkError(
        'E_PASSPORT',
        `inputs[${at}].tensor is "${tensor}"; the graph's inputs are ${listed(info.inputs)}`,
      );
    }
    const [channels, height, width] = [channelsOf(image), image.height, image.width];
    const expected = image.layout === 'nchw' ? [channels, height, width] : [height, width, channels];
    compare(`inputs[${at}].image`, given, expected);
  }
  for (const [key, name] of Object.entries(passport.output.tensors)) {
    if (!info.outputs.some((output) => output.name === name)) {
      throw new BrinkError(
        'E_PASSPORT',
        `output.tensors.${key} is "${name}"; the graph's outputs are ${listed(info.outputs)}`,
      );
    }
  }
  const [head] = wireHeads(passport);
  if (head === undefined) throw new BrinkError('E_PASSPORT', 'inputs is empty');
  return { head, batchMax: batchMaxOf(passport, info) };
}

function compare(path: string, given: TensorInfo, expected: readonly number[]): void {
  const { shape } = given;
  if (shape === undefined) return;
  const fits = shape.length === expected.length + 1 && expected.every((size, at) => matches(shape[at + 1], size));
  if (!fits) {
    throw new BrinkError(
      'E_PASSPORT',
      `${path} means [batch, ${expected.join(', ')}]; tensor "${given.name}" of the graph is ${shown(shape)}`,
    );
  }
}

/** A symbolic or unnamed dimension takes every size. */
const matches = (given: Dimension, size: number) => typeof given !== 'number' || given === size;

function batchMaxOf(passport: Passport, info: ModelInfo): number {
  const fixed = info.inputs.map(({ shape }) => shape?.[0]).find((first) => typeof first === 'number');
  if (fixed === undefined) return passport.batch_max;
  if (fixed !== 1) {
    throw new BrinkError(
      'E_PASSPORT',
      `the graph's batch is fixed at ${fixed}; expected a symbolic first dimension, or 1`,
    );
  }
  if (passport.batch_max > 1) {
    throw new BrinkError(
      'E_PASSPORT',
      `batch_max is ${passport.batch_max}; the graph's batch is fixed at 1, so expected 1`,
    );
  }
  return 1;
}

function listed(tensors: readonly TensorInfo[]): string {
  return tensors.map(({ name, shape }) => `"${name}" ${shown(shape)}`).join(', ');
}

function shown(shape: readonly Dimension[] | undefined): string {
  return shape === undefined ? '(of unknown shape)' : `[${shape.map((size) => size ?? '?').join(', ')}]`;
}
