import { BrinkError, create, fromBinary, oip } from '@brink/protocol';
import { type Datatype, datatypeOf, elementsOf, oipDatatype } from '../datatypes.ts';
import {
  classificationOf,
  type ParameterValue,
  type RequestParameters,
  readParameters,
  refuseSharedMemory,
} from '../parameters.ts';
import { packBytes } from '../strings.ts';
import type { OipTensor, WantedOutput } from '../tensor.ts';

export interface InferRequest extends RequestParameters {
  readonly modelName: string;
  readonly modelVersion: string;
  readonly id: string;
  readonly tensors: readonly OipTensor[];
  /** undefined: all */
  readonly outputs: readonly WantedOutput[] | undefined;
}

/** As over HTTP. */
const TENSORS_MAX = 256;
const DIMENSIONS_MAX = 16;
const PARAMETERS_MAX = 256;

/** Tensors that come raw are views of the message. @throws BrinkError E_BAD_REQUEST, E_SHAPE, E_UNSUPPORTED */
export function readMessage({ message }: { message: Uint8Array }): InferRequest {
  const request = decoded(() => fromBinary(oip.ModelInferRequestSchema, message));
  const { modelName, modelVersion, id, inputs, outputs, rawInputContents: raw } = request;
  if (inputs.length > TENSORS_MAX || outputs.length > TENSORS_MAX) {
    const given = `${inputs.length} inputs and ${outputs.length} outputs`;
    throw new BrinkError('E_BAD_REQUEST', `${given}; at most ${TENSORS_MAX} of each`);
  }
  const wanted = outputs.map(({ name, parameters }) => ({
    name,
    classification: classificationOf(name, plain(parameters)),
  }));
  if (raw.length > 0 && raw.length !== inputs.length) {
    throw new BrinkError('E_BAD_REQUEST', `${raw.length} raw_input_contents for ${inputs.length} inputs`);
  }
  return {
    ...{ modelName, modelVersion, id },
    ...readParameters(plain(request.parameters)),
    tensors: inputs.map((input, at) => readTensor(input, raw[at])),
    outputs: wanted.length === 0 ? undefined : wanted,
  };
}

/** @throws BrinkError E_BAD_REQUEST for bytes that are no such message */
export function decoded<T>(read: () => T): T {
  try {
    return read();
  } catch (reason) {
    throw new BrinkError('E_BAD_REQUEST', `no message of the protocol: ${(reason as Error).message}`, {
      cause: reason,
    });
  }
}

type Input = oip.ModelInferRequest_InferInputTensor;

function readTensor(input: Input, raw: Uint8Array | undefined): OipTensor {
  const { name, datatype, contents } = input;
  refuseSharedMemory(`input "${name}"`, plain(input.parameters));
  const type = datatypeOf(name, datatype);
  if (input.shape.length > DIMENSIONS_MAX) {
    const given = `${input.shape.length} dimensions`;
    throw new BrinkError('E_SHAPE', `input "${name.slice(0, 80)}" has ${given}; at most ${DIMENSIONS_MAX}`);
  }
  const shape = input.shape.map((size) => {
    if (size >= 0n && size <= Number.MAX_SAFE_INTEGER) return Number(size);
    throw new BrinkError('E_SHAPE', `input "${name}" has shape [${input.shape}]; expected sizes of 0 or more`);
  });
  const head = { name, dtype: type.ort, shape };
  const given = givenContents(contents);
  if (raw !== undefined) {
    if (given.length === 0) return { head, bytes: raw };
    throw new BrinkError(
      'E_BAD_REQUEST',
      `input "${name}" has contents beside raw_input_contents; expected one of them`,
    );
  }
  return { head, bytes: bytesOfContents(name, type, elementsOf(shape), contents, given) };
}

type Contents = oip.InferTensorContents;
type Field = Exclude<keyof Contents, `$${string}`>;
const FIELDS = [
  'boolContents',
  'intContents',
  'int64Contents',
  'uintContents',
  'uint64Contents',
  'fp32Contents',
  'fp64Contents',
  'bytesContents',
] as const satisfies readonly Field[];

