import type { Head } from '../../scheduler/job.ts';
import { oipDatatype } from '../datatypes.ts';
import { jsonFromBytes } from '../json.ts';

/** Plain data, which can travel between threads. */
export interface InferAnswer {
  readonly model: string;
  readonly version: number;
  readonly id: string | undefined;
  /** bytes: to become JSON; binaryBytes: so many follow behind it */
  readonly outputs: readonly { readonly head: Head; readonly bytes?: Uint8Array; readonly binaryBytes?: number }[];
}

/** @returns the JSON @throws BrinkError E_MODEL_OUTPUT, E_UNSUPPORTED where an output has no JSON */
export function answerJson({ model, version, id, outputs }: InferAnswer): Uint8Array {
  const said = {
    model_name: model,
    model_version: String(version),
    ...(id === undefined ? {} : { id }),
    outputs: outputs.map(({ head: { name, dtype, shape }, bytes, binaryBytes }) => ({
      ...{ name, datatype: oipDatatype(dtype), shape },
      ...(bytes === undefined
        ? { parameters: { binary_data_size: binaryBytes } }
        : { data: jsonFromBytes(name, dtype, shape, bytes) }),
    })),
  };
  return Buffer.from(JSON.stringify(said));
}
