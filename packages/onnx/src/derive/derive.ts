import { BrinkError, type InputSpec, type Passport } from '@brink/protocol';
import { encode, value } from '../build.ts';
import type { Dtype } from '../dtype.ts';
import type { ModelProto, ValueInfoProto } from '../gen/onnx/onnx_pb.js';
import { graphOf, parseModel } from '../parse.ts';
import { type Dimension, describe, type TensorInfo } from '../read.ts';
import { createChain } from './chain.ts';
import { constantNodes } from './constant.ts';
import { fitShape } from './fit.ts';
import { addPicture } from './picture.ts';
import { addReconstructionError } from './reconstruction.ts';
import { addStateIn, addStateOut, batchAxis } from './state.ts';
import { batchOf, type Work } from './work.ts';

export interface DerivedGraph {
  readonly graph: Uint8Array;
  /** What it takes, in the order of the heads. */
  readonly inputs: readonly string[];
  /** Outputs that carry the next state, float32 [batch, ...shape], in the order of the passport. */
  readonly states: readonly string[];
}

interface Head {
  readonly dtype: 'uint8' | 'float32' | 'int32';
  /** of one unit */
  readonly shape: readonly number[];
}

/** Raise it with every change of what `deriveGraph` makes: derived graphs are kept on disk, and older ones are of no use then. */
export const DERIVER_VERSION = 2;

/** Broadcasting of Mul and Add as it is used here came with operator set 7. */
const OPSET_MIN = 7;

/**
 * The graph that units run on: it takes what travels (every input batch first: uint8 pictures as they are decoded, int32
 * tokens, float32 for all else), brings layout, normalisation and type inside, and gives each state back the way it is taken. Constants are inside.
 * Outputs that neither decoder nor state asks for are left out; with `anomaly-reconstruction` there is RECONSTRUCTION_ERROR more.
 * @param heads of what a unit brings, as `wireHeads` of the passport: inputs that are no constants, then states
 * @throws BrinkError E_MODEL_PARSE, or E_PASSPORT where passport and graph do not go together
 */
export function deriveGraph(
  bytes: Uint8Array,
  passport: Pick<Passport, 'inputs' | 'state' | 'output'>,
  heads: readonly Head[],
): DerivedGraph {
  const model = parseModel(bytes);
  const work = begin(model);
  const prepared = [...passport.inputs.entries()].filter(([, input]) => !('constant' in input));
  if (heads.length !== prepared.length + passport.state.length) {
    throw new BrinkError(
      'E_PASSPORT',
      `${heads.length} heads; expected ${prepared.length} inputs and ${passport.state.length} states`,
    );
  }
  const names: string[] = [];
  for (const [order, [index, input]] of prepared.entries()) {
    names.push(addInput(work, input, heads[order] ?? missingHead(), { index, order }));
  }
  const [batched = ''] = names;
  for (const [index, input] of passport.inputs.entries()) {
    if (!('constant' in input)) continue;
    const native = nativeInput(work, input.tensor, `inputs[${index}]`);
    work.before.push(...constantNodes(input, native, batched, `inputs[${index}]`));
    work.given.delete(input.tensor);
  }
  const states = addStates(work, passport, names);
  const extra = addReconstructionError(work, passport, batched);
  finish(work, passport, names, [...states, ...extra]);
  return { graph: encode(model), inputs: names, states: states.map(({ name }) => name) };
}

function missingHead(): never {
  throw new BrinkError('E_INTERNAL', 'heads were counted');
}

function begin(model: ModelProto): Work {
  const graph = graphOf(model);
  const info = describe(model);
  if (info.opset < OPSET_MIN) {
    throw new BrinkError(
      'E_PASSPORT',
      `the graph is of operator set ${info.opset}; a passport needs ${OPSET_MIN} or newer`,
    );
  }
  const names = [...graph.input.map(({ name }) => name), ...graph.node.flatMap(({ output }) => output)];
  if (names.some((name) => name.startsWith('brink_'))) {
    throw new BrinkError(
      'E_MODEL_PARSE',
      'the graph has values whose names begin with "brink_"; it was derived already',
    );
  }
  return {
    graph,
    opset: info.opset,
    inputs: new Map(info.inputs.map((input) => [input.name, input])),
    outputs: new Map(info.outputs.map((output) => [output.name, output])),
    before: [],
    after: [],
    given: new Map(graph.input.map((input) => [input.name, input])),
  };
}

