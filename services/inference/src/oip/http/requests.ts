import { BrinkError } from '@brink/protocol';
import { z } from 'zod';
import type { Head } from '../../scheduler/job.ts';
import { datatypeOf } from '../datatypes.ts';
import { bytesFromJson } from '../json.ts';
import {
  classificationOf,
  type Parameters,
  type RequestParameters,
  readParameters,
  refuseSharedMemory,
} from '../parameters.ts';
import type { OipTensor, WantedOutput } from '../tensor.ts';
import type { SplitBody } from './body.ts';
import { parseJson } from './json-text.ts';

/** Of a request, an input, an output. Each is looked at: half a million of them would take seconds. */
const PARAMETERS_MAX = 256;

const ParametersSchema = z
  .custom<Record<string, unknown>>(hasFewKeys, `expected an object with at most ${PARAMETERS_MAX} parameters`)
  .pipe(z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])))
  .default({});

/** All but the numbers: those are checked while they are copied into the tensor. */
const InferRequestSchema = z.object({
  id: z.string().max(1000).optional(),
  parameters: ParametersSchema,
  inputs: z
    .array(
      z.object({
        name: z.string(),
        shape: z.array(z.int().min(0)).max(16),
        datatype: z.string(),
        parameters: ParametersSchema,
        data: z.custom<unknown[]>(Array.isArray, 'expected an array of numbers, nested or flat').optional(),
      }),
    )
    .max(256),
  outputs: z
    .array(z.object({ name: z.string(), parameters: ParametersSchema }))
    .max(256)
    .optional(),
});
type ParsedRequest = z.infer<typeof InferRequestSchema>;

export interface InferRequest extends RequestParameters {
  readonly id: string | undefined;
  readonly tensors: readonly OipTensor[];
  /** undefined: all */
  readonly outputs: readonly WantedOutput[] | undefined;
  /** Whether an output is answered as bytes behind the JSON. */
  readonly isBinary: (output: string) => boolean;
}

/** A raw request says nothing of itself; its answer is binary. */
export function rawRequest(tensor: OipTensor): InferRequest {
  return { id: undefined, tensors: [tensor], outputs: undefined, isBinary: () => true, ...readParameters({}) };
}

/** What the JSON of a request says: plain data, which can travel between threads. */
export interface ReadRequest extends RequestParameters {
  readonly id: string | undefined;
  readonly tensors: readonly { readonly head: Head; readonly bytes: Uint8Array | BinaryPart }[];
  readonly outputs: readonly WantedOutput[] | undefined;
  readonly binary: { readonly all: boolean; readonly own: ReadonlyMap<string, boolean> };
}

/** Of what lies behind the JSON. */
interface BinaryPart {
  readonly from: number;
  readonly to: number;
}

/** @param of binaryBytes: how many lie behind the JSON, undefined: all of it is JSON @throws BrinkError E_BAD_REQUEST, E_SHAPE, E_UNSUPPORTED */
export function readInferRequest(of: { json: Uint8Array; binaryBytes: number | undefined }): ReadRequest {
  const parsed = InferRequestSchema.safeParse(parseJson(of.json));
  if (!parsed.success) throw notValid(parsed.error);
  const { id, parameters, inputs, outputs } = parsed.data;
  const wanted = outputs?.map((output) => ({
    name: output.name,
    classification: classificationOf(output.name, output.parameters),
  }));
  return {
    id,
    ...readParameters(parameters),
    tensors: readTensors(inputs, of.binaryBytes),
    // Triton takes an empty list for none.
    outputs: wanted?.length === 0 ? undefined : wanted,
    binary: binaryOutputs(parameters, outputs ?? []),
  };
}

/** The request with the bytes that lie behind its JSON. */
export function withBinary({ tensors, binary, ...read }: ReadRequest, body: SplitBody): InferRequest {
  return {
    ...read,
    tensors: tensors.map(({ head, bytes }) => ({
      head,
      bytes: 'from' in bytes ? (body.binary as Buffer).subarray(bytes.from, bytes.to) : bytes,
    })),
    isBinary: (output) => binary.own.get(output) ?? binary.all,
  };
}

function hasFewKeys(given: unknown): boolean {
  if (typeof given !== 'object' || given === null) return false;
  let keys = 0;
  for (const _ in given) {
    keys += 1;
    if (keys > PARAMETERS_MAX) return false;
  }
  return true;
}

/** @throws BrinkError E_BAD_REQUEST naming each problem */
export function notValid(error: z.ZodError): BrinkError {
  const problems = error.issues.map(({ path, message }) => `${z.core.toDotPath(path) || '(body)'}: ${message}`);
  return new BrinkError('E_BAD_REQUEST', problems.slice(0, 5).join('; '));
}

/** What is said of one output goes before what is said of all. */
function binaryOutputs(all: Parameters, outputs: NonNullable<ParsedRequest['outputs']>): ReadRequest['binary'] {
  const own = outputs.flatMap(({ name, parameters }): [string, boolean][] => {
    const said = flag(`binary_data of "${name}"`, parameters['binary_data']);
    return said === undefined ? [] : [[name, said]];
  });
  return { all: flag('binary_data_output', all['binary_data_output']) ?? false, own: new Map(own) };
}

function flag(what: string, given: unknown): boolean | undefined {
  if (given === undefined || typeof given === 'boolean') return given;
  throw new BrinkError('E_BAD_REQUEST', `parameter ${what} is ${JSON.stringify(given)}; expected true or false`);
}

function readTensors(inputs: ParsedRequest['inputs'], binaryBytes: number | undefined): ReadRequest['tensors'] {
  let at = 0;
  const tensors = inputs.map(({ name, shape, datatype, parameters, data }) => {
    refuseSharedMemory(`input "${name}"`, parameters);
    const size = binarySize(name, parameters);
    if (size === undefined) {
      const { dtype, bytes } = bytesFromJson(name, datatype, shape, data);
      return { head: { name, dtype, shape }, bytes };
    }
    if (data !== undefined) {
      throw new BrinkError('E_BAD_REQUEST', `input "${name}" has both "data" and binary_data_size; expected one`);
    }
    if (binaryBytes === undefined) {
      throw new BrinkError(
        'E_BAD_REQUEST',
        `input "${name}" has binary_data_size, and there is no header Inference-Header-Content-Length`,
      );
    }
    if (size > binaryBytes - at) {
      throw new BrinkError(
        'E_BAD_REQUEST',
        `input "${name}" has a binary_data_size of ${size}; behind the JSON and the inputs before it are ${binaryBytes - at} bytes`,
      );
    }
    const bytes = { from: at, to: at + size };
    at += size;
    return { head: { name, dtype: datatypeOf(name, datatype).ort, shape }, bytes };
  });
  if (binaryBytes !== undefined && at !== binaryBytes) {
    throw new BrinkError(
      'E_BAD_REQUEST',
      `behind the JSON are ${binaryBytes} bytes; the binary_data_size of all inputs together is ${at}`,
    );
  }
  return tensors;
}

function binarySize(name: string, parameters: Parameters): number | undefined {
  const size = parameters['binary_data_size'];
  if (size === undefined) return undefined;
  if (typeof size === 'number' && Number.isSafeInteger(size) && size >= 0) return size;
  throw new BrinkError(
    'E_BAD_REQUEST',
    `binary_data_size of input "${name}" is ${JSON.stringify(size)}; expected a number of bytes`,
  );
}
