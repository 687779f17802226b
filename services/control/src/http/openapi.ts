import { jsonSchemaTransformObject } from 'fastify-type-provider-zod';

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

const COMPONENT = '#/components/schemas/';

/**
 * What fastify-type-provider-zod makes of the schemas, made true: its references to any JSON value (a schema that contains
 * itself) point nowhere, and it lists every schema that zod knows of; here only those that are used.
 */
export const openApiObject: typeof jsonSchemaTransformObject = (document) => {
  const whole = opened(jsonSchemaTransformObject(document) as unknown as Json) as {
    components?: { schemas?: Schemas };
  };
  const schemas = whole.components?.schemas ?? {};
  const used = new Set<string>();
  const queue = refsIn({ ...whole, components: {} } as Json);
  for (let name = queue.pop(); name !== undefined; name = queue.pop()) {
    const schema = schemas[name];
    if (used.has(name) || schema === undefined) continue;
    used.add(name);
    queue.push(...refsIn(schema));
  }
  const kept = Object.fromEntries(Object.entries(schemas).filter(([name]) => used.has(name)));
  return { ...whole, components: { ...whole.components, schemas: kept } } as ReturnType<
    typeof jsonSchemaTransformObject
  >;
};

type Schemas = Record<string, Json>;

/** Any JSON value is the empty schema. */
function opened(value: Json): Json {
  if (Array.isArray(value)) return value.map(opened);
  if (typeof value !== 'object' || value === null) return value;
  if (typeof value['$ref'] === 'string' && /\/__shared#|\/schema\d+$/.test(value['$ref'])) return {};
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, opened(item)]));
}

function refsIn(value: Json): string[] {
  if (Array.isArray(value)) return value.flatMap(refsIn);
  if (typeof value !== 'object' || value === null) return [];
  const { $ref } = value;
  const own = typeof $ref === 'string' && $ref.startsWith(COMPONENT) ? [$ref.slice(COMPONENT.length)] : [];
  return [...own, ...Object.values(value).flatMap(refsIn)];
}