function nativeInput(work: Work, tensor: string, path: string): TensorInfo {
  const native = work.inputs.get(tensor);
  if (native === undefined || work.given.get(tensor)?.name !== tensor) {
    const names = [...work.inputs.keys()].map((name) => `"${name}"`).join(', ');
    throw new BrinkError('E_PASSPORT', `${path} "${tensor}" is no input of the graph that is free; it has ${names}`);
  }
  return native;
}

/** @returns the name that the input has in the derived graph */
function addInput(work: Work, input: InputSpec, head: Head, at: { index: number; order: number }): string {
  const path = `inputs[${at.index}]`;
  const native = nativeInput(work, input.tensor, path);
  const name = `brink_in${at.order}`;
  const target = dtypeOf(native, path);
  const chain = createChain(name, name);
  let { shape } = head;
  let from: Dtype = head.dtype;
  if ('image' in input) {
    addPicture(chain, input.image, target, path);
    from = target;
    const [height = 1, width = 1, channels = 1] = shape;
    if (input.image.layout === 'nchw') shape = [channels, height, width];
  }
  const fit = fitShape(shape, native.shape);
  if (fit === undefined) {
    throw new BrinkError(
      'E_PASSPORT',
      `${path} means [batch, ${shape.join(', ')}]; "${native.name}" of the graph is ${shown(native.shape)}`,
    );
  }
  if (fit.reshape) chain.reshape(fit.batched ? [0, ...fit.shape] : fit.shape);
  chain.cast(from, target);
  work.before.push(...chain.end(input.tensor));
  const batch = fit.batched ? native.shape?.[0] : 1;
  work.given.set(input.tensor, value(name, head.dtype, [batch, ...head.shape]));
  return name;
}

function addStates(work: Work, passport: Pick<Passport, 'inputs' | 'state'>, names: string[]): ValueInfoProto[] {
  const first = batchOf(work, names[0]);
  const batch = typeof first === 'string' ? first : undefined;
  return passport.state.map((state, index) => {
    const path = `state[${index}]`;
    const native = nativeInput(work, state.in, `${path}.in`);
    const axis = batchAxis(state, native, batch, path);
    const dtype = dtypeOf(native, path);
    const name = `brink_state${index}`;
    const chain = createChain(name, name);
    addStateIn(chain, state, axis);
    chain.cast('float32', dtype);
    work.before.push(...chain.end(state.in));
    const dimension: Dimension = axis === undefined ? 1 : native.shape?.[axis];
    work.given.set(state.in, value(name, 'float32', [dimension, ...state.shape]));
    names.push(name);
    const next = work.outputs.get(state.out);
    if (next === undefined) {
      const outputs = [...work.outputs.keys()].map((output) => `"${output}"`).join(', ');
      throw new BrinkError('E_PASSPORT', `${path}.out "${state.out}" is no output of the graph; it has ${outputs}`);
    }
    const nextName = `brink_next${index}`;
    const back = createChain(state.out, nextName);
    addStateOut(back, state, axis);
    back.cast(next.dtype ?? dtype, 'float32');
    work.after.push(...back.end(nextName));
    return value(nextName, 'float32', [dimension, ...state.shape]);
  });
}

function finish(
  work: Work,
  { output }: Pick<Passport, 'output'>,
  names: readonly string[],
  more: readonly ValueInfoProto[],
): void {
  const { graph } = work;
  const byName = new Map([...work.given.values()].map((input) => [input.name, input]));
  const forgotten = [...work.inputs.keys()].filter((name) => byName.has(name));
  if (forgotten.length > 0) {
    throw new BrinkError(
      'E_PASSPORT',
      `inputs: the graph also takes ${forgotten.map((name) => `"${name}"`).join(', ')}; the passport says nothing about it`,
    );
  }
  // Old files list initialisers as inputs too: those stay.
  const others = graph.input.filter(({ name }) => byName.has(name));
  graph.input = [...names.map((name) => byName.get(name)).filter((input) => input !== undefined), ...others];
  graph.node = [...work.before, ...graph.node, ...work.after];
  const asked = new Set(Object.values(output.tensors));
  // Of a reconstruction only its error travels.
  const kept = output.decoder === 'anomaly-reconstruction' ? [] : graph.output.filter(({ name }) => asked.has(name));
  graph.output = [...kept, ...more];
}

function dtypeOf(native: TensorInfo, path: string): Dtype {
  if (native.dtype === undefined || native.dtype === 'string') {
    throw new BrinkError('E_PASSPORT', `${path}: "${native.name}" of the graph is no tensor of numbers`);
  }
  return native.dtype;
}

function shown(shape: readonly Dimension[] | undefined): string {
  return shape === undefined ? '(of unknown shape)' : `[${shape.map((size) => size ?? '?').join(', ')}]`;
}
