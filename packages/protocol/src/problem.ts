import { z } from 'zod';
import { type BrinkError, ERROR_TABLE, type ErrorCode } from './errors.ts';

export const ErrorCodeSchema = z.enum(Object.keys(ERROR_TABLE) as [ErrorCode, ...ErrorCode[]]);

/** RFC 9457 problem document, with Brink's code. */
export const ProblemSchema = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.number().int(),
    detail: z.string(),
    code: ErrorCodeSchema,
    instance: z.string().optional(),
    errors: z.array(z.object({ path: z.string(), detail: z.string() })).optional(),
  })
  .meta({ id: 'Problem', description: 'RFC 9457 problem document' });
export type Problem = z.infer<typeof ProblemSchema>;

/** @param instance the request's id, so that a log line can be found */
export function problemOf(error: BrinkError, instance?: string): Problem {
  const { http, sentence } = ERROR_TABLE[error.code];
  return {
    type: `/docs/errors#${error.code.toLowerCase()}`,
    title: sentence,
    status: http,
    detail: error.detail,
    code: error.code,
    ...(instance === undefined ? {} : { instance }),
  };
}
