import { z } from 'zod';
import { ModelPath } from './path.ts';

// How the output tensors of a model become a decision.

export const OutputSchema = z.strictObject({
  decoder: z.enum(['classification']),
  tensors: z.record(z.string(), z.string()).describe('what the decoder calls it → what the graph calls it'),
  activation: z.enum(['softmax', 'sigmoid', 'none']).default('softmax'),
  labels: z
    .looseObject({ file: ModelPath })
    .catchall(ModelPath)
    .optional()
    .describe('`file`, and one file per language'),
  score_min: z.number().min(0).max(1).default(0),
  top: z.number().int().min(1).max(100).default(5),
});
export type OutputSpec = z.infer<typeof OutputSchema>;
