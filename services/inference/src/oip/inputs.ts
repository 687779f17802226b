import type { TensorInfo } from '@brink/onnx';
import { BrinkError } from '@brink/protocol';
import { datatypeOfTensor, elementsOf, oipDatatype } from './datatypes.ts';
import { checkStrings, packBytes } from './strings.ts';
import type { OipTensor } from './tensor.ts';

const ELEMENTS_MAX = 2 ** 31 - 1;

/**
 * What a request brings against what the graph takes: names, datatypes, shapes, bytes.
 * @returns the tensors in the order of the graph
 * @throws BrinkError E_SHAPE, E_BAD_REQUEST
 */
export function checkTensors(inputs: readonly TensorInfo[], tensors: readonly OipTensor[]): OipTensor[] {
  const expected = inputs.map(({ name }) => `"${name}"`).join(', ');
  const twice = tensors.find(({ head }, at) => tensors.findIndex((other) => other.head.name === head.name) !== at);
  if (twice !== undefined) throw new BrinkError('E_BAD_REQUEST', `input "${twice.head.name}" is given twice`);
  const foreign = tensors.find(({ head }) => !inputs.some(({ name }) => name === head.name));
  const checked = inputs.map((info) => {
    const tensor = tensors.find(({ head }) => head.name === info.name);
    if (tensor !== undefined) return checkTensor(info, tensor);
    const instead = foreign === undefined ? '' : `, "${foreign.head.name.slice(0, 80)}" is given`;
    throw new BrinkError('E_SHAPE', `input "${info.name}" is missing${instead}; expected ${expected}`);
  });
  if (foreign !== undefined) {
    throw new BrinkError('E_SHAPE', `no input "${foreign.head.name.slice(0, 80)}"; expected ${expected}`);
  }
  return checked;
}

function checkTensor({ name, dtype, shape }: TensorInfo, tensor: OipTensor): OipTensor {
  const { head, bytes } = tensor;
  if (head.dtype !== dtype) {
    throw new BrinkError('E_SHAPE', `input "${name}" is ${oipDatatype(head.dtype)}; expected ${oipDatatype(dtype)}`);
  }
  // Many clients cannot send a tensor without dimensions.
  const isScalar = shape?.length === 0 && head.shape.length === 1 && head.shape[0] === 1;
  const given = isScalar ? [] : head.shape;
  const fits =
    shape === undefined ||
    (given.length === shape.length && shape.every((size, at) => typeof size !== 'number' || size === given[at]));
  if (!fits) {
    const wanted = shape.map((size) => (typeof size === 'number' ? size : -1));
    throw new BrinkError('E_SHAPE', `input "${name}" has shape [${head.shape}]; expected [${wanted}]`);
  }
  const elements = elementsOf(given);
  if (elements > ELEMENTS_MAX) {
    throw new BrinkError('E_SHAPE', `input "${name}" has shape [${head.shape}]; at most ${ELEMENTS_MAX} elements`);
  }
  const type = datatypeOfTensor(name, head.dtype);
  if (type.bytes === 0) checkStrings(name, bytes, elements);
  else if (bytes.byteLength !== elements * type.bytes) {
    throw new BrinkError(
      'E_SHAPE',
      `input "${name}" has ${bytes.byteLength} bytes; ${type.oip} [${head.shape}] needs ${elements * type.bytes}`,
    );
  }
  if (type.oip === 'BOOL') {
    const at = bytes.findIndex((one) => one > 1);
    if (at >= 0)
      throw new BrinkError('E_BAD_REQUEST', `element ${at} of input "${name}" is ${bytes[at]}; expected 0 or 1`);
  }
  return isScalar ? { head: { ...head, shape: [] }, bytes } : tensor;
}

/**
 * A body without a header: the whole of it is the one input, batch 1. (Triton, docs/protocol/extension_binary_data.md, raw request)
 * @param asPicture it is a picture for a model that takes one
 * @throws BrinkError E_BAD_REQUEST where the model's input does not follow from the number of bytes
 */
export function rawTensor(inputs: readonly TensorInfo[], body: Uint8Array, asPicture: boolean): OipTensor {
  const [input] = inputs;
  if (inputs.length !== 1 || input === undefined) {
    throw new BrinkError(
      'E_BAD_REQUEST',
      `a raw request (Inference-Header-Content-Length: 0) is for models with one input; this one has ${inputs.length}`,
    );
  }
  const { name, dtype, shape } = input;
  if (dtype === 'string' || asPicture) {
    const ones = dtype === 'string' ? (shape ?? [1]).map(() => 1) : [1];
    return { head: { name, dtype: 'string', shape: ones }, bytes: packBytes([body]) };
  }
  if (shape === undefined || dtype === undefined) {
    throw new BrinkError('E_BAD_REQUEST', `input "${name}" has no shape in the file; send it with a header`);
  }
  return { head: { name, dtype, shape: rawShape(name, dtype, shape, body.byteLength) }, bytes: body };
}

function rawShape(name: string, dtype: string, shape: readonly unknown[], bytes: number): number[] {
  const sizes = shape.map((size, at) => (typeof size === 'number' ? size : at === 0 ? 1 : undefined));
  const free = sizes.filter((size) => size === undefined).length;
  const wanted = shape.map((size) => (typeof size === 'number' ? size : -1));
  if (free > 1) {
    throw new BrinkError('E_BAD_REQUEST', `input "${name}" [${wanted}] has more than one free size; send a header`);
  }
  const known = elementsOf(sizes.filter((size) => size !== undefined)) * datatypeOfTensor(name, dtype).bytes;
  const rest = known === 0 ? 0 : bytes / known;
  if (!Number.isInteger(rest) || (free === 0 && rest !== 1)) {
    const needs = free === 0 ? `${known}` : `a multiple of ${known}`;
    throw new BrinkError('E_SHAPE', `the body has ${bytes} bytes; input "${name}" [${wanted}] needs ${needs}`);
  }
  return sizes.map((size) => size ?? rest);
}