const FIELD_OF: Readonly<Record<string, (typeof FIELDS)[number]>> = {
  BOOL: 'boolContents',
  INT8: 'intContents',
  INT16: 'intContents',
  INT32: 'intContents',
  INT64: 'int64Contents',
  UINT8: 'uintContents',
  UINT16: 'uintContents',
  UINT32: 'uintContents',
  UINT64: 'uint64Contents',
  FP32: 'fp32Contents',
  FP64: 'fp64Contents',
  BYTES: 'bytesContents',
};

function givenContents(contents: Contents | undefined): (typeof FIELDS)[number][] {
  return contents === undefined ? [] : FIELDS.filter((field) => contents[field].length > 0);
}

/** as the .proto file calls it */
const protoName = (field: string) => field.replace('Contents', '_contents');

function bytesOfContents(
  name: string,
  type: Datatype,
  elements: number,
  contents: Contents | undefined,
  given: readonly string[],
): Uint8Array {
  const field = FIELD_OF[type.oip];
  if (field === undefined) {
    throw new BrinkError('E_BAD_REQUEST', `input "${name}" is ${type.oip}, which travels in raw_input_contents only`);
  }
  const foreign = given.find((other) => other !== field);
  if (foreign !== undefined) {
    throw new BrinkError(
      'E_BAD_REQUEST',
      `input "${name}" is ${type.oip} and has ${protoName(foreign)}; expected ${protoName(field)}`,
    );
  }
  const list = contents?.[field] ?? [];
  if (list.length !== elements) {
    throw new BrinkError('E_SHAPE', `input "${name}" has ${list.length} elements; its shape needs ${elements}`);
  }
  if (type.oip === 'BYTES') return packBytes(list as Uint8Array[]);
  return numbersAsBytes(name, type, list as (number | bigint | boolean)[]);
}

function numbersAsBytes(name: string, type: Datatype, list: readonly (number | bigint | boolean)[]): Uint8Array {
  const target = (type.make as NonNullable<Datatype['make']>)(list.length);
  const [low, high] = type.range ?? [];
  for (let at = 0; at < list.length; at++) {
    const element = list[at] as number | bigint | boolean;
    // 8 and 16 bits travel as 32.
    if (low !== undefined && high !== undefined && ((element as number) < low || (element as number) > high)) {
      throw new BrinkError('E_BAD_REQUEST', `input "${name}" contains ${element}; expected a number of ${type.oip}`);
    }
    target[at] = typeof element === 'boolean' ? Number(element) : element;
  }
  return new Uint8Array(target.buffer);
}

/** @throws BrinkError E_BAD_REQUEST */
function plain(parameters: Readonly<Record<string, oip.InferParameter>>): Record<string, ParameterValue> {
  const entries = Object.entries(parameters);
  if (entries.length > PARAMETERS_MAX) {
    throw new BrinkError('E_BAD_REQUEST', `${entries.length} parameters at one place; at most ${PARAMETERS_MAX}`);
  }
  return Object.fromEntries(
    entries.flatMap(([key, { parameterChoice }]) =>
      parameterChoice.case === undefined ? [] : [[key, parameterChoice.value]],
    ),
  );
}

/** Outputs are always raw, as Triton's are. */
export function inferResponse(of: {
  model: string;
  version: number;
  id: string;
  tensors: readonly OipTensor[];
}): oip.ModelInferResponse {
  return create(oip.ModelInferResponseSchema, {
    modelName: of.model,
    modelVersion: String(of.version),
    id: of.id,
    outputs: of.tensors.map(({ head: { name, dtype, shape } }) => ({
      name,
      datatype: oipDatatype(dtype),
      shape: shape.map(BigInt),
    })),
    rawOutputContents: of.tensors.map(({ bytes }) => bytes),
  });
}
