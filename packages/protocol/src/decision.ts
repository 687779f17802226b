import { z } from 'zod';
import { BootSchema, NameSchema, SeqSchema } from './ids.ts';
import { ErrorCodeSchema } from './problem.ts';

const Score = z.number().min(0).max(1);

export const ClassScoreSchema = z.strictObject({ label: z.string(), label_text: z.string().optional(), score: Score });

/** x0 y0 x1 y1, each 0..1 of the upright original frame. */
export const BoxSchema = z.tuple([Score, Score, Score, Score]);

const DetectedSchema = z.strictObject({
  label: z.string(),
  label_text: z.string().optional(),
  score: Score,
  box: BoxSchema,
});

export const TaskSchema = z.enum([
  'classification',
  'detection',
  'segmentation',
  'keyword',
  'anomaly',
  'regression',
  'embedding',
  'raw',
]);
export type Task = z.infer<typeof TaskSchema>;

/** What a model said about one unit, after decoding: the task-dependent part of a decision. */
export const ResultSchema = z
  .strictObject({
    task: TaskSchema,
    label: z.string().optional(),
    label_text: z.string().optional().describe("The label in the site's language, where the model has one"),
    score: Score.optional(),
    classes: z.array(ClassScoreSchema).max(100).optional(),
    objects: z.array(DetectedSchema).max(1000).optional(),
    values: z.record(z.string(), z.number()).optional(),
    embedding: z.array(z.number()).max(8192).optional(),
    tensors: z
      .record(
        z.string(),
        z.strictObject({
          dtype: z.string(),
          shape: z.array(z.number().int().min(0)),
          data: z.array(z.number()).max(65_536),
        }),
      )
      .optional()
      .describe('raw, bounded; of a segmentation `mask`: the class of each cell'),
    quality: z.enum(['bad']).optional().describe('Set where the input was doubtful: all zeros, clipped'),
  })
  .meta({ id: 'Result' });
export type Result = z.infer<typeof ResultSchema>;

/** How a unit came to its decision. At most EVIDENCE_BYTES_MAX as JSON. */
export const EvidenceSchema = z
  .strictObject({
    frame: z.strictObject({
      sha256: z.string().describe('of the bytes as received'),
      kept_sha256: z.string().optional().describe('as it is kept, masked: the name of its file in a recording'),
      bytes: z.number().int(),
      type: z.string().optional(),
      width: z.number().int().optional(),
      height: z.number().int().optional(),
    }),
    model: z
      .strictObject({
        passport_sha256: z.string(),
        model_sha256: z.string().optional(),
        provider: z.string().optional(),
      })
      .optional(),
    transform: z
      .strictObject({
        scale: z.tuple([z.number(), z.number()]),
        offset: z.tuple([z.number(), z.number()]),
        fit: z.string(),
        width: z.number().int(),
        height: z.number().int(),
      })
      .optional()
      .describe('model input pixel = original pixel · scale + offset'),
    batch: z.number().int().optional(),
    ms: z
      .strictObject({
        queue: z.number().optional(),
        decode: z.number().optional(),
        mask: z.number().optional().describe('finding what has to be masked, and painting it'),
        infer: z.number().optional(),
        decode_output: z.number().optional(),
        total: z.number().optional(),
      })
      .optional(),
    top: z
      .array(z.strictObject({ label: z.string(), raw: z.number() }))
      .max(5)
      .optional(),
    masked: z
      .strictObject({ regions: z.number().int(), faces: z.number().int() })
      .optional()
      .describe('how many places of the picture nobody saw'),
    attempts: z.number().int().optional(),
    gateway: z.string(),
    traceparent: z.string().max(64).optional().describe("W3C trace context: the trace, and the gateway's span in it"),
    spans: z
      .strictObject({ infer: z.string().max(16) })
      .optional()
      .describe('of other hops of the same trace'),
  })
  .meta({ id: 'Evidence' });
export type Evidence = z.infer<typeof EvidenceSchema>;
export const EVIDENCE_BYTES_MAX = 4096;

const OutcomeErrorSchema = z.strictObject({ code: ErrorCodeSchema, detail: z.string().max(1000) });

/** gateway → control, one per unit, as JSON. Control adds `n` and `revision` and makes the decision of it. */
export const OutcomeSchema = z
  .strictObject({
    device: NameSchema,
    stream: NameSchema,
    boot: BootSchema,
    seq: SeqSchema,
    part: z.number().int().min(0),
    pipeline: NameSchema,
    outcome: z.enum(['decided', 'expired', 'dead']),
    result: ResultSchema.optional(),
    error: OutcomeErrorSchema.optional(),
    frames: z.strictObject({ boot: BootSchema, first: SeqSchema, last: SeqSchema, received: z.number().int() }),
    model: z.strictObject({ name: NameSchema, version: z.number().int().positive() }),
    received_ms: z.number().describe("the gateway's clock, ms since 1970"),
    latency_ms: z.number().min(0),
    durable: z.boolean(),
    evidence: EvidenceSchema,
  })
  .refine((outcome) => (outcome.outcome === 'decided') === (outcome.result !== undefined), {
    message: 'a decided outcome has a result, and only a decided one',
    path: ['result'],
  });
export type Outcome = z.infer<typeof OutcomeSchema>;

/** A frame that was refused by name. Travels with the outcomes. */
export const DeadLetterSchema = z
  .strictObject({
    dead: z.literal(true),
    device: z.string().max(200),
    stream: z.string().max(200),
    boot: z.string().optional(),
    seq: z.number().int().optional(),
    error: OutcomeErrorSchema,
    sha256: z.string(),
    bytes: z.number().int(),
    type: z.string().optional(),
    received_ms: z.number(),
  })
  .meta({ id: 'DeadLetter' });
export type DeadLetter = z.infer<typeof DeadLetterSchema>;

/** One payload of an `Outcomes` request. */
export const OutcomeOrDeadLetterSchema = z.union([DeadLetterSchema, OutcomeSchema]);

/** What everyone reads: MQTT, SSE and HTTP alike. */
export const DecisionSchema = z
  .strictObject({
    v: z.literal(1),
    id: z.string(),
    n: z.number().int().positive().describe("the ledger's running number"),
    device: NameSchema,
    stream: NameSchema,
    pipeline: NameSchema,
    outcome: z.enum(['decided', 'expired', 'dead']),
    ...ResultSchema.partial().shape,
    error: OutcomeErrorSchema.optional(),
    frames: OutcomeSchema.shape.frames,
    model: OutcomeSchema.shape.model,
    received_at: z.iso.datetime(),
    latency_ms: z.number(),
    revision: z.string().describe('of the configuration that was active'),
  })
  .meta({ id: 'Decision', description: 'One committed outcome' });
export type Decision = z.infer<typeof DecisionSchema>;
