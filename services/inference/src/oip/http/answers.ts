import { oipDatatype } from '../datatypes.ts';
import type { OipTensor } from '../engine.ts';
import { jsonFromBytes } from '../json.ts';

export interface InferAnswer {
  readonly json: Buffer;
  /** In the order of the outputs; undefined where no output is binary. */
  readonly binary: readonly Uint8Array[] | undefined;
}

/** @throws BrinkError E_MODEL_OUTPUT, E_UNSUPPORTED where an output has no JSON */
export function inferAnswer(of: {
  model: string;
  version: number;
  id: string | undefined;
  tensors: readonly OipTensor[];
  isBinary: (output: string) => boolean;
}): InferAnswer {
  const binary: Uint8Array[] = [];
  const outputs = of.tensors.map(({ head: { name, dtype, shape }, bytes }) => {
    const head = { name, datatype: oipDatatype(dtype), shape };
    if (!of.isBinary(name)) return { ...head, data: jsonFromBytes(name, dtype, shape, bytes) };
    binary.push(bytes);
    return { ...head, parameters: { binary_data_size: bytes.byteLength } };
  });
  const said = {
    model_name: of.model,
    model_version: String(of.version),
    ...(of.id === undefined ? {} : { id: of.id }),
    outputs,
  };
  return { json: Buffer.from(JSON.stringify(said)), binary: binary.length === 0 ? undefined : binary };
}
