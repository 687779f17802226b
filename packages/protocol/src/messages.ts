import { z } from 'zod';
import { DecisionSchema } from './decision.ts';
import { BootSchema, NameSchema, SeqSchema } from './ids.ts';
import { ErrorCodeSchema } from './problem.ts';
import { RuleStateNameSchema } from './records.ts';

// What travels over MQTT besides frames and decisions.

export const DeviceStatusSchema = z.strictObject({ state: z.enum(['online', 'offline']) }).meta({ id: 'DeviceStatus' });

/** control → device. `key` is the idempotency key: a device carries a key out once, however often it arrives. */
export const CommandSchema = z
  .strictObject({
    key: z.string(),
    expires_ms: z.number().int().describe('milliseconds from sending after which it must not be carried out'),
    args: z.record(z.string(), z.json()),
    because: z.string().describe("the decision's id"),
  })
  .meta({ id: 'Command' });
export type Command = z.infer<typeof CommandSchema>;

/** device → control. 200, or 4xx/5xx with what went wrong. */
export const AckSchema = z
  .strictObject({
    key: z.string().max(500),
    status: z.number().int().min(200).max(599),
    error: z.string().max(500).optional(),
  })
  .meta({ id: 'Ack' });
export type Ack = z.infer<typeof AckSchema>;

/** control → all, retained, on `brink/{device}/state`. Every pipeline and rule of the device is always there. */
export const DeviceStateSchema = z
  .strictObject({
    device: NameSchema,
    decisions: z.record(NameSchema, DecisionSchema.nullable()).describe('the latest decision per pipeline'),
    rules: z.record(NameSchema, RuleStateNameSchema).describe('where each rule on these pipelines stands'),
  })
  .meta({ id: 'DeviceState' });
export type DeviceState = z.infer<typeof DeviceStateSchema>;

export const RetiredSchema = z.strictObject({ boot: BootSchema, below: SeqSchema }).meta({ id: 'Retired' });

export const ReceiptSchema = z
  .strictObject({
    boot: BootSchema,
    through: z.number().int().min(0),
    rejected: z.array(z.strictObject({ seq: SeqSchema, code: ErrorCodeSchema })),
    busy_ms: z.number().int().min(0),
  })
  .meta({ id: 'Receipt' });

/** service → all, retained, on `brink/fleet/{service}/{instance}`; the last will says `offline`. */
export const FleetStatusSchema = z
  .strictObject({
    service: z.enum(['gateway', 'inference', 'control']),
    instance: NameSchema,
    state: z.enum(['online', 'offline']),
    version: z.string().optional(),
    started_at: z.iso.datetime().optional(),
    revision: z.string().optional().describe('of the configuration that is applied'),
    revision_error: z.string().optional(),
    ready: z.boolean().optional(),
    problems: z.array(z.string()).optional().describe('why it is not ready'),
    models: z
      .array(
        z.strictObject({
          name: NameSchema,
          version: z.number().int().positive(),
          state: z.enum(['loading', 'ready', 'failed', 'draining']),
          reason: z.string().optional(),
          serving: z.boolean().optional().describe('the bare name means this version'),
          provider: z.string().optional().describe('what really computes it'),
        }),
      )
      .optional(),
  })
  .meta({ id: 'FleetStatus' });
export type FleetStatus = z.infer<typeof FleetStatusSchema>;

/** Counts of one stream of one device: received = accepted + duplicate + rejected + dropped. */
export const StreamCountsSchema = z.strictObject({
  device: NameSchema,
  stream: NameSchema,
  received: z.number().int(),
  accepted: z.number().int(),
  duplicate: z.number().int(),
  rejected: z.number().int(),
  dropped: z.number().int(),
  last_at_ms: z.number(),
  drops: z
    .record(z.string(), z.number().int())
    .optional()
    .describe('why frames, and units of frames that were taken, were given up, since the start of the gateway'),
});

/** Counts of one pipeline: formed = decided + expired + dead + dropped + pending. */
export const PipelineCountsSchema = z.strictObject({
  pipeline: NameSchema,
  formed: z.number().int(),
  decided: z.number().int(),
  expired: z.number().int(),
  dead: z.number().int(),
  dropped: z.number().int(),
  pending: z.number().int(),
});

/** A frame topic on which frames arrive that no stream in the configuration takes. */
export const DiscoveredSchema = z
  .strictObject({
    device: NameSchema,
    stream: NameSchema,
    topic: z.string(),
    type: z.string().describe('what the bytes look like'),
    bytes: z.number().int(),
    frames: z.number().int(),
    per_s: z.number().describe('frames per second since the first one; 0 where there was only one'),
    last_at_ms: z.number(),
    paste: z.string().describe('the configuration to paste into config/streams.yaml'),
  })
  .meta({ id: 'Discovered' });
export type Discovered = z.infer<typeof DiscoveredSchema>;

/** gateway → control over the link, about once a second. */
export const GatewayReportSchema = z.strictObject({
  instance: NameSchema,
  at_ms: z.number(),
  streams: z.array(StreamCountsSchema).max(10_000),
  pipelines: z.array(PipelineCountsSchema).max(1000),
  discovered: z.array(DiscoveredSchema).max(100),
});
export type GatewayReport = z.infer<typeof GatewayReportSchema>;
