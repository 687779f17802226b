import { BrinkError, NameSchema } from '@brink/protocol';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import type { EditOptions } from '../configuration/edit.ts';

// What all requests have in common that change the configuration.

export const EditedSchema = z.strictObject({
  revision: z.string().describe('of the configuration that is active now'),
  changed: z.boolean().describe('whether the files are others than before'),
});
export const EditedNameSchema = EditedSchema.extend({ name: NameSchema });

/** Of every such request. RFC 9110, 13.1.1. */
export const IfMatchSchema = z.object({
  'if-match': z
    .string()
    .max(1000)
    .optional()
    .describe(
      'the ETag of the configuration that must be active still, with its quotes, else 412; without it the last one to write wins',
    ),
});

/** Who sent a request, as the audit names them. */
export type ByOf = (request: FastifyRequest) => string | undefined;

export function optionsOf(request: FastifyRequest, by: ByOf): EditOptions {
  const who = by(request);
  const expected = expectedIn(request.headers['if-match']);
  return { ...(who === undefined ? {} : { by: who }), ...(expected === undefined ? {} : { expected }) };
}

/** Weak tags match nothing here: the comparison is the strong one. What is no tag is none that is active, so that it refuses too. */
function expectedIn(header: string | undefined): string[] | undefined {
  if (header === undefined || header.trim() === '*') return undefined;
  return header.split(',').flatMap((text) => {
    const tag = /^(W\/)?"([\x21\x23-\x7e\x80-\xff]*)"$/.exec(text.trim());
    if (tag === null) return [`${text.trim().slice(0, 100)} (a revision stands in quotes)`];
    return tag[1] === undefined ? (tag[2] ?? []) : [];
  });
}

export function tagged(reply: FastifyReply, revision: string): void {
  reply.header('etag', `"${revision}"`);
}

/** Deeper than anything that is asked for here. Checks that take a value apart level by level would overflow the stack. */
const DEPTH_MAX = 40;

/**
 * A body that the checks of the configuration judge: they say file, line, what was expected and an example. The document shows what
 * they take.
 */
export function judged(schema: z.ZodType) {
  const { $schema: _, $defs: __, ...shown } = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' });
  return z
    .unknown()
    .refine((value) => value !== undefined, 'expected a body')
    .meta(opened(shown) as Record<string, unknown>);
}

/** References would point into this schema, which is a part of another document then; they all mean any value. */
function opened(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(opened);
  if (typeof value !== 'object' || value === null) return value;
  if ('$ref' in value) return {};
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, opened(item)]));
}

/** @throws BrinkError E_DEPTH */
export function checkDepth(value: unknown, depth = 0): void {
  if (typeof value !== 'object' || value === null || Buffer.isBuffer(value)) return;
  if (depth >= DEPTH_MAX) throw new BrinkError('E_DEPTH', `the body is nested deeper than ${DEPTH_MAX} levels`);
  for (const item of Object.values(value)) checkDepth(item, depth + 1);
}
