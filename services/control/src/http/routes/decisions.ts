import {
  BrinkError,
  DecisionExplanationSchema,
  DecisionSchema,
  DecisionSummarySchema,
  NameSchema,
  parseUnitId,
  UnitIdSchema,
} from '@brink/protocol';
import type { Clock } from '@brink/runtime';
import { z } from 'zod';
import type { LedgerReads } from '../../ledger/records.ts';
import { type App, problems } from '../app.ts';
import { LIMIT_DEFAULT, limit, pageOf, score, time, whole } from '../query.ts';

const lane = {
  device: NameSchema.optional(),
  stream: NameSchema.optional(),
  pipeline: NameSchema.optional(),
};
const Query = z.strictObject({
  ...lane,
  label: z.string().min(1).max(200).optional(),
  score_min: score.optional(),
  outcome: z.enum(['decided', 'expired', 'dead']).optional(),
  since: time.optional().describe('received at or after'),
  until: time.optional().describe('received before'),
  after: whole(0, Number.MAX_SAFE_INTEGER).optional().describe('running number; oldest first from the one after it'),
  limit,
});

const DAY_S = 86_400;
const BUCKET_S_DEFAULT = 3600;
const SummaryQuery = z.strictObject({
  ...lane,
  bucket_s: whole(60, 366 * DAY_S)
    .refine((value) => value % 60 === 0, 'expected a multiple of 60')
    .meta({ multipleOf: 60 })
    .optional()
    .describe(`width of a bucket, seconds; default ${BUCKET_S_DEFAULT}`),
  since: time.optional().describe('received at or after; taken down to a whole bucket; default a day before until'),
  until: time.optional().describe('received before; default now'),
});

export function addDecisions(app: App, d: { read: LedgerReads; clock: Clock }): void {
  app.get(
    '/v1/decisions',
    {
      schema: {
        summary: 'Decisions, newest first; with `after`, oldest first from there',
        tags: ['decisions'],
        querystring: Query,
        response: { 200: pageOf(DecisionSchema), ...problems },
      },
    },
    ({ query: { since, until, limit: wanted, ...query } }) =>
      d.read.decisions({ ...query, since_ms: since, until_ms: until, limit: wanted ?? LIMIT_DEFAULT }),
  );
  app.get(
    '/v1/decisions/summary',
    {
      schema: {
        summary: 'Counts, labels, scores and latencies of decisions, bucket by bucket',
        description:
          'From sums that are kept by the minute: of every decision, also of those that `keep` left out. At most 500 buckets; those in ' +
          'which nothing was decided are left out.',
        tags: ['decisions'],
        querystring: SummaryQuery,
        response: { 200: DecisionSummarySchema, ...problems },
      },
    },
    ({ query: { since, until, bucket_s = BUCKET_S_DEFAULT, ...of } }) => {
      const untilMs = until ?? d.clock.now();
      const sinceMs = since ?? untilMs - DAY_S * 1000;
      if (sinceMs >= untilMs) throw new BrinkError('E_BAD_REQUEST', 'since is not before until');
      return d.read.summary({ ...of, bucket_s, since_ms: sinceMs, until_ms: untilMs });
    },
  );
  const params = z.strictObject({ id: UnitIdSchema });
  app.get(
    '/v1/decisions/:id',
    {
      schema: { summary: 'One decision', tags: ['decisions'], params, response: { 200: DecisionSchema, ...problems } },
    },
    async ({ params: { id } }) => found(await d.read.decision(possible(id)), id),
  );
  app.get(
    '/v1/decisions/:id/explain',
    {
      schema: {
        summary: 'How it came about, back to the bytes of the frame',
        tags: ['decisions'],
        params,
        response: { 200: DecisionExplanationSchema, ...problems },
      },
    },
    async ({ params: { id } }) => found(await d.read.explainDecision(possible(id)), id),
  );
}

/** @throws BrinkError E_NOT_FOUND where it can be nobody's id */
function possible(id: string): string {
  try {
    parseUnitId(id);
  } catch {
    found(undefined, id);
  }
  return id;
}

function found<T>(value: T | undefined, id: string): T {
  if (value === undefined) throw new BrinkError('E_NOT_FOUND', `there is no decision "${id}", or it is no longer kept`);
  return value;
}
