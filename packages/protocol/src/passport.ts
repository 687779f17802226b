import { z } from 'zod';
import { TaskSchema } from './decision.ts';
import { NameSchema } from './ids.ts';

// `models/<name>/<version>/model.json`. What the ONNX file says (shapes, types) is never asked for here again.

/** A path inside the model's folder: no way out of it, no absolute path. */
const ModelPath = z
  .string()
  .max(200)
  .regex(/^(?!\/)(?!.*(?:^|\/)\.\.?(?:\/|$))[\w./-]+$/, 'a relative path inside the folder of the model');

const Triple = z.tuple([z.number(), z.number(), z.number()]).or(z.tuple([z.number()]));

/** How a picture becomes the tensor. Normalisation is (x·scale − mean) / std on values of 0..255. */
export const ImageInputSchema = z.strictObject({
  width: z.number().int().min(1).max(4096),
  height: z.number().int().min(1).max(4096),
  fit: z.enum(['stretch', 'letterbox', 'crop']).default('stretch'),
  pad: z.number().int().min(0).max(255).default(0).describe('grey level around a letterboxed picture'),
  kernel: z
    .enum(['nearest', 'bilinear', 'bicubic', 'lanczos3'])
    .default('bilinear')
    .describe('anti-aliased when shrinking'),
  colour: z.enum(['rgb', 'bgr', 'grey']).default('rgb'),
  layout: z.enum(['nhwc', 'nchw']).default('nchw'),
  scale: z.number().default(1),
  mean: Triple.default([0, 0, 0]),
  std: Triple.default([1, 1, 1]),
});
export type ImageInput = z.infer<typeof ImageInputSchema>;

const InputSchema = z.strictObject({ tensor: z.string(), image: ImageInputSchema });

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

export const GoldenSchema = z.strictObject({
  input: ModelPath,
  expect: z.strictObject({ label: z.string(), score: z.number().min(0).max(1).optional() }),
  tolerance: z.strictObject({ score: z.number().min(0).max(1) }).default({ score: 0.05 }),
});

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
          sha256: z.string().regex(/^[0-9a-f]{64}$/),
          bytes: z.number().int().optional(),
        }),
      )
      .min(1),
    inputs: z.array(InputSchema).length(1),
    batch_max: z.number().int().min(1).max(128).default(1),
    output: OutputSchema,
    golden: z.array(GoldenSchema).default([]),
    card: z.looseObject({}).optional(),
  })
  .refine((passport) => passport.files.some((file) => file.path === 'model.onnx'), {
    message: 'files must list model.onnx with its sha256',
    path: ['files'],
  })
  .meta({ id: 'Passport', description: 'What Brink must know of a model that its ONNX file does not say' });
export type Passport = z.infer<typeof PassportSchema>;
