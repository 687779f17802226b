import { BrinkError, type ConstantInput } from '@brink/protocol';
import { node, tensor } from '../build.ts';
import { type Dtype, numberOf } from '../dtype.ts';
import type { NodeProto } from '../gen/onnx/onnx_pb.js';
import type { Dimension, TensorInfo } from '../read.ts';

/**
 * Nodes that give the native input its constant. Where the graph has a free first dimension, each unit of the batch gets the same:
 * detectors ask so for the size of each picture.
 * @param batched a tensor whose first dimension is the batch @throws BrinkError E_PASSPORT
 */
export function constantNodes(spec: ConstantInput, native: TensorInfo, batched: string, path: string): NodeProto[] {
  const dtype = native.dtype ?? spec.dtype;
  if (dtype !== spec.dtype) {
    throw new BrinkError('E_PASSPORT', `${path}.dtype is ${spec.dtype}; the graph takes ${dtype} for "${native.name}"`);
  }
  const shape = constantShape(spec, native, path);
  const name = `brink_${native.name}`;
  const nodes: NodeProto[] = [];
  let at = name;
  nodes.push(node('Constant', [], [at], { value: dataOf(spec, shape, path) }));
  const then = (operator: string, inputs: string[], attributes: Record<string, number> = {}) => {
    const to = `${name}.${nodes.length}`;
    nodes.push(node(operator, inputs, [to], attributes));
    return to;
  };
  const given = carrierOf(dtype);
  if (given !== dtype) at = then('Cast', [at], { to: numberOf(dtype) });
  if (shape[0] === 1 && native.shape !== undefined && typeof native.shape[0] !== 'number') {
    const constant = (values: number[]) => {
      const to = `${name}.${nodes.length}`;
      nodes.push(
        node('Constant', [], [to], { value: tensor('', [values.length], BigInt64Array.from(values, BigInt)) }),
      );
      return to;
    };
    const batch = then('Gather', [then('Shape', [batched]), constant([0])], { axis: 0 });
    const sizes = shape.length === 1 ? batch : then('Concat', [batch, constant(shape.slice(1))], { axis: 0 });
    at = then('Expand', [at, sizes]);
  }
  const last = nodes.find(({ output }) => output[0] === at);
  if (last !== undefined) last.output = [native.name];
  return nodes;
}

/** As many as a passport may list. */
const ELEMENTS_MAX = 65_536;

/** The shape that the constant gets: the graph's own, a free first dimension as 1. @throws BrinkError E_PASSPORT */
export function constantShape({ constant }: ConstantInput, native: TensorInfo, path: string): number[] {
  const elements = typeof constant === 'number' ? 1 : constant.length;
  const { shape } = native;
  if (shape === undefined) return typeof constant === 'number' ? [] : [elements];
  const known = shape.map((size, at) => (at === 0 && typeof size !== 'number' ? 1 : size));
  // The batch stays free; of the others, one may be as long as the list is.
  const free = known.findIndex((size) => typeof size !== 'number');
  const product = known.reduce<number>((all, size) => all * (typeof size === 'number' ? size : 1), 1);
  const filled = known.map((size, at) =>
    typeof size === 'number' ? size : at === free ? Math.max(1, elements / product) : 1,
  );
  const first = shape.length === 1 && typeof shape[0] !== 'number' && elements > 1 ? [elements] : filled;
  if (typeof constant !== 'number' && first.reduce((all, size) => all * size, 1) !== elements) {
    throw new BrinkError(
      'E_PASSPORT',
      `${path}.constant has ${elements} numbers; "${native.name}" of the graph is [${shown(shape)}]`,
    );
  }
  const size = first.reduce((all, one) => all * one, 1);
  if (size > ELEMENTS_MAX) {
    throw new BrinkError(
      'E_PASSPORT',
      `${path} would have ${size} elements; at most ${ELEMENTS_MAX} are written into a graph`,
    );
  }
  return first;
}

const shown = (shape: readonly Dimension[]) => shape.map((size) => size ?? '?').join(', ');

/** What the file carries the numbers as; a Cast makes the rest of it, also half precision. */
function carrierOf(dtype: Dtype): Dtype {
  if (dtype === 'float64' || dtype === 'float32') return dtype;
  return dtype === 'float16' || dtype === 'bfloat16' ? 'float32' : 'int64';
}

function dataOf({ constant, dtype }: ConstantInput, shape: readonly number[], path: string) {
  const elements = shape.reduce((all, size) => all * size, 1);
  const values = typeof constant === 'number' ? new Array<number>(elements).fill(constant) : constant;
  const carrier = carrierOf(dtype);
  if (carrier === 'float64') return tensor('', shape, Float64Array.from(values));
  if (carrier === 'float32') return tensor('', shape, Float32Array.from(values));
  const broken = values.find((number) => !Number.isSafeInteger(number));
  if (broken !== undefined)
    throw new BrinkError('E_PASSPORT', `${path}.constant has ${broken}; expected whole numbers for ${dtype}`);
  return tensor('', shape, BigInt64Array.from(values, BigInt));
}
