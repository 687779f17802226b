import { z } from 'zod';
import { ActionSchema } from './configuration.ts';
import { ResultSchema } from './decision.ts';
import { NameSchema, UnitIdSchema } from './ids.ts';
import { ErrorCodeSchema } from './problem.ts';
import { ActionRecordSchema, RuleArmingSchema } from './records.ts';

// What people ask of rules over HTTP, and what they are told: set aside, test-fired, tested, run over what is stored.

const Time = z.iso.datetime();
/** Neither control characters nor such as steer a text unseen; written so that every engine of regular expressions reads it alike. */
const VISIBLE =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is kept out
  /^[^\u0000-\u001f\u007f-\u009f\u00ad\u0600-\u0605\u061c\u06dd\u070f\u08e2\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ue000-\uf8ff\ufeff\ufff0-\uffff]+$/u;
const By = z
  .string()
  .min(1)
  .max(100)
  .regex(VISIBLE, 'text without control characters')
  .describe('who does it; where the request has a token of a name, the name of the token counts');
const Note = z
  .string()
  .min(1)
  .max(300)
  .regex(VISIBLE, 'text without control characters')
  .describe('why; it stands with what is suppressed');

export const ArmRequestSchema = z.strictObject({ by: By.optional() });
export const DisarmRequestSchema = z.strictObject({ by: By.optional(), note: Note.optional() });
const SNOOZE_MS_MAX = 366 * 86_400_000;
export const SnoozeRequestSchema = z
  .strictObject({
    until: z.iso.datetime({ offset: true }).optional().describe('2026-11-22T18:00:00Z'),
    for_ms: z.number().int().min(1000).max(SNOOZE_MS_MAX).optional(),
    by: By.optional(),
    note: Note.optional(),
  })
  .refine(({ until, for_ms }) => (until === undefined) !== (for_ms === undefined), {
    message: 'either until or for_ms',
  })
  .meta({ oneOf: [{ required: ['until'] }, { required: ['for_ms'] }] });

/** What stands in for a decision where a rule is tried without one. */
export const SampleSchema = ResultSchema.partial()
  .extend({ device: NameSchema, stream: NameSchema.optional(), pipeline: NameSchema.optional() })
  .describe('what templates are filled from where there is no decision yet');

export type Sample = z.infer<typeof SampleSchema>;

export const FireRequestSchema = z
  .strictObject({
    decision: UnitIdSchema.optional().describe('id; default: the newest on the pipelines of the rule'),
    sample: SampleSchema.optional(),
    phase: z.enum(['then', 'on_release']).default('then'),
    by: By.optional(),
  })
  .refine(({ decision, sample }) => decision === undefined || sample === undefined, {
    message: 'either decision or sample',
  })
  .meta({ not: { required: ['decision', 'sample'] } });

/** A rule's own word on whether it is armed, as the requests above answer. */
export const RuleArmedSchema = z.strictObject({ rule: NameSchema, arming: RuleArmingSchema });
export const RuleFiredSchema = z.strictObject({ rule: NameSchema, actions: z.array(ActionRecordSchema) });

const Revision = z.string().regex(/^[0-9a-f]{12}$/, 'twelve hex digits');
const BACKTEST_LISTED_MAX = 500;

export const RuleTestRequestSchema = z.strictObject({
  files: z
    .array(z.strictObject({ name: z.string().min(1).max(500), text: z.string().max(1024 * 1024) }))
    .min(1)
    .max(100)
    .optional()
    .describe(
      'YAML. With nothing but rules: laid over the active configuration; else a whole configuration. Absent: the active one',
    ),
  rules: z
    .array(NameSchema)
    .min(1)
    .max(200)
    .optional()
    .describe('only these; default: all, of a backtest all that differ'),
  since: z.iso.datetime({ offset: true }).optional().describe('run them over the decisions since then, too'),
  until: z.iso.datetime({ offset: true }).optional().describe('default: now'),
  against: Revision.optional().describe('what to compare with; default: the active configuration'),
  limit: z
    .number()
    .int()
    .min(0)
    .max(BACKTEST_LISTED_MAX)
    .default(100)
    .describe('differences that are listed; all are counted'),
});
export type RuleTestRequest = z.infer<typeof RuleTestRequestSchema>;

/** One test that a rule carries. */
export const RuleTestResultSchema = z
  .strictObject({
    rule: NameSchema,
    test: z.string(),
    index: z.number().int().describe('within its tests'),
    ok: z.boolean(),
    detail: z.string().optional().describe('what was expected, and what came'),
    at: z.string().optional().describe('where it stands: file:line:column'),
  })
  .meta({ id: 'RuleTestResult' });

/** One time that a rule acts. */
const FiringSchema = z.strictObject({
  rule: NameSchema,
  phase: z.enum(['then', 'on_release']),
  key: z.string(),
  at: Time.describe('rule time'),
  decision: z.string().describe('that it acts on'),
  actions: z.array(ActionSchema).describe('templates are filled in'),
});
export type Firing = z.infer<typeof FiringSchema>;

export const BacktestSchema = z
  .strictObject({
    since: Time,
    until: Time,
    against: Revision,
    complete: z.boolean().describe('false: it ended before it had read everything; `through` says how far it came'),
    error: z.string().optional().describe('why it is not complete'),
    decisions: z.number().int().describe('that it read'),
    through: Time.nullable().describe('received_at of the last one'),
    rules: z.array(
      z.strictObject({
        rule: NameSchema,
        change: z.enum(['added', 'removed', 'changed', 'same']),
        before: z.number().int().describe('times that it fires as it is'),
        after: z.number().int().describe('times that it fires as it would be'),
        same: z.number().int(),
        fires: z.number().int().describe('only as it would be'),
        silent: z.number().int().describe('only as it is'),
        differs: z.number().int().describe('both times, but it does something else'),
        suppressed: z.number().int().describe('as it would be: trigger too old'),
        errors: z.number().int().describe('as it would be: evaluations that failed'),
        last_error: z.string().optional(),
      }),
    ),
    differences: z.array(
      FiringSchema.extend({
        difference: z
          .enum(['fires', 'silent', 'differs'])
          .describe('fires: it would. silent: it would no longer. differs: it would do something else'),
        before: z.array(ActionSchema).optional().describe('of differs: what it does as it is'),
      }),
    ),
    unlisted: z.number().int().describe('differences beyond those listed'),
    approximate: z.array(
      z.strictObject({ rule: NameSchema.optional(), pipeline: NameSchema.optional(), why: z.string() }),
    ),
    took_ms: z.number().int(),
  })
  .meta({ id: 'Backtest' });
export type Backtest = z.infer<typeof BacktestSchema>;

export const RuleTestReportSchema = z
  .strictObject({
    ok: z.boolean().describe('every test that a rule carries holds'),
    tests: z.array(RuleTestResultSchema),
    backtest: BacktestSchema.nullable(),
    error: z
      .strictObject({ code: ErrorCodeSchema, detail: z.string() })
      .optional()
      .describe('why there is no backtest, where one was asked for'),
  })
  .meta({ id: 'RuleTestReport' });
export type RuleTestReport = z.infer<typeof RuleTestReportSchema>;
