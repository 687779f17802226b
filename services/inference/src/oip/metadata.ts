import type { TensorInfo } from '@brink/onnx';
import type { Repository } from '../models/repository.ts';
import type { ModelVersion } from '../models/version.ts';
import { oipDatatype } from './datatypes.ts';

/** What of Triton's extensions there is; their names as it advertises them. */
export const EXTENSIONS = [
  'classification',
  'model_repository',
  'model_repository(unload_dependents)',
  'schedule_policy',
  'model_configuration',
  'binary_tensor_data',
  'parameters',
  'statistics',
] as const;

export interface ModelMetadata {
  readonly name: string;
  readonly versions: readonly string[];
  readonly platform: 'onnx_onnxv1';
  readonly inputs: readonly TensorMetadata[];
  readonly outputs: readonly TensorMetadata[];
}

interface TensorMetadata {
  readonly name: string;
  readonly datatype: string;
  /** -1 where a dimension is free */
  readonly shape: readonly number[];
}

/** The native graph, as the file has it. @throws BrinkError E_MODEL_NOT_READY */
export function modelMetadata(repository: Repository, version: ModelVersion): ModelMetadata {
  const { native } = version.ready();
  const ready = repository.versions.filter(({ name, status }) => name === version.name && status.state === 'ready');
  return {
    name: version.name,
    versions: ready.map((other) => String(other.version)),
    platform: 'onnx_onnxv1',
    inputs: native.inputs.map(tensorMetadata),
    outputs: native.outputs.map(tensorMetadata),
  };
}

function tensorMetadata({ name, dtype, shape }: TensorInfo): TensorMetadata {
  return { name, datatype: oipDatatype(dtype), shape: freeAsMinusOne(shape) };
}

export function freeAsMinusOne(shape: TensorInfo['shape']): number[] {
  return (shape ?? []).map((size) => (typeof size === 'number' ? size : -1));
}
