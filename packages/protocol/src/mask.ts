import { z } from 'zod';
import { NameSchema } from './ids.ts';

// What of a frame nobody but the decoder, and the detector of faces, may ever see; and noise that is taken away once, for all models.

const Part = z.number().min(0).max(1);

const RectangleSchema = z
  .tuple([Part, Part, Part, Part])
  .refine(([x0, y0, x1, y1]) => x0 < x1 && y0 < y1, { message: 'x0 y0 x1 y1 with x0 < x1 and y0 < y1' });
const PolygonSchema = z
  .array(z.tuple([Part, Part]))
  .min(3)
  .max(64);

const RegionSchema = z.union([RectangleSchema, PolygonSchema], {
  error: 'x0 y0 x1 y1 of a rectangle, [0, 0, 0.2, 0.1], or the corners of a polygon, [[0, 0], [0.2, 0], [0, 0.1]]',
});

export const FaceMaskSchema = z.strictObject({
  model: NameSchema.describe('a detector; whatever it finds is masked'),
  score_min: Part.optional().describe("default: that of the model's passport, which must not be higher than this"),
  grow: z.number().min(0).max(2).default(0.2).describe('each box by this part of its width and height, on every side'),
  when_unavailable: z
    .enum(['drop'])
    .default('drop')
    .describe('without an answer of the detector nothing of the frame goes on: its units end as dead or expired'),
});

/** A field, `user.name` or `readings.note`: lists on the way are walked through. */
const FieldPath = z.string().min(1).max(256);

export const FieldMaskSchema = z
  .strictObject({
    drop: z
      .array(FieldPath)
      .max(256)
      .default([])
      .describe('fields that are left out; lists on the way are walked through'),
    pseudonymise: z
      .array(FieldPath)
      .max(256)
      .default([])
      .describe('fields whose value is replaced by its HMAC-SHA-256 under the secret, 64 hex digits'),
    secret: NameSchema.optional().describe('a file of this name in BRINK_SECRETS_DIR of the gateway'),
  })
  .refine(({ drop, pseudonymise }) => drop.length + pseudonymise.length > 0, {
    message: 'drop or pseudonymise something',
  })
  .refine(({ pseudonymise, secret }) => pseudonymise.length === 0 || secret !== undefined, {
    message: 'a secret, for pseudonymise',
    path: ['secret'],
  });

export const MaskSchema = z.union([
  z.strictObject({
    regions: z
      .array(RegionSchema)
      .min(1)
      .max(64)
      .describe('x0 y0 x1 y1 of a rectangle, or the corners of a polygon; each number 0..1 of the upright picture'),
  }),
  z.strictObject({ faces: FaceMaskSchema }),
  z.strictObject({ fields: FieldMaskSchema }),
]);
export type MaskConfig = z.infer<typeof MaskSchema>;

export const DenoiseSchema = z
  .strictObject({
    median: z
      .union([z.literal(3), z.literal(5)])
      .optional()
      .describe('middle value of so many by so many pixels'),
    gaussian: z.number().min(0.3).max(20).optional().describe('standard deviation, in pixels of the original'),
  })
  .refine(({ median, gaussian }) => median !== undefined || gaussian !== undefined, { message: 'median or gaussian' });

interface Masked {
  readonly format: string;
  readonly mask: readonly MaskConfig[];
  readonly denoise?: unknown;
  readonly signal?: { readonly encoding: string; readonly fields: readonly string[] } | undefined;
}

/** Masks that do not go with the stream they stand in. */
export function maskProblems({ format, mask, denoise, signal }: Masked) {
  const problems: { path: readonly (string | number)[]; found: string; expected: string }[] = [];
  const say = (path: readonly (string | number)[], found: string, expected: string) =>
    problems.push({ path, found, expected });
  if (denoise !== undefined && format !== 'image') {
    say(['denoise'], `denoise beside format: ${format}`, 'it beside format: image only');
  }
  if (mask.filter((one) => 'faces' in one).length > 1) say(['mask'], 'faces twice', 'one detector');
  for (const [i, one] of mask.entries()) {
    const path = ['mask', i];
    if (!('fields' in one)) {
      if (format !== 'image') say(path, `a mask of pictures beside format: ${format}`, 'format: image');
      continue;
    }
    const isJson = format === 'text' || (format === 'signal' && signal?.encoding === 'json');
    if (!isJson) say(path, `a mask of fields beside format: ${format}`, 'signals or text as JSON');
    const used = [...one.fields.drop, ...one.fields.pseudonymise].find((field) =>
      signal?.fields.some((one) => (one.split('=', 2)[1] ?? one) === field),
    );
    if (used !== undefined) say(path, `"${used}", which signal.fields wants`, 'fields that no model needs');
  }
  return problems;
}
