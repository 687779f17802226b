import {
  type AudioInput,
  BrinkError,
  type ConstantInput,
  type InputSpec,
  type Passport,
  type StateSpec,
} from '@brink/protocol';
import { constantShape } from './derive/constant.ts';
import { fitShape, takes } from './derive/fit.ts';
import { LENGTH_MAX, lastSize, pictureShape, shapeText, TEXT_INPUTS, TOKENIZER } from './draft/part.ts';
import type { Dimension, ModelInfo, TensorInfo } from './read.ts';

/** Something that passport and graph say differently. */
export interface Disagreement {
  /** in the passport: `inputs[0].image` */
  readonly path: string;
  readonly given: string;
  readonly expected: string;
  /** A line for the passport that puts it right, where one does. */
  readonly write?: string;
}

type Asked = Pick<Passport, 'inputs' | 'state' | 'batch_max' | 'output'>;
interface Head {
  readonly name: string;
  readonly shape: readonly number[];
}

/**
 * Everything in which a passport and a graph differ, dimension by dimension; empty where `deriveGraph` would take both.
 * @param heads of what a unit brings, as `wireHeads` of the passport
 */
export function comparePassport(passport: Asked, info: ModelInfo, heads: readonly Head[]): Disagreement[] {
  const found = passport.inputs.flatMap((input, index) =>
    compareInput(input, `inputs[${index}]`, { heads, info, asked: passport }),
  );
  found.push(...passport.state.flatMap((state, index) => compareState(state, `state[${index}]`, info)));
  // Where the shapes are wrong, nobody knows which of the dimensions is the batch.
  if (found.length === 0) found.push(...compareBatch(passport, info));
  found.push(...forgotten(passport, info));
  for (const [role, name] of Object.entries(passport.output.tensors)) {
    if (info.outputs.some((output) => output.name === name)) continue;
    const line = (meant: string) => `"tensors": ${JSON.stringify({ ...passport.output.tensors, [role]: meant })}`;
    const others = Object.values(passport.output.tensors);
    found.push(unknown(`output.tensors.${role}`, name, free(info.outputs, others), info.outputs, line));
  }
  return found;
}

/** @param candidates those that may be meant @param line what to write for one of them */
function unknown(
  path: string,
  given: string,
  candidates: readonly TensorInfo[],
  there: readonly TensorInfo[],
  line: (name: string) => string,
): Disagreement {
  const expected = `one of ${there.map((tensor) => `"${tensor.name}" ${shapeText(tensor)}`).join(', ')}`;
  const meant = nearest(given, candidates);
  return { path, given: `"${given}"`, expected, ...(meant === undefined ? {} : { write: line(meant) }) };
}

/** What nothing else in the passport names. */
const free = (there: readonly TensorInfo[], named: readonly string[]) =>
  there.filter(({ name }) => !named.includes(name));

/** The only one, or the one whose name is least apart; undefined where none is like it. */
function nearest(given: string, candidates: readonly TensorInfo[]): string | undefined {
  const names = candidates.map(({ name }) => name);
  if (names.length <= 1) return names[0];
  const [best] = names
    .map((name) => ({ name, apart: apart(given.toLowerCase(), name.toLowerCase()) }))
    .sort((a, b) => a.apart - b.apart);
  return best !== undefined && best.apart <= given.length / 2 ? best.name : undefined;
}

/** How many letters have to be put in, left out or changed (Levenshtein 1966). Names are short: those that are not are not compared. */
function apart(a: string, b: string): number {
  if (a.length > 64 || b.length > 64) return Number.POSITIVE_INFINITY;
  let row = Array.from({ length: b.length + 1 }, (_, at) => at);
  for (const [i, letter] of [...a].entries()) {
    const next = [i + 1];
    for (const [j, other] of [...b].entries()) {
      const changed = (row[j] ?? 0) + (letter === other ? 0 : 1);
      next.push(Math.min(changed, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1));
    }
    row = next;
  }
  return row.at(-1) ?? 0;
}

