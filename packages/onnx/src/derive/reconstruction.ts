import { BrinkError, type Passport, RECONSTRUCTION_ERROR } from '@brink/protocol';
import { tensor, value } from '../build.ts';
import type { ValueInfoProto } from '../gen/onnx/onnx_pb.js';
import { createChain } from './chain.ts';
import { batchOf, type Work } from './work.ts';

const AXES_AS_INPUT_OPSET = 18;

/** What is compared is what the graph itself takes: after normalisation. @throws BrinkError E_PASSPORT */
export function addReconstructionError(
  work: Work,
  { inputs, output }: Pick<Passport, 'inputs' | 'output'>,
  batched: string,
): ValueInfoProto[] {
  if (output.decoder !== 'anomaly-reconstruction') return [];
  const [[role, tensorName] = ['', '']] = Object.entries(output.tensors);
  const rebuilt = work.outputs.get(tensorName);
  const original = inputs.find((input) => !('constant' in input))?.tensor ?? '';
  const native = work.inputs.get(original);
  if (rebuilt === undefined || native === undefined) {
    throw new BrinkError(
      'E_PASSPORT',
      `output.tensors.${role} is "${tensorName}"; the graph gives ${[...work.outputs.keys()].join(', ')}`,
    );
  }
  const size = batchOf(work, batched);
  const flat = [size === 1 ? 1 : 0, -1];
  const rows = createChain(original, 'brink_original');
  rows.reshape(flat);
  rows.cast(native.dtype ?? 'float32', 'float32');
  work.after.push(...rows.end('brink_original'));
  const error = createChain(tensorName, RECONSTRUCTION_ERROR);
  error.reshape(flat);
  error.cast(rebuilt.dtype ?? 'float32', 'float32');
  error.add('Sub', ['brink_original']);
  if (output.error === 'absolute') error.add('Abs');
  else error.add('Mul', [error.at]);
  if (work.opset < AXES_AS_INPUT_OPSET) error.add('ReduceMean', [], { axes: [1], keepdims: 0 });
  else error.add('ReduceMean', [error.constant(tensor('', [1], BigInt64Array.of(1n)))], { keepdims: 0 });
  work.after.push(...error.end(RECONSTRUCTION_ERROR));
  return [value(RECONSTRUCTION_ERROR, 'float32', [size])];
}
