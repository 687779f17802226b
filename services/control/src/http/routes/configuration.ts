import { BrinkError, ConfigProblemSchema, ConfigurationSchema, PublishedConfigurationSchema } from '@brink/protocol';
import { z } from 'zod';
import type { ConfigurationKeeper } from '../../configuration/active.ts';
import { formatProblem } from '../../configuration/problems.ts';
import type { LedgerReads } from '../../ledger/records.ts';
import { type App, problems } from '../app.ts';
import { LIMIT_DEFAULT, limit, listOf } from '../query.ts';

const ActiveSchema = z.strictObject({
  revision: z.string(),
  activated_at: z.iso.datetime(),
  configuration: ConfigurationSchema,
  error: z
    .strictObject({ since: z.iso.datetime(), detail: z.string(), problems: z.array(ConfigProblemSchema) })
    .nullable(),
});
const Files = z.strictObject({
  files: z
    .array(z.strictObject({ name: z.string().min(1).max(500), text: z.string().max(1024 * 1024) }))
    .min(1)
    .max(100)
    .optional()
    .describe('absent: those of the folder'),
});
const Verdict = z.strictObject({
  valid: z.boolean(),
  revision: z.string().optional(),
  problems: z.array(ConfigProblemSchema.extend({ text: z.string().describe('the problem in one line') })),
});
const VALIDATE_BYTES_MAX = 8 * 1024 * 1024;

export function addConfiguration(app: App, d: { configuration: ConfigurationKeeper; read: LedgerReads }): void {
  const tags = ['configuration'];
  app.get(
    '/v1/config',
    {
      schema: {
        summary: 'What is active, and what is wrong with the files',
        tags,
        response: { 200: ActiveSchema, ...problems },
      },
    },
    (_, reply) => {
      const { active, problem } = d.configuration;
      reply.header('etag', `"${active.revision}"`);
      const { revision, activatedAt, configuration } = active;
      const error = problem === undefined ? null : { ...problem, problems: [...problem.problems] };
      return { revision, activated_at: activatedAt, configuration, error };
    },
  );
  app.post(
    '/v1/config/validate',
    {
      bodyLimit: VALIDATE_BYTES_MAX,
      schema: {
        summary: 'Say what is wrong, and change nothing',
        tags,
        body: Files.nullish(),
        response: { 200: Verdict, ...problems },
      },
    },
    async ({ body }) => {
      const validation = await d.configuration.validate(body?.files);
      if (validation.ok) return { valid: true, revision: validation.published.revision, problems: [] };
      return { valid: false, problems: validation.problems.map((item) => ({ ...item, text: formatProblem(item) })) };
    },
  );
  app.get(
    '/v1/config/revisions',
    {
      schema: {
        summary: 'Configurations that were active, newest first',
        tags,
        querystring: z.strictObject({ limit }),
        response: {
          200: listOf(z.strictObject({ revision: z.string(), activated_at: z.iso.datetime() })),
          ...problems,
        },
      },
    },
    async ({ query }) => ({ items: await d.read.revisions(query.limit ?? LIMIT_DEFAULT) }),
  );
  app.get(
    '/v1/config/revisions/:revision',
    {
      schema: {
        summary: 'One of them',
        tags,
        params: z.strictObject({ revision: z.string().regex(/^[0-9a-f]{12}$/, 'twelve hex digits') }),
        response: { 200: PublishedConfigurationSchema, ...problems },
      },
    },
    async ({ params: { revision } }) => {
      const found = await d.read.configuration(revision);
      if (found === undefined) throw new BrinkError('E_NOT_FOUND', `there is no revision ${revision}`);
      return found;
    },
  );
}
