import { z } from 'zod';
import { BoxSchema } from '../decision.ts';
import { ModelPath } from './path.ts';

const Score = z.number().min(0).max(1);

/** What one unit must give. Only what is stated is compared. */
export const ExpectSchema = z.strictObject({
  label: z.string().optional(),
  score: Score.optional(),
  objects: z
    .array(z.strictObject({ label: z.string(), score: Score.optional(), box: BoxSchema.optional() }))
    .max(1000)
    .optional()
    .describe('each must be found, and no other object may be'),
  values: z.record(z.string(), z.number()).optional(),
});
export type Expect = z.infer<typeof ExpectSchema>;

/** A raw file and what it must give, so that preparation is tested too. */
export const GoldenSchema = z.strictObject({
  input: ModelPath,
  expect: ExpectSchema.extend({
    units: z.array(ExpectSchema).max(1000).optional().describe('of a recording: its first windows, in their order'),
  }).describe('of the first unit, and by `units` of more'),
  tolerance: z
    .strictObject({
      score: Score.default(0.05),
      iou: Score.default(0.8),
      value: z.number().min(0).default(1e-3),
    })
    .prefault({}),
});
export type Golden = z.infer<typeof GoldenSchema>;
