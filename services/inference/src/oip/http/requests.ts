import { BrinkError } from '@brink/protocol';
import { z } from 'zod';
import type { FinishedRun } from '../../scheduler/job.ts';
import { bytesFromJson, jsonFromBytes, oipDatatype } from '../datatypes.ts';
import type { OipTensor } from '../engine.ts';

const Parameters = z.record(z.string(), z.union([z.string(), z.number(), z.boolean()]));

/** All but the numbers: those are checked while they are copied into the tensor. */
const InferRequestSchema = z.object({
  id: z.string().max(1000).optional(),
  parameters: Parameters.optional(),
  inputs: z
    .array(
      z.object({
        name: z.string(),
        shape: z
          .array(
            z
              .number()
              .int()
              .min(0)
              .max(2 ** 31),
          )
          .max(16),
        datatype: z.string(),
        parameters: Parameters.optional(),
        data: z.custom<unknown[]>(Array.isArray, 'expected an array of numbers, nested or flat').optional(),
      }),
    )
    .max(256),
  outputs: z
    .array(z.object({ name: z.string(), parameters: Parameters.optional() }))
    .max(256)
    .optional(),
});

const ELEMENTS_MAX = 2 ** 28;

export interface InferRequest {
  readonly id: string | undefined;
  readonly tensors: readonly OipTensor[];
  /** undefined: all */
  readonly outputs: readonly string[] | undefined;
}

/** @throws BrinkError E_BAD_REQUEST, E_SHAPE, E_UNSUPPORTED */
export function parseInferRequest(body: unknown): InferRequest {
  const parsed = InferRequestSchema.safeParse(body);
  if (!parsed.success) {
    const problems = parsed.error.issues.map(
      ({ path, message }) => `${z.core.toDotPath(path) || '(body)'}: ${message}`,
    );
    throw new BrinkError('E_BAD_REQUEST', problems.slice(0, 5).join('; '));
  }
  const { id, inputs, outputs } = parsed.data;
  const tensors = inputs.map(({ name, shape, datatype, data, parameters }) => {
    if (parameters?.['binary_data_size'] !== undefined) {
      throw new BrinkError('E_UNSUPPORTED', `input "${name}" is binary; this version takes JSON`);
    }
    if (shape.reduce((product, size) => product * size, 1) > ELEMENTS_MAX) {
      throw new BrinkError(
        'E_SHAPE',
        `input "${name}" has shape [${shape}]; at most ${ELEMENTS_MAX} elements are taken`,
      );
    }
    const { dtype, bytes } = bytesFromJson(name, datatype, shape, data);
    return { head: { name, dtype, shape }, bytes };
  });
  return { id, tensors, outputs: outputs?.map(({ name }) => name) };
}

/** @throws BrinkError E_BAD_REQUEST for an output that there is not */
export function inferResponse(run: FinishedRun, of: { model: string; version: number; request: InferRequest }) {
  const wanted = of.request.outputs ?? run.heads.map(({ name }) => name);
  const outputs = wanted.map((name) => {
    const head = run.heads.find((candidate) => candidate.name === name);
    const tensor = run.outputs.tensors.get(name);
    if (head === undefined || tensor === undefined) {
      throw new BrinkError(
        'E_BAD_REQUEST',
        `no output "${name}"; the model gives ${run.heads.map((other) => `"${other.name}"`).join(', ')}`,
      );
    }
    return {
      name,
      datatype: oipDatatype(head.dtype),
      shape: head.shape,
      data: jsonFromBytes(name, head.dtype, tensor.data),
    };
  });
  return {
    model_name: of.model,
    model_version: String(of.version),
    ...(of.request.id === undefined ? {} : { id: of.request.id }),
    outputs,
  };
}
