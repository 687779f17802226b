import { z } from 'zod';

// Query strings are text: each value is parsed by a schema that says its whole form. Nothing is coerced, nothing ignored.

/** A whole number within limits. */
export const whole = (min: number, max: number) =>
  z
    .string()
    .regex(/^(0|[1-9]\d{0,15})$/, `expected a whole number from ${min} to ${max}`)
    .transform(Number)
    .refine((value) => value >= min && value <= max, `expected a whole number from ${min} to ${max}`)
    .meta({ type: 'integer', minimum: min, maximum: max });

export const score = z
  .string()
  .regex(/^\d(\.\d{1,20})?(e-\d{1,3})?$/i, 'expected a number from 0 to 1')
  .transform(Number)
  .refine((value) => value <= 1, 'expected a number from 0 to 1')
  .meta({ type: 'number', minimum: 0, maximum: 1 });

/** ms since 1970 of a time as `2026-11-22T16:00:00Z`. */
export const time = z.iso
  .datetime({ offset: true, error: 'expected a time as 2026-11-22T16:00:00Z' })
  .transform((text) => Date.parse(text));

const LIMIT_MAX = 500;
export const limit = whole(1, LIMIT_MAX).optional().describe('default 100');
export const LIMIT_DEFAULT = 100;

/** A page of a list; `next` is absent on the last. */
export const pageOf = <T extends z.ZodType>(item: T) =>
  z.strictObject({ items: z.array(item), next: z.number().int().optional() });

export const listOf = <T extends z.ZodType>(item: T) => z.strictObject({ items: z.array(item) });