function compareInput(
  input: InputSpec,
  path: string,
  { heads, info, asked }: { heads: readonly Head[]; info: ModelInfo; asked: Asked },
): Disagreement[] {
  const tensor = info.inputs.find(({ name }) => name === input.tensor);
  if (tensor === undefined) {
    const candidates = free(info.inputs, namesOf(asked));
    return [unknown(`${path}.tensor`, input.tensor, candidates, info.inputs, (meant) => `"tensor": "${meant}"`)];
  }
  if ('constant' in input) return compareConstant(input, tensor, path);
  const wire = heads.find(({ name }) => name === input.tensor)?.shape ?? [];
  if (!('image' in input)) {
    const form = Object.keys(input).find((key) => key !== 'tensor');
    return compareShape(`${path}.${form}`, wire, tensor, windowLine(input, tensor));
  }
  const { image } = input;
  const [height = 0, width = 0, channels = 0] = wire;
  const shape = image.layout === 'nchw' ? [channels, height, width] : [height, width, channels];
  const picture = pictureShape(tensor);
  const sizes = { width: picture?.width ?? width, height: picture?.height ?? height, layout: picture?.layout };
  const colour =
    picture?.channels === 1 ? 'grey' : picture?.channels === 3 && image.colour === 'grey' ? 'rgb' : image.colour;
  const write = picture === undefined ? undefined : `"image": ${JSON.stringify({ ...image, ...sizes, colour })}`;
  return compareShape(`${path}.image`, shape, tensor, write);
}

/** The window with which the sound or signal, or the length with which the text would fit, where the graph has one dimension for it. */
function windowLine(
  input: Exclude<InputSpec, ConstantInput | { image: unknown }>,
  { shape }: TensorInfo,
): string | undefined {
  const sizes = (shape ?? []).slice(1).filter((size) => size !== 1);
  const numbers = sizes.filter((size) => typeof size === 'number');
  const only = sizes.length === 1 ? numbers[0] : undefined;
  if ('text' in input) return only === undefined ? undefined : `"length_max": ${only}`;
  if ('audio' in input) return only === undefined ? undefined : samplesLine(input.audio, only);
  if (!('signal' in input)) return undefined;
  if ('features' in input) return undefined;
  const { channels, layout } = input.signal;
  const [a, b] = layout === 'channels-time' ? sizes : sizes.toReversed();
  const window = channels.length === 1 ? numbers[0] : a === channels.length ? b : undefined;
  return typeof window === 'number' ? `"window": ${window}` : undefined;
}

function samplesLine({ mfcc, context }: AudioInput, samples: number): string | undefined {
  return mfcc === undefined && samples > context ? `"window": ${samples - context}` : undefined;
}

function compareShape(
  path: string,
  wire: readonly number[],
  tensor: TensorInfo,
  write: string | undefined,
): Disagreement[] {
  const { shape } = tensor;
  if (shape === undefined || fitShape(wire, shape) !== undefined) return [];
  const given = `[batch, ${wire.join(', ')}]`;
  const [first, ...rest] = shape;
  if (typeof first === 'number' && first > 1 && fitShape(wire, ['batch', ...rest]) !== undefined) {
    return [
      {
        path,
        given,
        expected: `a free first dimension, or 1; "${tensor.name}" ${shapeText(tensor)} has a fixed batch`,
      },
    ];
  }
  const expected = `what the graph takes: "${tensor.name}" ${shapeText(tensor)}${differences(['batch', ...wire], shape)}`;
  return [{ path, given, expected, ...(write === undefined ? {} : { write }) }];
}

/** Which dimensions differ, counted as ONNX does, from 0. */
function differences(given: readonly Dimension[], native: readonly Dimension[]): string {
  if (given.length !== native.length) return `, ${native.length} dimensions instead of ${given.length}`;
  const differ = given.flatMap((size, axis) =>
    typeof size !== 'number' || takes(native[axis], size) ? [] : [`dimension ${axis} is ${native[axis]}, not ${size}`],
  );
  return differ.length === 0 ? '' : `; ${differ.join(', ')}`;
}

function compareConstant(input: ConstantInput, tensor: TensorInfo, path: string): Disagreement[] {
  const found: Disagreement[] = [];
  if (tensor.dtype !== undefined && tensor.dtype !== input.dtype) {
    const expected = `${tensor.dtype}: the graph takes "${tensor.name}" ${shapeText(tensor)}`;
    found.push({ path: `${path}.dtype`, given: input.dtype, expected, write: `"dtype": "${tensor.dtype}"` });
  }
  try {
    constantShape(input, tensor, path);
  } catch (reason) {
    const length = typeof input.constant === 'number' ? 'one number' : `${input.constant.length} numbers`;
    if (!(reason instanceof BrinkError)) throw reason;
    found.push({
      path: `${path}.constant`,
      given: length,
      expected: `as many as "${tensor.name}" ${shapeText(tensor)} has`,
    });
  }
  return found;
}

