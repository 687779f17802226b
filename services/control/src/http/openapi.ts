import { STATUS_CODES } from 'node:http';
import { ProblemSchema } from '@brink/protocol';
import { jsonSchemaTransform, jsonSchemaTransformObject } from 'fastify-type-provider-zod';
import type { z } from 'zod';

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
type Schemas = Record<string, Json>;

const COMPONENT = '#/components/schemas/';

/** In the schema of every route: what its refusals look like. */
const problem = {
  description: 'Refused; the code says why',
  content: { 'application/problem+json': { schema: ProblemSchema } },
} as const;
export const problems = { '4xx': problem, '5xx': problem } as const;

/** On an operation, until `openApiObject` has read it: the body may be left out. */
const BODY_OPTIONAL = 'x-body-optional';

/**
 * One route. Adds what is true of every one of them: it may be refused with a problem document. @fastify/swagger writes that every
 * body is required; a schema that is optional says otherwise.
 */
export const openApiRoute: typeof jsonSchemaTransform = (document) => {
  const { schema } = document;
  if (schema === undefined || schema['hide'] === true) return jsonSchemaTransform(document);
  const body = schema.body as z.ZodType | undefined;
  const optional = body?._zod.optin === 'optional';
  const whole = {
    ...schema,
    response: { ...problems, ...(schema.response as object) },
    ...(optional ? { [BODY_OPTIONAL]: true } : {}),
  };
  return jsonSchemaTransform({ ...document, schema: whole });
};

/**
 * What fastify-type-provider-zod makes of the schemas, made true: its references to any JSON value (a schema that contains
 * itself) point nowhere, and it lists every schema that zod knows of; here only those that are used.
 */
export const openApiObject: typeof jsonSchemaTransformObject = (document) => {
  const whole = opened(jsonSchemaTransformObject(document) as unknown as Json) as {
    components?: { schemas?: Schemas };
    paths?: Record<string, Record<string, Operation>>;
  };
  for (const [path, item] of Object.entries(whole.paths ?? {}))
    for (const [method, operation] of Object.entries(item)) complete(operation, method, path);
  const schemas = whole.components?.schemas ?? {};
  const used = new Set<string>();
  const queue = refsIn({ ...whole, components: {} } as unknown as Json);
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

interface Operation {
  operationId?: string;
  requestBody?: { required?: boolean };
  responses?: Record<string, { description?: string }>;
  [BODY_OPTIONAL]?: boolean;
}

function complete(operation: Operation, method: string, path: string): void {
  operation.operationId ??= operationId(method, path);
  if (operation[BODY_OPTIONAL] === true && operation.requestBody !== undefined) operation.requestBody.required = false;
  delete operation[BODY_OPTIONAL];
  for (const [status, response] of Object.entries(operation.responses ?? {})) {
    if (response.description === 'Default Response') response.description = STATUS_CODES[status] ?? 'Answer';
  }
}

/** `get /v1/decisions/{id}/explain` → `getDecisionsByIdExplain`: what generated clients call it. */
function operationId(method: string, path: string): string {
  const words = path.split(/[^A-Za-z0-9{}]+/).filter((word) => word !== '' && word !== 'v1');
  const name = words.map((word) => (word.startsWith('{') ? `By${capital(word.slice(1, -1))}` : capital(word)));
  return method + name.join('');
}

const capital = (word: string) => word.slice(0, 1).toUpperCase() + word.slice(1);

/** Any JSON value is the empty schema; a list of n alike things is written so that tools of older drafts read it too. */
function opened(value: Json): Json {
  if (Array.isArray(value)) return value.map(opened);
  if (typeof value !== 'object' || value === null) return value;
  if (typeof value['$ref'] === 'string' && /\/__shared#|\/schema\d+$/.test(value['$ref'])) return {};
  const whole = Object.fromEntries(Object.entries(value).map(([key, item]) => [key, opened(item)]));
  const { prefixItems, ...rest } = whole;
  if (!Array.isArray(prefixItems) || rest['items'] !== false) return whole;
  const kinds = new Set(prefixItems.map((item) => JSON.stringify(item)));
  return kinds.size === 1 ? { ...rest, items: prefixItems[0] ?? {} } : whole;
}

function refsIn(value: Json): string[] {
  if (Array.isArray(value)) return value.flatMap(refsIn);
  if (typeof value !== 'object' || value === null) return [];
  const { $ref } = value;
  const own = typeof $ref === 'string' && $ref.startsWith(COMPONENT) ? [$ref.slice(COMPONENT.length)] : [];
  return [...own, ...Object.values(value).flatMap(refsIn)];
}
