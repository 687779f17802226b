import { BrinkError, type OutputOf, type Result } from '@brink/protocol';
import { type Decode, type DecoderOptions, onlyTensor } from './decode.ts';
import { finiteSliceOf, unitShape, type Values } from './tensors.ts';

const VALUES_MAX = 256;
/** ResultSchema's bound. */
const EMBEDDING_MAX = 8192;

/** Numbers with names: value · scale + offset. */
export function createRegression({ task, output }: DecoderOptions<OutputOf<'regression'>>): Decode {
  const name = onlyTensor(output);
  return (outputs, unit) => {
    const raw = finiteSliceOf(outputs, name, unit);
    const names = output.names ?? Array.from({ length: Math.min(raw.length, VALUES_MAX + 1) }, (_, at) => String(at));
    if (names.length !== raw.length) {
      const expected = output.names === undefined ? `at most ${VALUES_MAX}` : `${names.length}, as output.names has`;
      throw new BrinkError('E_PASSPORT', `output "${name}" has ${raw.length} values per unit; expected ${expected}`);
    }
    const scale = perValue(output.scale, raw.length, 1, 'scale');
    const offset = perValue(output.offset, raw.length, 0, 'offset');
    const values: Record<string, number> = {};
    for (const [at, key] of names.entries()) values[key] = short((raw[at] as number) * scale(at) + offset(at));
    return { result: { task, values }, top: topOf(raw, (at) => names[at] as string) };
  };
}

function perValue(given: readonly number[] | undefined, count: number, fallback: number, key: string) {
  if (given === undefined || given.length === 1) return () => given?.[0] ?? fallback;
  if (given.length === count) return (at: number) => given[at] as number;
  throw new BrinkError('E_PASSPORT', `output.${key} has ${given.length} numbers; expected 1 or ${count}`);
}

/** A vector, of length 1 if so stated; one of zeros has no direction and stays as it is. */
export function createEmbedding({ task, output }: DecoderOptions<OutputOf<'embedding'>>): Decode {
  const name = onlyTensor(output);
  return (outputs, unit) => {
    const raw = finiteSliceOf(outputs, name, unit);
    if (raw.length > EMBEDDING_MAX) {
      throw new BrinkError(
        'E_PASSPORT',
        `output "${name}" has ${raw.length} values per unit; expected at most ${EMBEDDING_MAX}`,
      );
    }
    const length = output.normalise === 'l2' ? Math.hypot(...Array.from(raw)) || 1 : 1;
    const embedding = Array.from(raw, (value) => short(value / length));
    return { result: { task, embedding }, top: [] };
  };
}

/** The tensors themselves. */
export function createRaw({ task, output }: DecoderOptions<OutputOf<'raw'>>): Decode {
  return (outputs, unit) => {
    const tensors: NonNullable<Result['tensors']> = {};
    for (const [key, name] of Object.entries(output.tensors)) {
      const values = finiteSliceOf(outputs, name, unit);
      if (values.length > output.elements_max) {
        throw new BrinkError(
          'E_PASSPORT',
          `output "${name}" has ${values.length} values per unit; output.elements_max is ${output.elements_max}`,
        );
      }
      const shape = unitShape(outputs, name, values.length) ?? [values.length];
      const dtype = outputs.tensors.get(name)?.dtype ?? '';
      tensors[key] = { dtype, shape: [...shape], data: Array.from(values) };
    }
    return { result: { task, tensors }, top: [] };
  };
}

/** What a float32 holds, without the digits that a double adds. */
const short = (value: number) => Number(value.toPrecision(9));

const topOf = (raw: Values, name: (at: number) => string) =>
  Array.from({ length: Math.min(5, raw.length) }, (_, at) => ({ label: name(at), raw: short(raw[at] as number) }));
