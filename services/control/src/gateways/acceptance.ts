import type { z } from 'zod';

// Nearly everything that comes is as the schema says, and the schema makes a copy of all that it reads. So a check is made of
// the schema, part by part, that only says yes: then the schema would say so as well, and return what was given. To a schema
// of another kind, or with a check that is not known here, it never says yes.

type Check = (value: unknown) => boolean;

/** What is read of a schema (zod/v4/core, `_zod.def`). */
interface Def {
  readonly type: string;
  readonly checks?: readonly { readonly _zod: { readonly def: Limit } }[];
  readonly shape?: Readonly<Record<string, z.ZodType>>;
  readonly catchall?: z.ZodType;
  readonly innerType?: z.ZodType;
  readonly element?: z.ZodType;
  readonly items?: readonly z.ZodType[];
  readonly rest?: z.ZodType | null;
  readonly keyType?: z.ZodType;
  readonly valueType?: z.ZodType;
  readonly entries?: Readonly<Record<string, string | number>>;
  readonly coerce?: boolean;
}

interface Limit {
  readonly check: string;
  readonly format?: string;
  readonly pattern?: RegExp;
  readonly value?: number;
  readonly inclusive?: boolean;
  readonly maximum?: number;
  readonly fn?: (value: unknown) => unknown;
}

const never: Check = () => false;

/**
 * @param schema of what JSON.parse gives
 * @returns true: the schema accepts it, unchanged. False: nothing is known, so ask the schema
 */
export function createAcceptance(schema: z.ZodType): Check {
  const def = defOf(schema);
  const limits = (def.checks ?? []).map(({ _zod }) => limitOf(_zod.def));
  const shape = def.coerce === true ? never : shapeOf(def);
  if (limits.length === 0) return shape;
  return (value) => shape(value) && limits.every((limit) => limit(value));
}

const defOf = (schema: z.ZodType) => schema._zod.def as unknown as Def;

function shapeOf(def: Def): Check {
  switch (def.type) {
    case 'string':
      return (value) => typeof value === 'string';
    case 'number':
      return Number.isFinite;
    case 'boolean':
      return (value) => typeof value === 'boolean';
    case 'enum': {
      const values = new Set<unknown>(Object.values(def.entries ?? {}));
      return (value) => values.has(value);
    }
    case 'array': {
      const element = partOf(def.element);
      return (value) => Array.isArray(value) && value.every(element);
    }
    case 'tuple':
      return tupleOf(def);
    case 'record':
      return recordOf(def);
    case 'object':
      return objectOf(def);
    default:
      return never;
  }
}

const partOf = (schema: z.ZodType | undefined): Check => (schema === undefined ? never : createAcceptance(schema));

function tupleOf({ items = [], rest }: Def): Check {
  if (rest !== null) return never;
  const parts = items.map(partOf);
  return (value) =>
    Array.isArray(value) && value.length === parts.length && parts.every((part, index) => part(value[index]));
}

function recordOf({ keyType, valueType }: Def): Check {
  if (keyType === undefined || defOf(keyType).type !== 'string' || defOf(keyType).checks !== undefined) return never;
  const part = partOf(valueType);
  return (value) => {
    if (!isObject(value)) return false;
    for (const key in value) if (key === '__proto__' || !part(value[key])) return false;
    return true;
  };
}

/** Strict ones only: others leave out what they do not know, or pass it on. */
function objectOf({ shape = {}, catchall }: Def): Check {
  if (catchall === undefined || defOf(catchall).type !== 'never') return never;
  const fields = new Map<string, Check>();
  const required: string[] = [];
  for (const [key, field] of Object.entries(shape)) {
    const { type, innerType } = defOf(field);
    if (type !== 'optional') required.push(key);
    fields.set(key, type === 'optional' ? partOf(innerType) : createAcceptance(field));
  }
  return (value) => {
    if (!isObject(value)) return false;
    for (const key in value) if (fields.get(key)?.(value[key]) !== true) return false;
    return required.every((key) => Object.hasOwn(value, key));
  };
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function limitOf({ check, format, pattern, value: bound = Number.NaN, inclusive, maximum, fn }: Limit): Check {
  switch (check) {
    case 'string_format':
      return pattern === undefined || pattern.global || pattern.sticky
        ? never
        : (value) => pattern.test(value as string);
    case 'number_format':
      return format === 'safeint' ? Number.isSafeInteger : never;
    case 'greater_than':
      return (value) => (inclusive === true ? (value as number) >= bound : (value as number) > bound);
    case 'less_than':
      return (value) => (inclusive === true ? (value as number) <= bound : (value as number) < bound);
    case 'max_length':
      return maximum === undefined ? never : (value) => (value as string | unknown[]).length <= maximum;
    case 'custom':
      return fn === undefined ? never : (value) => fn(value) === true;
    default:
      return never;
  }
}
