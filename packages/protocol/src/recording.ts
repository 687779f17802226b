import { z } from 'zod';
import { BootSchema, NameSchema, SeqSchema } from './ids.ts';

// What a `record` action leaves in the recordings folder: `<id>/manifest.json`, and beside it the files that it names.

export const RECORDING_FRAMES_MAX = 10_000;

const Sha256 = z.string().regex(/^[0-9a-f]{64}$/, 'a SHA-256: 64 of 0-9 and a-f');

export const RecordingIdSchema = z.string().regex(/^[0-9a-f]{24}$/, 'a recording id: 24 hex digits');

const RecordedFrameSchema = z.strictObject({
  boot: BootSchema,
  seq: SeqSchema.describe('of sound: of the first frame in the file'),
  last: SeqSchema.optional().describe('of sound: of the last frame in the file'),
  received_at: z.iso.datetime(),
  type: z.string(),
  sha256: Sha256.describe('of the file'),
  bytes: z.number().int(),
  file: z.string().regex(/^[0-9a-f]{64}\.[a-z0-9]{1,5}$/),
});
export type RecordedFrame = z.infer<typeof RecordedFrameSchema>;

export const RecordingSchema = z
  .strictObject({
    v: z.literal(1),
    id: RecordingIdSchema,
    action: z.string().describe('that asked for it'),
    decision: z.string(),
    device: NameSchema,
    stream: NameSchema,
    gateway: NameSchema,
    at: z.iso.datetime().describe('when what led to it was received'),
    from: z.iso.datetime(),
    until: z.iso.datetime(),
    state: z
      .enum(['recording', 'complete', 'cut'])
      .describe('cut: it has less than was asked for; its process ended, or it grew too large'),
    masked: z.boolean().describe('the stream has a mask'),
    bytes: z.number().int(),
    frames: z.array(RecordedFrameSchema).max(RECORDING_FRAMES_MAX),
  })
  .meta({ id: 'Recording', description: 'What a record action kept: masked, upright, without metadata' });
export type Recording = z.infer<typeof RecordingSchema>;

/** A line of the list: how many frames instead of which. */
export const RecordingSummarySchema = RecordingSchema.omit({ frames: true }).extend({ frames: z.number().int() });
export type RecordingSummary = z.infer<typeof RecordingSummarySchema>;
