import { z } from 'zod';
import { ModelPath } from './path.ts';

// What every decoder's part of a passport is built of.

const TensorName = z.string().min(1).max(200);

/** One output, whatever the passport calls it. */
export const oneTensor = z
  .record(z.string().min(1).max(64), TensorName)
  .refine((tensors) => Object.keys(tensors).length === 1, {
    message: 'takes exactly one tensor: {"<name>": "<output>"}',
  })
  .describe('one entry: any name → what the graph calls the output');

/** Outputs with roles. @param roles those that must be there @param optional those that may */
export const roleTensors = (roles: readonly string[], optional: readonly string[] = []) =>
  z
    .record(z.string().min(1).max(64), TensorName)
    .refine(
      (tensors) =>
        roles.every((role) => Object.hasOwn(tensors, role)) &&
        Object.keys(tensors).every((role) => roles.includes(role) || optional.includes(role)),
      {
        message: `takes ${roles.join(', ')}${optional.length === 0 ? '' : `; may have ${optional.join(', ')}`}`,
      },
    )
    .describe(`${[...roles, ...optional.map((role) => `${role} (optional)`)].join(', ')} → what the graph calls it`);

/** One output for all levels, or one for each: `<role>_<stride>`. The decoder compares them with its levels. */
export const levelTensors = z
  .record(z.string().min(1).max(64), TensorName)
  .refine((tensors) => Object.keys(tensors).length >= 1, { message: 'takes at least one tensor' });

export const labels = z
  .looseObject({ file: ModelPath })
  .catchall(ModelPath)
  .optional()
  .describe('`file`, and one file per language; without them a class is called by its number');

export const Activation = z.enum(['none', 'sigmoid', 'tanh', 'exp']);
export const Share = z.number().min(0).max(1);
export const Count = z.number().int().min(1);

/** Columns or rows of one value per class. */
export const rows = z
  .enum(['rows', 'columns'])
  .describe('rows: [boxes, values], one row per box; columns: [values, boxes]');

/** What all detectors have. Boxes are candidates from score_min on; of those that overlap the best stays. */
export const detection = {
  labels,
  score_min: Share.default(0.25),
  nms_iou: Share.default(0.45).describe('of two boxes that overlap by more, the one of the lower score goes'),
  nms: z
    .enum(['class', 'agnostic', 'none'])
    .default('class')
    .describe('class: boxes of one class compete; agnostic: all do; none: the model has done it'),
  objects_max: Count.max(1000).default(100),
};

/** In what the model gives the sides of a box. */
export const unit = z
  .enum(['pixels', 'picture'])
  .describe("pixels of the model's input, or parts of the picture, 0..1");
