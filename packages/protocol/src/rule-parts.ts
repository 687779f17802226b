import { z } from 'zod';
import { DecisionSchema } from './decision.ts';

// Parts of a rule that stand by themselves: times of day, agreement, and the tests that it carries.

/** HH:MM-HH:MM; 24:00 is the end of a day. */
const BETWEEN = /^([01]\d|2[0-3]):[0-5]\d-(([01]\d|2[0-3]):[0-5]\d|24:00)$/;

export const BetweenSchema = z
  .string()
  .regex(BETWEEN, 'two times of day, as 22:00-06:00')
  .refine((text) => text.slice(0, 5) !== text.slice(6), { message: 'two times of day that differ' })
  .describe('times of day in site.timezone; outside of them the rule does not become active');

export const QuorumSchema = z
  .union([
    z.strictObject({ pipelines: z.number().int().min(2).max(64), within_ms: z.number().int().min(1) }),
    z.strictObject({ devices: z.number().int().min(2).max(100), within_ms: z.number().int().min(1) }),
  ])
  .describe('so many pipelines, or devices, of one key must agree: the condition held at their last decisions');

const Part = z.number().min(0).max(1);

/** Corners of a polygon, 0..1 of the upright original picture; the last is joined to the first. */
export const ZoneSchema = z
  .array(z.tuple([Part, Part]))
  .min(3)
  .max(64);
export type Zone = z.infer<typeof ZoneSchema>;

const GivenObjectSchema = z.strictObject({
  label: z.string(),
  label_text: z.string().optional(),
  score: Part.default(1),
  box: z.tuple([Part, Part, Part, Part]).default([0, 0, 1, 1]),
});

/** What a test says of a decision: what conditions can read. The rest is filled in, see runRuleTests in @brink/rules. */
const GivenDecisionSchema = DecisionSchema.pick({
  ...{ device: true, stream: true, pipeline: true, outcome: true, task: true, label: true, label_text: true },
  ...{ score: true, classes: true, values: true, quality: true, error: true, frames: true, model: true },
  latency_ms: true,
})
  .partial()
  .extend({ objects: z.array(GivenObjectSchema).max(1000).optional() });
export type GivenDecision = z.infer<typeof GivenDecisionSchema>;

const GivenSchema = z.strictObject({
  at_ms: z.number().int().min(0).describe('received_at, from the start of the test'),
  decision: GivenDecisionSchema.optional(),
  repeat: z
    .number()
    .int()
    .min(1)
    .max(1000)
    .optional()
    .describe('how many decisions, the first at at_ms; without `decision`, each as the one before'),
  every_ms: z.number().int().min(1).default(1000).describe('between those of repeat'),
});

const Shown = z.record(z.string(), z.json());

const ExpectedSchema = z.strictObject({
  at_ms: z.number().int().optional().describe('when'),
  phase: z.enum(['then', 'on_release']).optional(),
  key: z.string().optional().describe('as cam-1: the values of `by`'),
  fate: z.enum(['pending', 'suppressed', 'dead']).default('pending'),
  command: Shown.optional(),
  mqtt: Shown.optional(),
  webhook: Shown.optional(),
  notify: Shown.optional(),
  record: Shown.optional(),
});
export type ExpectedAction = z.infer<typeof ExpectedSchema>;

export const RuleTestSchema = z.strictObject({
  name: z.string().min(1).max(200).describe('a sentence'),
  starts_at: z.iso
    .datetime({ offset: true })
    .default('2026-01-01T12:00:00Z')
    .describe('when its first millisecond is, for `between`: 2026-03-28T23:00:00+01:00'),
  given: z
    .array(GivenSchema)
    .min(1)
    .max(1000)
    .describe('in order; a step without decision and repeat lets time pass up to it'),
  expect: z.array(ExpectedSchema).max(1000).describe('every action, in order; what is not said of one may be anything'),
});
export type RuleTest = z.infer<typeof RuleTestSchema>;

/** What its keys must be to each other. */
interface RuleShape {
  readonly on: string | readonly string[];
  readonly when?: string | undefined;
  readonly absent_ms?: number | undefined;
  readonly by: readonly string[];
  readonly for?: unknown;
  readonly quorum?: z.infer<typeof QuorumSchema> | undefined;
  readonly release?: { readonly ms: number } | undefined;
}

interface RuleMisfit {
  readonly path: string[];
  /** What was expected. */
  readonly message: string;
}

/** Keys of a rule that cannot stand together. */
export function ruleMisfits(rule: RuleShape): RuleMisfit[] {
  if (rule.absent_ms !== undefined) return absenceMisfits(rule);
  const message = 'a condition, as decision.label == "cat"; only a rule with absent_ms goes without';
  return [...(rule.when === undefined ? [{ path: ['when'], message }] : []), ...quorumMisfits(rule)];
}

function absenceMisfits(rule: RuleShape): RuleMisfit[] {
  const misfits = (['for', 'quorum'] as const)
    .filter((key) => rule[key] !== undefined)
    .map((key) => ({ path: [key], message: `no \`${key}\` beside absent_ms` }));
  if ((rule.release?.ms ?? 0) === 0) return misfits;
  const message = 'no `ms` of `release` beside absent_ms: the first decision ends the silence';
  return [...misfits, { path: ['release'], message }];
}

function quorumMisfits({ quorum, by, on }: RuleShape): RuleMisfit[] {
  if (quorum === undefined) return [];
  const misfits: RuleMisfit[] = [];
  const voter = 'pipelines' in quorum ? 'pipeline' : 'device';
  if (by.includes(voter)) {
    const example = voter === 'device' ? 'by: [pipeline], or by: []' : 'by: [device]';
    const message = `keys that ${voter}s have in common, as ${example}: a quorum of ${voter}s is counted within one key`;
    misfits.push({ path: ['by'], message });
  }
  const pipelines = new Set([on].flat()).size;
  if ('pipelines' in quorum && quorum.pipelines > pipelines) {
    misfits.push({ path: ['quorum'], message: `at most as many pipelines as \`on\` has, which is ${pipelines}` });
  }
  return misfits;
}
