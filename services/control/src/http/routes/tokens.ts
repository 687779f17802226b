import { AuditEntrySchema, IssuedTokenSchema, NewTokenSchema, TokenSchema } from '@brink/protocol';
import { z } from 'zod';
import type { LedgerReads } from '../../ledger/records.ts';
import { type App, problems } from '../app.ts';
import { noteFor } from '../audit.ts';
import { callerOf } from '../guard.ts';
import { LIMIT_DEFAULT, limit, listOf, pageOf, time, whole } from '../query.ts';
import type { Tokens } from '../tokens.ts';

const params = z.strictObject({
  id: z
    .string()
    .regex(/^[a-z0-9]{1,20}$/)
    .meta({ examples: ['k3v9m2a7xy'] }),
});

export function addTokens(app: App, d: { tokens: Tokens }): void {
  const { tokens } = d;
  const tags = ['tokens'];
  app.get(
    '/v1/tokens',
    { schema: { summary: 'Tokens that there are or were', tags, response: { 200: listOf(TokenSchema), ...problems } } },
    () => ({ items: tokens.list() }),
  );
  app.post(
    '/v1/tokens',
    {
      schema: {
        summary: 'Make a token; it is shown this once',
        tags,
        body: NewTokenSchema,
        response: { 201: IssuedTokenSchema, ...problems },
      },
    },
    async (request, reply) => {
      const { name, scopes, devices = [], days } = request.body;
      noteFor(request, { name, scopes, ...(devices.length === 0 ? {} : { devices }), days });
      const made = await tokens.add(request.body, callerOf(request));
      noteFor(request, { token: made.id });
      return reply.code(201).header('location', `/v1/tokens/${made.id}`).send(made);
    },
  );
  app.get(
    '/v1/tokens/:id',
    { schema: { summary: 'One token', tags, params, response: { 200: TokenSchema, ...problems } } },
    ({ params: { id } }) => tokens.get(id),
  );
  app.delete(
    '/v1/tokens/:id',
    {
      schema: {
        summary: 'Revoke a token: from now on it is refused, and what it has open is closed',
        tags,
        params,
        response: { 200: TokenSchema, ...problems },
      },
    },
    async (request, reply) => {
      const revoked = await tokens.revoke(request.params.id, callerOf(request), request.raw.socket);
      // One that ends itself is told so, and that is the last that goes out here.
      if (callerOf(request).id === revoked.id) reply.header('connection', 'close');
      noteFor(request, { name: revoked.name });
      return revoked;
    },
  );
}

const AuditQuery = z.strictObject({
  who: z.string().min(1).max(100).optional().describe('name of the token'),
  path: z.string().min(1).max(500).optional().describe('this address and what is below it, as /v1/devices/cam-1'),
  since: time.optional().describe('at or after'),
  until: time.optional().describe('before'),
  before: whole(1, Number.MAX_SAFE_INTEGER).optional().describe('`next` of the page before'),
  limit,
});
const Check = z.strictObject({
  intact: z.boolean(),
  rows: z.number().int(),
  broken: z.number().int().optional().describe('the first entry that does not follow from the one before'),
  last: z
    .strictObject({ n: z.number().int(), sha256: z.string() })
    .optional()
    .describe('write it down elsewhere: a later check shows whether the end was cut off'),
});

export function addAudit(app: App, d: { read: LedgerReads }): void {
  const tags = ['audit'];
  app.get(
    '/v1/audit',
    {
      schema: {
        summary: 'Who changed what, newest first',
        tags,
        querystring: AuditQuery,
        response: { 200: pageOf(AuditEntrySchema), ...problems },
      },
    },
    ({ query: { since, until, limit: wanted, ...query } }) =>
      d.read.audit({ ...query, since_ms: since, until_ms: until, limit: wanted ?? LIMIT_DEFAULT }),
  );
  app.get(
    '/v1/audit/check',
    {
      schema: {
        summary: 'Whether each entry still follows from the one before',
        tags,
        response: { 200: Check, ...problems },
      },
    },
    () => checked(d.read),
  );
}

/** Stretch by stretch, so that no other read waits long. */
async function checked(read: LedgerReads): Promise<z.infer<typeof Check>> {
  let rows = 0;
  let last: { n: number; sha256: string } | undefined;
  for (;;) {
    const stretch = await read.auditStretch(last);
    rows += stretch.rows;
    if (stretch.broken !== undefined) return { intact: false, rows, broken: stretch.broken };
    last = stretch.last ?? last;
    if (!stretch.more) return { intact: true, rows, ...(last === undefined ? {} : { last }) };
  }
}
