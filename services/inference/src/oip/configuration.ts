import type { TensorInfo } from '@brink/onnx';
import { isPrepared } from '@brink/preprocess';
import type { JsonValue, ModelPolicy } from '@brink/protocol';
import type { LoadedModel, ModelVersion } from '../models/version.ts';
import { configDatatype } from './datatypes.ts';
import { freeAsMinusOne } from './metadata.ts';

/**
 * A version in the words of Triton's ModelConfig, as its JSON. `max_batch_size` above 0 means that the first dimension of every
 * tensor is the batch, which `dims` then leave away. (triton-inference-server/server docs/user_guide/model_configuration.md)
 * @throws BrinkError E_MODEL_NOT_READY
 */
export function modelConfig(version: ModelVersion): Record<string, JsonValue> {
  const model = version.ready();
  const { passport } = model;
  const batch = batchMaxOf(model);
  const { provider, batchBest, copies } = version.status;
  return {
    name: version.name,
    platform: 'onnxruntime_onnx',
    backend: 'onnxruntime',
    version_policy: versionPolicy(version.policy),
    max_batch_size: batch,
    input: model.native.inputs.map((input) => ({
      ...tensorConfig(input, batch),
      format: formatOf(model, input, batch),
    })),
    output: model.native.outputs.map((output) => ({
      ...tensorConfig(output, batch),
      label_filename: labelFileOf(model, output),
    })),
    ...(batch > 0 ? { dynamic_batching: { preferred_batch_size: [Math.max(1, batchBest)] } } : {}),
    instance_group: [
      {
        name: version.name,
        count: Math.max(1, copies),
        kind: provider === '' || provider === 'cpu' ? 'KIND_CPU' : 'KIND_GPU',
      },
    ],
    default_model_filename: 'model.onnx',
    parameters: {
      provider: { string_value: provider },
      model_sha256: { string_value: model.modelSha256 },
      ...(passport === undefined ? {} : { task: { string_value: passport.task } }),
    },
  };
}

/** `serve` is loaded as well; beside `latest` Triton has no word for it. */
function versionPolicy({ versions, serve }: ModelPolicy): Record<string, JsonValue> {
  if (versions === 'all') return { all: {} };
  if (versions === 'latest') return { latest: { num_versions: 1 } };
  const named = serve === undefined || versions.includes(serve) ? versions : [...versions, serve];
  return { specific: { versions: [...named] } };
}

/** 0 where the graph does not leave the first dimension of everything free, or nobody says that it is the batch. */
function batchMaxOf({ passport, native }: LoadedModel): number {
  const free = [...native.inputs, ...native.outputs].every(
    ({ shape }) => shape !== undefined && shape.length > 0 && typeof shape[0] !== 'number',
  );
  return passport !== undefined && passport.batch_max > 1 && free ? passport.batch_max : 0;
}

function tensorConfig({ name, dtype, shape }: TensorInfo, batch: number) {
  const dims = freeAsMinusOne(shape);
  return { name, data_type: configDatatype(dtype), dims: batch > 0 ? dims.slice(1) : dims };
}

/** Triton allows a format for three dimensions only. */
function formatOf(model: LoadedModel, { name, shape }: TensorInfo, batch: number): string {
  const own = model.inputs.filter(isPrepared).find(({ tensor }) => tensor === name);
  const dims = (shape?.length ?? 0) - (batch > 0 ? 1 : 0);
  if (own === undefined || !('image' in own) || dims !== 3) return 'FORMAT_NONE';
  return own.image.layout === 'nhwc' ? 'FORMAT_NHWC' : 'FORMAT_NCHW';
}

function labelFileOf({ passport }: LoadedModel, { name }: TensorInfo): string {
  const { tensors, labels } = (passport?.output ?? {}) as {
    tensors?: Record<string, string>;
    labels?: { file: string };
  };
  return Object.values(tensors ?? {}).includes(name) ? (labels?.file ?? '') : '';
}
