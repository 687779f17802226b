import { z } from 'zod';
import { ACTION_KINDS, ActionSchema } from './configuration.ts';
import { DecisionSchema, EvidenceSchema, OutcomeSchema } from './decision.ts';
import { NameSchema } from './ids.ts';
import { ErrorCodeSchema } from './problem.ts';

// What the ledger holds besides decisions, as HTTP and the command line show it.

const Time = z.iso.datetime();
const RecordedErrorSchema = z.strictObject({ code: ErrorCodeSchema, detail: z.string() });

export const ActionStateSchema = z.enum([
  'pending',
  'leased',
  'sent',
  'acked',
  'expired',
  'dead',
  'cancelled',
  'suppressed',
]);
export type ActionState = z.infer<typeof ActionStateSchema>;

/** One action: a row of the outbox. Its id is the idempotency key. */
export const ActionRecordSchema = z
  .strictObject({
    id: z.string(),
    kind: z.enum(ACTION_KINDS),
    target: z
      .string()
      .describe('the device of a command, the topic of a publish, a name of `targets`, device/stream of a recording'),
    config: ActionSchema.describe('as it is sent: templates are filled in'),
    state: ActionStateSchema,
    decision: z.string().describe('id of the decision that led to it, or who ordered it'),
    n: z.number().int().min(0).describe("the decision's running number; 0 where there is none"),
    rule: NameSchema.optional().describe('absent where it was ordered over HTTP'),
    key: z.string().optional().describe("of the rule's state machine"),
    phase: z.enum(['then', 'on_release']).optional(),
    index: z.number().int().min(0),
    attempts: z.number().int().min(0),
    created_at: Time,
    expires_at: Time,
    ended_at: Time.optional(),
    ack: z.strictObject({ status: z.number().int(), error: z.string().optional(), at: Time }).optional(),
    error: RecordedErrorSchema.optional().describe('why it was not carried out, or why the last attempt failed'),
  })
  .meta({ id: 'Action' });
export type ActionRecord = z.infer<typeof ActionRecordSchema>;

export const RuleStateNameSchema = z.enum(['idle', 'arming', 'active', 'releasing']);
export type RuleStateName = z.infer<typeof RuleStateNameSchema>;

/** Where one state machine of a rule stands. */
export const RuleKeyStateSchema = z
  .strictObject({
    key: z.string(),
    state: RuleStateNameSchema,
    since: Time,
    waits_for: z.string().describe('what happens next, and when, in a sentence'),
    due: Time.optional().describe('when its timer fires, if nothing happens before'),
    cooldown_until: Time.optional(),
    holding: z.number().int().optional().describe('how many of the last `of` decisions the condition held on'),
    seen: z.number().int().optional(),
    decision: z.string().optional().describe('the last decision that it saw'),
  })
  .meta({ id: 'RuleKeyState' });
export type RuleKeyState = z.infer<typeof RuleKeyStateSchema>;

/** Whether a rule may act. Set aside, it goes on watching, and what it leads to is recorded as suppressed. */
export const RuleArmingSchema = z
  .strictObject({
    state: z
      .enum(['armed', 'disarmed', 'snoozed', 'hung'])
      .describe('hung: an evaluation did not end; the rule rests until its configuration changes or it is armed'),
    until: Time.optional().describe('of snoozed'),
    by: z.string().optional(),
    since: Time.optional(),
    note: z.string().optional(),
  })
  .meta({ id: 'RuleArming' });
export type RuleArming = z.infer<typeof RuleArmingSchema>;

export const RuleStateSchema = z
  .strictObject({
    rule: NameSchema,
    arming: RuleArmingSchema,
    errors: z.number().int().describe('evaluations that failed and counted as not holding'),
    last_error: z.string().optional(),
    keys: z.array(RuleKeyStateSchema),
  })
  .meta({ id: 'RuleState' });
export type RuleState = z.infer<typeof RuleStateSchema>;

/** Why a rule acted: what it saw, and what it was before and after. */
export const BecauseSchema = z
  .strictObject({
    rule: NameSchema,
    key: z.string(),
    condition: z.strictObject({ field: z.enum(['when', 'release.when']), text: z.string(), holds: z.boolean() }),
    values: z.record(z.string(), z.json()).describe('what the condition read, by path'),
    before: RuleStateNameSchema,
    after: RuleStateNameSchema,
    history: z
      .strictObject({
        holding: z.number().int(),
        seen: z.number().int(),
        at_least: z.number().int(),
        of: z.number().int(),
      })
      .optional(),
    quorum: z
      .strictObject({
        of: z.enum(['pipeline', 'device']),
        at_least: z.number().int(),
        within_ms: z.number().int(),
        agree: z.array(z.string()).describe('whose last decision fulfilled the condition'),
      })
      .optional(),
    absent_ms: z.number().int().optional().describe('set where it acted because nothing came for so long'),
    between: z.string().optional().describe('the times of day in which the rule may act'),
    timer_due: Time.optional().describe('set where time, not a decision, made it act'),
    test: z
      .strictObject({
        by: z.string(),
        sample: z.literal(true).optional().describe('templates were filled from a sample: there is no such decision'),
      })
      .optional()
      .describe('set where a person fired the rule to see what it does: neither its state nor its cooldown counted'),
    at: Time.describe('rule time: received_at of the decision, or when the timer was due'),
    age_ms: z.number().describe('of the decision when it was evaluated'),
    stale_ms_max: z.number().int(),
    revision: z.string().describe('of the configuration that the rule came from'),
  })
  .meta({ id: 'Because' });
