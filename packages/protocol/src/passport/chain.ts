import { z } from 'zod';
import { TaskSchema } from '../decision.ts';
import { NameSchema } from '../ids.ts';

// A chain is a model made of others: `models/<name>/<version>/model.json` with steps instead of a graph. The first step takes what
// a stream brings, each other one what the step before it gives; the last one decides.

const Rows = z.number().int().min(1).max(65_536);

export const StepSchema = z
  .strictObject({
    model: z
      .string()
      .regex(/^[a-z0-9][a-z0-9-]{0,63}@[1-9][0-9]{0,8}$/, 'a model and its version: mel@1')
      .describe('an exact version, so that a chain never changes by itself'),
    window: Rows.optional().describe('rows of the step before that one run looks at; not of the first step. Default 1'),
    hop: Rows.optional().describe('rows from one window to the next; default: window'),
    crop: z
      .string()
      .min(1)
      .max(200)
      .optional()
      .describe('of the last step, behind a detector: it looks at each object of this label, cut out of the picture'),
    objects_max: z
      .number()
      .int()
      .min(1)
      .max(64)
      .default(8)
      .describe('of one picture, with `crop`: the best come first'),
  })
  .meta({ id: 'Step' });
export type Step = z.infer<typeof StepSchema>;

export const ChainPassportSchema = z
  .strictObject({
    passport: z.literal(1),
    name: NameSchema,
    version: z.number().int().positive(),
    task: TaskSchema.describe(
      'that of the last step; with `crop` detection: the objects, called as the last step says',
    ),
    licence: z.string().optional(),
    source: z.string().optional(),
    steps: z.array(StepSchema).min(2).max(8),
    card: z.looseObject({}).optional(),
  })
  .refine(({ steps: [first] }) => first?.window === undefined && first?.hop === undefined, {
    message: 'no window or hop: its own passport says how samples are cut',
    path: ['steps', 0],
  })
  .refine(({ steps }) => steps.every(({ crop }, i) => crop === undefined || (i === 1 && steps.length === 2)), {
    message: 'crop in the second of two steps only',
    path: ['steps'],
  })
  .refine(({ steps }) => steps.every(({ crop, window, hop }) => crop === undefined || (window ?? hop) === undefined), {
    message: 'no window or hop beside crop',
    path: ['steps'],
  })
  .meta({ id: 'ChainPassport', description: 'A model that is made of others, one after the other' });
export type ChainPassport = z.infer<typeof ChainPassportSchema>;

/** Whether what a model.json holds is a chain, right or wrong. */
export const isChain = (json: unknown): boolean => typeof json === 'object' && json !== null && 'steps' in json;

/** @returns the name and the version in `mel@1` */
export function stepModel({ model }: Step): { name: string; version: number } {
  const [name = '', version = ''] = model.split('@');
  return { name, version: Number(version) };
}
