import { BrinkError } from '@brink/protocol/link';

// ONNX Runtime says everything that goes wrong in sentences; these are the ones that have a code of their own here.

export const NO_MEMORY =
  /Failed to allocate memory|bad_alloc|bad allocation|Array buffer allocation failed|heap out of memory|Invalid array buffer length/i;
const NO_OPERATOR = /is not a registered function\/op|Could not find an implementation for|No Op registered for/i;
const WRONG_INPUT =
  /Got invalid dimensions for input|Invalid rank for input|Unexpected input data type|is missing in 'feeds'|Missing Input/i;
/** Element types of onnx.proto (TensorProto.DataType) that graphs may have and that do not come through to Node.js. */
const FOREIGN: Readonly<Record<string, string>> = {
  14: 'complex64',
  15: 'complex128',
  16: 'bfloat16',
  17: 'float8e4m3fn',
  18: 'float8e4m3fnuz',
  19: 'float8e5m2',
  20: 'float8e5m2fnuz',
  21: 'uint4',
  22: 'int4',
  23: 'float4e2m1',
};

/** Why a graph could not be opened: E_MODEL_OOM, E_MODEL_OP, E_UNSUPPORTED, else E_MODEL_PARSE. */
export function loadError(reason: unknown): BrinkError {
  if (reason instanceof BrinkError) return reason;
  const said = BrinkError.from(reason).detail;
  const foreign = /Unsupported data type: (\d+)/.exec(said)?.[1];
  if (foreign !== undefined) {
    const name = FOREIGN[foreign] ?? `number ${foreign}`;
    return new BrinkError('E_UNSUPPORTED', `an input or output is ${name}, which ONNX Runtime has not for Node.js`, {
      cause: reason,
    });
  }
  const code = NO_MEMORY.test(said) ? 'E_MODEL_OOM' : NO_OPERATOR.test(said) ? 'E_MODEL_OP' : 'E_MODEL_PARSE';
  return new BrinkError(code, `ONNX Runtime refuses the graph: ${said}`, { cause: reason });
}

/** Why a run failed: E_MODEL_OOM, E_SHAPE, else E_MODEL_RUN. */
export function runError(reason: unknown): BrinkError {
  if (reason instanceof BrinkError) return reason;
  const said = BrinkError.from(reason).detail.trim();
  const code = NO_MEMORY.test(said) ? 'E_MODEL_OOM' : WRONG_INPUT.test(said) ? 'E_SHAPE' : 'E_MODEL_RUN';
  return new BrinkError(code, said, { cause: reason });
}