function compareState(state: StateSpec, path: string, info: ModelInfo): Disagreement[] {
  const taken = info.inputs.find(({ name }) => name === state.in);
  const next = info.outputs.find(({ name }) => name === state.out);
  const found: Disagreement[] = [];
  if (taken === undefined)
    found.push(unknown(`${path}.in`, state.in, info.inputs, info.inputs, (meant) => `"in": "${meant}"`));
  if (next === undefined)
    found.push(unknown(`${path}.out`, state.out, info.outputs, info.outputs, (meant) => `"out": "${meant}"`));
  for (const tensor of [taken, next]) {
    const { shape } = tensor ?? {};
    if (tensor === undefined || shape === undefined) continue;
    const fits =
      shape.length === state.shape.length && shape.every((size, axis) => takes(size, state.shape[axis] ?? 0));
    if (fits) continue;
    const expected = `as the graph has "${tensor.name}": ${shapeText(tensor)}${differences(state.shape, shape)}; 1 where its batch is`;
    found.push({
      path: `${path}.shape`,
      given: `[${state.shape.join(', ')}]`,
      expected,
      write: `"shape": ${stateShape(shape)}`,
    });
    break;
  }
  return found;
}

/** A free dimension is the batch, most likely. */
const stateShape = (shape: readonly Dimension[]) =>
  `[${shape.map((size) => (typeof size === 'number' ? size : 1)).join(', ')}]`;

const namesOf = ({ inputs, state }: Asked) => [...inputs.map(({ tensor }) => tensor), ...state.map((one) => one.in)];

/** Inputs of the graph that the passport passes over, and those that it names twice. */
function forgotten(asked: Asked, info: ModelInfo): Disagreement[] {
  const names = namesOf(asked);
  // Said already, where the name stands that is not there.
  const unheard = names.filter((name) => !info.inputs.some((input) => input.name === name));
  const meant = unheard.flatMap((name) => nearest(name, free(info.inputs, names)) ?? []);
  const twice = names.filter((name, at) => names.indexOf(name) !== at);
  return [
    ...twice.map((name) => ({ path: 'inputs', given: `"${name}" twice`, expected: 'each input of the graph once' })),
    ...info.inputs
      .filter(({ name }) => !names.includes(name) && !meant.includes(name))
      .map((tensor) => {
        const expected = `"${tensor.name}" ${shapeText(tensor)}, which the graph takes`;
        const write = lineFor(tensor, info);
        return { path: 'inputs', given: 'nothing', expected, ...(write === undefined ? {} : { write }) };
      }),
  ];
}

/** A line to begin with for an input that nobody spoke of: a scalar is a constant, what comes out again is a state, … */
export function lineFor(tensor: TensorInfo, info: ModelInfo): string | undefined {
  const { name, dtype, shape } = tensor;
  if (shape === undefined) return undefined;
  if (shape.length === 0) return `{ "tensor": "${name}", "constant": 0, "dtype": "${dtype}" }`;
  const next = info.outputs.find(
    (output) =>
      output.name.startsWith(name) && output.dtype === dtype && (output.shape?.length ?? shape.length) === shape.length,
  );
  if (next !== undefined) return `"state": [{ "in": "${name}", "out": "${next.name}", "shape": ${stateShape(shape)} }]`;
  const as = Object.hasOwn(TEXT_INPUTS, name) ? TEXT_INPUTS[name] : undefined;
  if (as !== undefined) {
    const text = { tokenizer: TOKENIZER, length_max: lastSize(tensor) ?? LENGTH_MAX, as };
    return `{ "tensor": "${name}", "text": ${JSON.stringify(text)} }`;
  }
  const picture = pictureShape(tensor);
  if (picture?.width === undefined || picture.height === undefined) return undefined;
  const image = {
    width: picture.width,
    height: picture.height,
    layout: picture.layout,
    colour: picture.channels === 1 ? 'grey' : 'rgb',
  };
  return `{ "tensor": "${name}", "image": ${JSON.stringify(image)} }`;
}

function compareBatch({ inputs, batch_max }: Asked, info: ModelInfo): Disagreement[] {
  const prepared = new Set(inputs.flatMap((input) => ('constant' in input ? [] : [input.tensor])));
  const sizes = info.inputs.filter(({ name }) => prepared.has(name)).map(({ shape }) => shape?.[0]);
  const fixed = sizes.find((size) => typeof size === 'number');
  if (fixed === undefined || batch_max === 1) return [];
  const expected =
    '1: the graph takes one unit at a time (its first dimension is fixed); `copies` of it run side by side';
  return [{ path: 'batch_max', given: String(batch_max), expected, write: '"batch_max": 1' }];
}
