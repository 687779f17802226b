import { z } from 'zod';
import { TaskSchema } from '../decision.ts';
import { NameSchema } from '../ids.ts';
import { GoldenSchema } from './golden.ts';
import { InputSchema, StateSchema } from './inputs.ts';
import { OutputSchema } from './output.ts';
import { ModelPath } from './path.ts';

// `models/<name>/<version>/model.json`. What the ONNX file says (shapes, types) is never asked for here again.

export const PassportSchema = z
  .strictObject({
    passport: z.literal(1),
    name: NameSchema,
    version: z.number().int().positive(),
    task: TaskSchema,
    licence: z.string().optional(),
    source: z.string().optional(),
    files: z
      .array(
        z.strictObject({
          path: ModelPath,
          sha256: z.string().regex(/^[0-9a-f]{64}$/, 'the SHA-256 of the file: 64 of 0-9 and a-f'),
          bytes: z.number().int().optional(),
        }),
      )
      .min(1),
    inputs: z.array(InputSchema).min(1).max(16),
    state: z.array(StateSchema).max(16).default([]),
    batch_max: z.number().int().min(1).max(128).default(1),
    output: OutputSchema,
    golden: z.array(GoldenSchema).default([]),
    card: z.looseObject({}).optional(),
  })
  .refine((passport) => passport.files.some((file) => file.path === 'model.onnx'), {
    message: 'files must list model.onnx with its sha256',
    path: ['files'],
  })
  .refine((passport) => passport.inputs.filter((input) => !('constant' in input)).length >= 1, {
    message: 'at least one input that is no constant',
    path: ['inputs'],
  })
  .superRefine(({ inputs, files }, context) => {
    for (const [index, input] of inputs.entries()) {
      if (!('text' in input) || files.some(({ path }) => path === input.text.tokenizer)) continue;
      const message = `a file that \`files\` lists with its hash, not "${input.text.tokenizer}"`;
      context.addIssue({ code: 'custom', path: ['inputs', index, 'text', 'tokenizer'], message });
    }
  })
  .meta({ id: 'Passport', description: 'What Brink must know of a model that its ONNX file does not say' });
export type Passport = z.infer<typeof PassportSchema>;
