import { type Dimension, fitShape, type ModelInfo, type TensorInfo } from '@brink/onnx';
import { channelsOf, type WireHead, wireHeads } from '@brink/preprocess';
import { BrinkError, type ImageInput, type InputSpec, type Passport, type StateSpec } from '@brink/protocol';

export interface Agreement {
  /** What a unit must bring. */
  readonly heads: readonly WireHead[];
  /** Most units in one run: the passport's batch_max, or 1 where the graph takes one at a time. */
  readonly batchMax: number;
  /** The graph takes one unit at a time, whatever the passport says. */
  readonly single: boolean;
}

/** How one tensor of the graph takes units: many of them, or one. */
type Takes = 'batch' | 'single' | 'anything';

/**
 * Compares what the passport says with what the ONNX file says.
 * @throws BrinkError E_PASSPORT naming tensor, dimension, given and expected
 */
export function agree(passport: Passport, info: ModelInfo): Agreement {
  const asked = [...passport.inputs.map(({ tensor }) => tensor), ...passport.state.map((state) => state.in)];
  const missing = info.inputs.filter(({ name }) => !asked.includes(name));
  if (missing.length > 0) {
    throw new BrinkError(
      'E_PASSPORT',
      `inputs: the graph also needs ${listed(missing)}; the passport says nothing about it`,
    );
  }
  const twice = asked.find((name, at) => asked.indexOf(name) !== at);
  if (twice !== undefined) throw new BrinkError('E_PASSPORT', `inputs: "${twice}" is there twice`);
  const heads = wireHeads(passport);
  const taken = [
    ...passport.inputs.map((input, at) => agreeInput(input, `inputs[${at}]`, heads, info)),
    ...passport.state.map((state, at) => agreeState(state, `state[${at}]`, info)),
  ];
  for (const [key, name] of Object.entries(passport.output.tensors)) {
    outputOf(name, `output.tensors.${key}`, info);
  }
  const single = taken.includes('single');
  if (single && passport.batch_max > 1) {
    throw new BrinkError(
      'E_PASSPORT',
      `batch_max is ${passport.batch_max}; the graph's batch is fixed at 1, so expected 1`,
    );
  }
  return { heads, batchMax: single ? 1 : passport.batch_max, single };
}

function agreeInput(input: InputSpec, path: string, heads: readonly WireHead[], info: ModelInfo): Takes {
  const given = info.inputs.find(({ name }) => name === input.tensor);
  if (given === undefined) throw unknown(`${path}.tensor`, input.tensor, 'inputs', info.inputs);
  // What a constant must be like is said where it becomes a part of the graph.
  if ('constant' in input) return 'anything';
  if ('image' in input) return agreeImage(input.image, `${path}.image`, given);
  const wire = heads.find(({ name }) => name === input.tensor)?.shape ?? [];
  const form = 'audio' in input ? 'audio' : 'signal';
  if (given.shape === undefined) return 'anything';
  const [first, ...rest] = given.shape;
  if (typeof first === 'number' && first > 1 && fitShape(wire, rest) !== undefined) throw fixedBatch(first);
  const fit = fitShape(wire, given.shape);
  if (fit === undefined) throw mismatch(`${path}.${form}`, wire, given);
  return fit.batched && typeof first !== 'number' ? 'batch' : 'single';
}

function agreeImage(image: ImageInput, path: string, given: TensorInfo): Takes {
  const [channels, height, width] = [channelsOf(image), image.height, image.width];
  const expected = image.layout === 'nchw' ? [channels, height, width] : [height, width, channels];
  if (given.shape === undefined) return 'anything';
  const [first, ...rest] = given.shape;
  if (!fits(rest, expected) || given.shape.length === 0) throw mismatch(path, expected, given);
  if (typeof first === 'number' && first !== 1) throw fixedBatch(first);
  return typeof first === 'number' ? 'single' : 'batch';
}

/** Shapes of states are written with a 1 where the graph has its batch, which need not come first. */
function agreeState(state: StateSpec, path: string, info: ModelInfo): Takes {
  const given = info.inputs.find(({ name }) => name === state.in);
  if (given === undefined) throw unknown(`${path}.in`, state.in, 'inputs', info.inputs);
  const next = outputOf(state.out, `${path}.out`, info);
  for (const tensor of [given, next]) {
    if (tensor.shape === undefined || fits(tensor.shape, state.shape)) continue;
    throw new BrinkError(
      'E_PASSPORT',
      `${path}.shape is [${state.shape.join(', ')}]; tensor "${tensor.name}" of the graph is ${shown(tensor.shape)}`,
    );
  }
  if (given.shape === undefined) return 'anything';
  return given.shape.some((size, at) => typeof size !== 'number' && state.shape[at] === 1) ? 'batch' : 'single';
}

/** A symbolic or unnamed dimension takes every size. */
function fits(given: readonly Dimension[], expected: readonly number[]): boolean {
  return (
    given.length === expected.length &&
    expected.every((size, at) => typeof given[at] !== 'number' || given[at] === size)
  );
}

function outputOf(name: string, path: string, info: ModelInfo): TensorInfo {
  const output = info.outputs.find((one) => one.name === name);
  if (output === undefined) throw unknown(path, name, 'outputs', info.outputs);
  return output;
}

function unknown(path: string, name: string, kind: string, there: readonly TensorInfo[]): BrinkError {
  return new BrinkError('E_PASSPORT', `${path} is "${name}"; the graph's ${kind} are ${listed(there)}`);
}

function mismatch(path: string, expected: readonly number[], given: TensorInfo): BrinkError {
  return new BrinkError(
    'E_PASSPORT',
    `${path} means [batch, ${expected.join(', ')}]; tensor "${given.name}" of the graph is ${shown(given.shape)}`,
  );
}

function fixedBatch(size: number): BrinkError {
  return new BrinkError(
    'E_PASSPORT',
    `the graph's batch is fixed at ${size}; expected a symbolic first dimension, or 1`,
  );
}

function listed(tensors: readonly TensorInfo[]): string {
  return tensors.map(({ name, shape }) => `"${name}" ${shown(shape)}`).join(', ');
}

function shown(shape: readonly Dimension[] | undefined): string {
  return shape === undefined ? '(of unknown shape)' : `[${shape.map((size) => size ?? '?').join(', ')}]`;
}
