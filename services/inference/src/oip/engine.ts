import type { TensorInfo } from '@brink/onnx';
import { BrinkError } from '@brink/protocol';
import type { Clock } from '@brink/runtime';
import type { Repository } from '../models/repository.ts';
import type { ModelVersion } from '../models/version.ts';
import type { FinishedRun, Head, Job } from '../scheduler/job.ts';
import { oipDatatype } from './datatypes.ts';

/** What every face of the Open Inference Protocol does. It shows and runs the native graph, as the file has it. */
export interface OipEngine {
  readonly repository: Repository;
  /** @param version undefined: the one that the bare name means @throws BrinkError E_MODEL_UNKNOWN, E_MODEL_NOT_READY */
  find(model: string, version: string | undefined): ModelVersion;
  metadata(version: ModelVersion): OipMetadata;
  /** Through the same queue as units. @throws BrinkError E_SHAPE, E_BUSY, E_MODEL_… */
  infer(version: ModelVersion, tensors: readonly OipTensor[], signal: AbortSignal): Promise<FinishedRun>;
}

export interface OipTensor {
  readonly head: Head;
  readonly bytes: Uint8Array;
}

interface OipMetadata {
  readonly name: string;
  readonly versions: readonly string[];
  readonly platform: 'onnx_onnxv1';
  readonly inputs: readonly OipTensorMetadata[];
  readonly outputs: readonly OipTensorMetadata[];
}

interface OipTensorMetadata {
  readonly name: string;
  readonly datatype: string;
  readonly shape: readonly number[];
}

/** Between pipelines that name no priority, and as long as a handler of HTTP may take. */
const PRIORITY = 5;
const DEADLINE_MS = 18_000;

export function createOipEngine(d: { repository: Repository; clock: Clock }): OipEngine {
  const { repository, clock } = d;
  return {
    repository,
    find(model, version) {
      if (version === undefined) return repository.find(model, 0);
      const number = /^[1-9]\d{0,8}$/.test(version) ? Number(version) : undefined;
      if (number === undefined)
        throw new BrinkError(
          'E_MODEL_UNKNOWN',
          `"${version.slice(0, 40)}" is no version; versions are positive integers`,
        );
      return repository.find(model, number);
    },
    metadata(version) {
      const { native } = version.ready();
      const ready = repository.versions.filter(({ name, status }) => name === version.name && status.state === 'ready');
      return {
        name: version.name,
        versions: ready.map((other) => String(other.version)),
        platform: 'onnx_onnxv1',
        inputs: native.inputs.map(metadataOf),
        outputs: native.outputs.map(metadataOf),
      };
    },
    infer(version, tensors, signal) {
      const { native, lane } = version.ready();
      compare(native.inputs, tensors);
      return new Promise((resolve, reject) => {
        const now = clock.monotonic();
        const job: Job = {
          priority: PRIORITY,
          arrivedAt: now,
          deadlineAt: now + DEADLINE_MS,
          shadow: false,
          client: 'oip',
          alone: true,
          session: 'native',
          heads: tensors.map(({ head }) => head),
          rows: 0,
          payloads: tensors.map(({ bytes }) => bytes),
          cancelled: () => signal.aborted,
          done: resolve,
          failed: reject,
        };
        lane.add(job);
      });
    },
  };
}

function metadataOf({ name, dtype, shape }: TensorInfo): OipTensorMetadata {
  return {
    name,
    datatype: oipDatatype(dtype),
    shape: (shape ?? []).map((size) => (typeof size === 'number' ? size : -1)),
  };
}

function compare(inputs: readonly TensorInfo[], tensors: readonly OipTensor[]): void {
  const expected = inputs.map(({ name }) => `"${name}"`).join(', ');
  if (tensors.length !== inputs.length)
    throw new BrinkError('E_SHAPE', `${tensors.length} inputs; expected ${expected}`);
  for (const { name, dtype, shape } of inputs) {
    const given = tensors.find(({ head }) => head.name === name)?.head;
    if (given === undefined) throw new BrinkError('E_SHAPE', `input "${name}" is missing; expected ${expected}`);
    if (given.dtype !== dtype) {
      throw new BrinkError('E_SHAPE', `input "${name}" is ${oipDatatype(given.dtype)}; expected ${oipDatatype(dtype)}`);
    }
    const fits =
      shape === undefined ||
      (given.shape.length === shape.length &&
        shape.every((size, at) => typeof size !== 'number' || size === given.shape[at]));
    if (!fits) {
      const wanted = shape.map((size) => (typeof size === 'number' ? size : -1));
      throw new BrinkError('E_SHAPE', `input "${name}" has shape [${given.shape}]; expected [${wanted}]`);
    }
  }
}
