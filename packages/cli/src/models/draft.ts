import { createHash } from 'node:crypto';
import { basename, dirname } from 'node:path';
import type { ModelInfo, TensorInfo } from '@brink/onnx';
import { isName } from '@brink/protocol';

/** A passport to begin with: what the file says, and the rest as questions in the values. */
export function draftPassport(folder: string, onnx: Buffer, info: ModelInfo | undefined): object {
  const input = info?.inputs[0];
  const name = basename(dirname(folder));
  return {
    passport: 1,
    name: isName(name) ? name : 'my-model',
    version: /^\d+$/.test(basename(folder)) ? Number(basename(folder)) : 1,
    task: 'classification',
    licence: 'SPDX name of the licence',
    files: [{ path: 'model.onnx', sha256: sha256(onnx), bytes: onnx.length }],
    inputs: [
      {
        tensor: input?.name ?? 'input',
        image: (input && guessImage(input)) ?? { width: 224, height: 224, layout: 'nchw' },
      },
    ],
    batch_max: typeof input?.shape?.[0] === 'number' ? input.shape[0] : 8,
    output: {
      decoder: 'classification',
      tensors: { scores: info?.outputs[0]?.name ?? 'output' },
      labels: { file: 'labels.txt' },
    },
  };
}

/** How pictures would have to come, by the shape of the tensor; undefined where it is no shape of pictures. */
export function guessImage(tensor: TensorInfo): object | undefined {
  const [, a, b, c] = tensor.shape ?? [];
  if (tensor.shape?.length !== 4) return undefined;
  const colour = (channels: number) => (channels === 1 ? { colour: 'grey' } : { colour: 'rgb' });
  if ((a === 1 || a === 3) && typeof b === 'number' && typeof c === 'number') {
    return { width: c, height: b, layout: 'nchw', ...colour(a), scale: 1 / 255 };
  }
  if ((c === 1 || c === 3) && typeof a === 'number' && typeof b === 'number') {
    return { width: b, height: a, layout: 'nhwc', ...colour(c), scale: 1 / 255 };
  }
  return undefined;
}

export const shapeText = (tensor: TensorInfo) =>
  `${tensor.dtype ?? 'an unknown type'} [${(tensor.shape ?? ['?']).map((dimension) => dimension ?? '?').join(', ')}]`;

export const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
