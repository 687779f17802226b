import {
  ACTION_KINDS,
  ActionExplanationSchema,
  ActionRecordSchema,
  ActionStateSchema,
  BrinkError,
  DeadRecordSchema,
  NameSchema,
} from '@brink/protocol';
import { z } from 'zod';
import type { Ledger } from '../../ledger/ledger.ts';
import { type App, problems } from '../app.ts';
import { LIMIT_DEFAULT, limit, pageOf, time, whole } from '../query.ts';

const before = whole(1, Number.MAX_SAFE_INTEGER).optional().describe('`next` of the page before');
const errorCode = z
  .string()
  .regex(/^E_[A-Z_]{1,40}$/)
  .optional();
const ActionQuery = z.strictObject({
  state: ActionStateSchema.optional(),
  rule: NameSchema.optional(),
  kind: z.enum(ACTION_KINDS).optional(),
  target: z
    .string()
    .min(1)
    .max(256)
    .optional()
    .describe('the device of a command, the topic of a publish, a name of `targets`'),
  code: errorCode.describe('of the error that it ended with, or that its last attempt had'),
  since: time.optional().describe('made at or after'),
  until: time.optional().describe('made before'),
  before,
  limit,
});
const params = z.strictObject({ id: z.string().max(1000) });

export function addActions(app: App, d: { ledger: Ledger }): void {
  const { ledger } = d;
  const tags = ['actions'];
  app.get(
    '/v1/actions',
    {
      schema: {
        summary: 'Actions, newest first',
        tags,
        querystring: ActionQuery,
        response: { 200: pageOf(ActionRecordSchema), ...problems },
      },
    },
    ({ query: { since, until, limit: wanted, ...query } }) =>
      ledger.read.actions({ ...query, since_ms: since, until_ms: until, limit: wanted ?? LIMIT_DEFAULT }),
  );
  app.get(
    '/v1/actions/:id',
    { schema: { summary: 'One action', tags, params, response: { 200: ActionRecordSchema, ...problems } } },
    async ({ params: { id } }) => found(await ledger.read.action(id), id),
  );
  app.get(
    '/v1/actions/:id/explain',
    {
      schema: {
        summary: 'Ack ← dispatch ← rule ← decision ← model ← frame',
        tags,
        params,
        response: { 200: ActionExplanationSchema, ...problems },
      },
    },
    async ({ params: { id } }) => found(await ledger.read.explainAction(id), id),
  );
  for (const verb of ['retry', 'cancel'] as const) {
    const summary = verb === 'retry' ? 'Send it again, under the same key' : 'Do not send it any more';
    app.post(
      `/v1/actions/:id/${verb}`,
      { schema: { summary, tags, params, response: { 200: ActionRecordSchema, ...problems } } },
      ({ params: { id } }) => ledger[verb](id),
    );
  }
  addDead(app, ledger);
}

const DeadQuery = z.strictObject({
  device: z.string().min(1).max(200).optional(),
  stream: z.string().min(1).max(200).optional(),
  code: errorCode,
  before,
  limit,
});

function addDead(app: App, ledger: Ledger): void {
  const tags = ['dead letters'];
  app.get(
    '/v1/dead',
    {
      schema: {
        summary: 'Frames that were refused by name, newest first',
        tags,
        querystring: DeadQuery,
        response: { 200: pageOf(DeadRecordSchema), ...problems },
      },
    },
    ({ query }) => ledger.read.dead({ ...query, limit: query.limit ?? LIMIT_DEFAULT }),
  );
  app.get(
    '/v1/dead/:id',
    { schema: { summary: 'One of them', tags, params, response: { 200: DeadRecordSchema, ...problems } } },
    async ({ params: { id } }) => found(await ledger.read.deadLetter(id), id, 'dead letter'),
  );
}

function found<T>(value: T | undefined, id: string, what = 'action'): T {
  if (value === undefined)
    throw new BrinkError('E_NOT_FOUND', `there is no ${what} "${id.slice(0, 200)}", or it is no longer kept`);
  return value;
}
