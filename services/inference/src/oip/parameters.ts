import { BrinkError } from '@brink/protocol';

export type ParameterValue = string | number | boolean | bigint;
export type Parameters = Readonly<Record<string, ParameterValue>>;

/** What the reserved parameters of a request say. Others are the client's own and mean nothing here. */
export interface RequestParameters {
  /** 0–9, 9 first */
  readonly priority: number;
  /** Infinity for none */
  readonly timeoutMs: number;
}

/** Between pipelines that name no priority. */
const PRIORITY_DEFAULT = 5;

/**
 * `priority`: 1 is the highest as in Triton, 9 the lowest; 0 or none the default. `timeout`: microseconds; 0 is none.
 * (Triton, docs/protocol/extension_parameters.md and extension_schedule_policy.md)
 * @throws BrinkError E_BAD_REQUEST, E_UNSUPPORTED
 */
export function readParameters(parameters: Parameters): RequestParameters {
  for (const key of ['sequence_id', 'sequence_start', 'sequence_end']) {
    if (parameters[key]) {
      throw new BrinkError(
        'E_UNSUPPORTED',
        `parameter "${key}": recurrent state travels by value, as ordinary inputs and outputs; nothing is kept between requests`,
      );
    }
  }
  const priority = wholeNumber(parameters, 'priority', 9);
  const timeout = wholeNumber(parameters, 'timeout', Number.MAX_SAFE_INTEGER);
  return {
    priority: priority === 0 ? PRIORITY_DEFAULT : 10 - priority,
    timeoutMs: timeout === 0 ? Number.POSITIVE_INFINITY : timeout / 1000,
  };
}

function wholeNumber(parameters: Parameters, key: string, most: number): number {
  const given = parameters[key] ?? 0;
  const number = typeof given === 'bigint' ? Number(given) : given;
  if (typeof number === 'number' && Number.isSafeInteger(number) && number >= 0 && number <= most) return number;
  const expected = most === Number.MAX_SAFE_INTEGER ? 'a whole number, 0 or more' : `a whole number of 0..${most}`;
  throw new BrinkError('E_BAD_REQUEST', `parameter "${key}" is ${JSON.stringify(String(given))}; expected ${expected}`);
}

/** How many classes an output shall be told as; 0: it is wanted as it is. @throws BrinkError E_BAD_REQUEST */
export function classificationOf(output: string, parameters: Parameters): number {
  refuseSharedMemory(`output "${output}"`, parameters);
  const given = parameters['classification'];
  if (given === undefined) return 0;
  const number = typeof given === 'bigint' ? Number(given) : given;
  if (typeof number === 'number' && Number.isSafeInteger(number) && number >= 1) return number;
  throw new BrinkError(
    'E_BAD_REQUEST',
    `parameter "classification" of output "${output}" is ${JSON.stringify(String(given))}; expected a number of classes, 1 or more`,
  );
}

/** @throws BrinkError E_UNSUPPORTED */
export function refuseSharedMemory(where: string, parameters: Parameters): void {
  if (parameters['shared_memory_region'] === undefined) return;
  throw new BrinkError('E_UNSUPPORTED', `${where} lies in shared memory, which is not offered; send it as binary data`);
}

/**
 * Load and unload take no parameter that changes what is in the folder.
 * @throws BrinkError E_UNSUPPORTED
 */
export function checkLoadParameters(names: readonly string[]): void {
  const foreign = names.find((name) => name === 'config' || name.startsWith('file:'));
  if (foreign === undefined) return;
  throw new BrinkError(
    'E_UNSUPPORTED',
    `parameter "${foreign.slice(0, 80)}": the models volume is read-only to inference, and policies come from the site's configuration; put the files into the folder instead`,
  );
}
