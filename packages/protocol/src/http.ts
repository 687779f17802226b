import { z } from 'zod';
import { DecisionSchema } from './decision.ts';
import { BootSchema, NameSchema, SeqSchema } from './ids.ts';
import { FleetStatusSchema, PipelineCountsSchema, StreamCountsSchema } from './messages.ts';
import { ActionStateSchema, CommittedCountsSchema, RuleArmingSchema } from './records.ts';

// What control answers over HTTP, where it is not a record of its own.

const Time = z.iso.datetime();

/** One thing that is wrong in the configuration. Lines and columns count from 1. */
export const ConfigProblemSchema = z
  .strictObject({
    file: z.string(),
    line: z.number().int(),
    column: z.number().int(),
    path: z.string(),
    found: z.string(),
    expected: z.string(),
    example: z.string().optional(),
    hint: z.string().optional(),
    absent: z.literal(true).optional().describe('not the words are wrong: the model that they name is not there'),
  })
  .meta({ id: 'ConfigProblem' });

export const StatusSchema = z
  .strictObject({
    site: NameSchema,
    version: z.string(),
    now: Time,
    started_at: Time,
    ready: z.boolean(),
    problems: z.array(z.string()).describe('why it is not ready; empty when it is'),
    configuration: z.strictObject({
      revision: z.string(),
      activated_at: Time,
      error: z
        .strictObject({ since: Time, detail: z.string(), problems: z.array(ConfigProblemSchema) })
        .nullable()
        .describe('what is wrong with the files as they stand now; the revision above stays active meanwhile'),
      applied: z.boolean().describe('every service that is online has applied this revision'),
    }),
    services: z.array(FleetStatusSchema.extend({ link: z.enum(['up', 'down']).optional() })),
    laws: z.strictObject({
      streams: z.strictObject({
        law: z.literal('received = accepted + duplicate + rejected + dropped'),
        holds: z.boolean(),
        items: z.array(StreamCountsSchema.extend({ gateway: NameSchema, holds: z.boolean() })),
      }),
      pipelines: z.strictObject({
        law: z.literal('formed = decided + expired + dead + dropped + pending'),
        holds: z.boolean(),
        items: z.array(PipelineCountsSchema.extend({ gateway: NameSchema, holds: z.boolean() })),
      }),
    }),
    ledger: z.strictObject({
      n: z.number().int().describe('running number of the newest decision'),
      lag_ms: z.number().nullable().describe('from received_at to COMMIT, of the newest decision'),
      last_commit_ms: z.number(),
      queued: z.number().int(),
      wal_bytes: z.number().int(),
      problem: z.string().nullable(),
      committed: z.array(CommittedCountsSchema).describe('since the ledger exists'),
    }),
    rules: z.strictObject({
      set_aside: z
        .array(RuleArmingSchema.extend({ rule: NameSchema }))
        .describe('disarmed or snoozed: what they lead to is recorded as suppressed'),
    }),
    actions: z.partialRecord(ActionStateSchema, z.number().int()),
    outbox: z.strictObject({
      oldest_ms: z.number().nullable().describe('age of the oldest action that has not ended; null: there is none'),
    }),
    dead: z.array(z.strictObject({ code: z.string(), count: z.number().int() })),
    disk: z.strictObject({ path: z.string(), free_bytes: z.number(), total_bytes: z.number() }).nullable(),
  })
  .meta({ id: 'Status' });
export type Status = z.infer<typeof StatusSchema>;

/** The answer to a frame that was posted. `pending`: decided later, or not waited for. `dropped`: a newer one took its place. */
export const PostedFrameSchema = z
  .strictObject({
    boot: BootSchema,
    seq: SeqSchema,
    items: z.array(DecisionSchema),
    pending: z.array(z.string()),
    dropped: z.array(z.string()),
  })
  .meta({ id: 'PostedFrame' });
export type PostedFrameAnswer = z.infer<typeof PostedFrameSchema>;

/** The answer to `POST /v1/devices/{id}/credentials`. The password is shown this once. */
export const CredentialsSchema = z
  .union([
    z.strictObject({
      needed: z.literal(true),
      device: NameSchema,
      client_id: NameSchema,
      username: NameSchema,
      password: z.string(),
      url: z.string().optional().describe('of the broker, where this is known'),
    }),
    z.strictObject({
      needed: z.literal(false),
      device: NameSchema,
      detail: z.string(),
      url: z.string().optional().describe('of the broker, where this is known'),
    }),
  ])
  .meta({ id: 'Credentials' });
export type Credentials = z.infer<typeof CredentialsSchema>;