export type Because = z.infer<typeof BecauseSchema>;

export const AttemptSchema = z
  .strictObject({
    attempt: z.number().int().min(1),
    leased_at: Time,
    sent_at: Time.optional(),
    result: z.enum(['open', 'sent', 'failed', 'lost']).describe('lost: the process ended before it knew'),
    error: RecordedErrorSchema.optional(),
  })
  .meta({ id: 'Attempt' });
export type Attempt = z.infer<typeof AttemptSchema>;

/** How a decision came about, back to the bytes of the frame. */
export const DecisionExplanationSchema = z
  .strictObject({
    decision: DecisionSchema,
    evidence: EvidenceSchema,
    actions: z.array(z.strictObject({ id: z.string(), rule: z.string().optional(), state: ActionStateSchema })),
  })
  .meta({ id: 'DecisionExplanation' });
export type DecisionExplanation = z.infer<typeof DecisionExplanationSchema>;

/** What was decided in one stretch of time. */
export const SummaryBucketSchema = z
  .strictObject({
    at: Time.describe('its begin, of received_at'),
    decided: z.number().int(),
    expired: z.number().int(),
    dead: z.number().int(),
    labels: z.array(z.strictObject({ label: z.string(), count: z.number().int() })).describe('the most frequent first'),
    other_labels: z.number().int().describe('decisions with labels that are not listed'),
    score: z.strictObject({ min: z.number(), mean: z.number(), max: z.number() }).nullable(),
    latency_ms: z.strictObject({ mean: z.number(), max: z.number() }),
  })
  .meta({ id: 'SummaryBucket' });
export type SummaryBucket = z.infer<typeof SummaryBucketSchema>;

/** Sums over decisions, also over those that `keep` leaves out; buckets in which nothing was decided are left out. */
export const DecisionSummarySchema = z
  .strictObject({ bucket_s: z.number().int(), since: Time, until: Time, items: z.array(SummaryBucketSchema) })
  .meta({ id: 'DecisionSummary' });
export type DecisionSummary = z.infer<typeof DecisionSummarySchema>;

/** The chain: ack ← dispatches ← rule and its state ← decision ← model and its hash ← prepared how ← frame's hash. */
export const ActionExplanationSchema = z
  .strictObject({
    action: ActionRecordSchema,
    cause: z
      .enum(['rule', 'timer', 'test', 'person'])
      .describe(
        'a decision on which a rule acted; time that passed for it; a person who fired the rule, or ordered it',
      ),
    by: z.string().optional().describe('of test and person: who'),
    ack: ActionRecordSchema.shape.ack.nullable(),
    attempts: z.array(AttemptSchema),
    because: BecauseSchema.nullable(),
    decision: DecisionSchema.nullable(),
    model: z
      .strictObject({
        name: NameSchema,
        version: OutcomeSchema.shape.model.shape.version,
        passport_sha256: z.string().optional(),
        model_sha256: z.string().optional(),
        provider: z.string().optional(),
      })
      .nullable(),
    prepared: EvidenceSchema.pick({ transform: true, batch: true, ms: true, top: true, attempts: true }).nullable(),
    frame: EvidenceSchema.shape.frame.extend({ gateway: z.string() }).nullable(),
  })
  .meta({ id: 'ActionExplanation' });
export type ActionExplanation = z.infer<typeof ActionExplanationSchema>;

/** A dead letter as it is kept: a frame that was refused by name. */
export const DeadRecordSchema = z
  .strictObject({
    id: z.string(),
    device: z.string(),
    stream: z.string(),
    boot: z.string().optional(),
    seq: z.number().int().optional(),
    error: RecordedErrorSchema,
    sha256: z.string(),
    bytes: z.number().int(),
    type: z.string().optional(),
    received_at: Time,
  })
  .meta({ id: 'DeadRecord' });
export type DeadRecord = z.infer<typeof DeadRecordSchema>;

export const DeviceRecordSchema = z
  .strictObject({
    name: NameSchema,
    state: z.enum(['online', 'offline', 'unknown']),
    registered: z.boolean().describe('added by a person; others joined by themselves'),
    note: z.string().optional(),
    credentials_at: Time.optional().describe('when its credentials were made last'),
    first_seen: Time.optional(),
    last_seen: Time.optional(),
  })
  .meta({ id: 'Device' });
export type DeviceRecord = z.infer<typeof DeviceRecordSchema>;

/** What was committed since the ledger exists, per device, stream and pipeline; outlives retention. */
export const CommittedCountsSchema = z
  .strictObject({
    device: NameSchema,
    stream: NameSchema,
    pipeline: NameSchema,
    decided: z.number().int(),
    expired: z.number().int(),
    dead: z.number().int(),
    duplicate: z.number().int(),
  })
  .meta({ id: 'CommittedCounts' });
export type CommittedCounts = z.infer<typeof CommittedCountsSchema>;
