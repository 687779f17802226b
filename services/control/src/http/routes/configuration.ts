import { BrinkError, ConfigProblemSchema, ConfigurationSchema, PublishedConfigurationSchema } from '@brink/protocol';
import { z } from 'zod';
import type { ConfigurationKeeper } from '../../configuration/active.ts';
import { differences } from '../../configuration/difference.ts';
import type { ConfigurationEditor } from '../../configuration/edit.ts';
import { formatProblem } from '../../configuration/problems.ts';
import type { LedgerReads } from '../../ledger/records.ts';
import type { App } from '../app.ts';
import { type ByOf, EditedSchema, IfMatchSchema, judged, optionsOf, tagged } from '../editing.ts';
import { problems } from '../openapi.ts';
import { LIMIT_DEFAULT, limit, listOf } from '../query.ts';

const RevisionName = z.string().regex(/^[0-9a-f]{12}$/, 'twelve hex digits');
const ActiveSchema = z.strictObject({
  revision: z.string(),
  activated_at: z.iso.datetime(),
  configuration: ConfigurationSchema,
  error: z
    .strictObject({ since: z.iso.datetime(), detail: z.string(), problems: z.array(ConfigProblemSchema) })
    .nullable(),
});
const FILE_CHARACTERS_MAX = 1024 * 1024;
const FILES_MAX = 100;
const text = z.string().max(FILE_CHARACTERS_MAX);
const Files = z.strictObject({
  files: z
    .array(z.strictObject({ name: z.string().min(1).max(500), text }))
    .min(1)
    .max(FILES_MAX)
    .optional()
    .describe('absent: those of the folder'),
});
const FileName = z
  .string()
  .regex(/^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}\.yaml$/, 'a file name without a folder, ending in .yaml, as rules.yaml');
const Whole = z.union([
  z.strictObject({
    files: z
      .array(z.strictObject({ name: FileName, text }))
      .min(1)
      .max(FILES_MAX)
      .refine((files) => new Set(files.map(({ name }) => name)).size === files.length, 'each file once')
      .describe('instead of all that there are'),
  }),
  z.strictObject({
    configuration: judged(ConfigurationSchema).describe('what differs is written into the files, comments kept'),
  }),
]);
const ChangeSchema = z.strictObject({
  path: z.string(),
  before: z.json().optional().describe('absent: it was not there'),
  after: z.json().optional().describe('absent: it is not there'),
});
const Verdict = z.strictObject({
  valid: z.boolean(),
  revision: z.string().optional(),
  problems: z.array(ConfigProblemSchema.extend({ text: z.string().describe('the problem in one line') })),
  changes: z.array(ChangeSchema).optional().describe('of a valid one: in what it differs from the one that is active'),
});
const RevisionItem = z.strictObject({
  revision: z.string(),
  activated_at: z.iso.datetime(),
  how: z.enum(['files', 'http', 'rollback']).describe('files: somebody wrote them, and control saw it'),
  by: z.string().nullable().describe('who asked for it, as the audit names them'),
  previous: z.string().nullable().describe('what was active before'),
});
const RolledBack = EditedSchema.extend({
  files: z.boolean().describe('the files are back as they were, comments too; else their values only'),
});
/** All that the ledger keeps. */
const REVISIONS_MAX = 500;
const BODY_BYTES_MAX = 8 * 1024 * 1024;
const tags = ['configuration'];

export interface ConfigurationRoutesDeps {
  readonly configuration: ConfigurationKeeper;
  readonly editor: ConfigurationEditor;
  readonly read: LedgerReads;
  readonly by: ByOf;
}

export function addConfiguration(app: App, d: ConfigurationRoutesDeps): void {
  addActive(app, d);
  addWhole(app, d);
  addRevisions(app, d);
  addRollback(app, d);
}

function addActive(app: App, d: ConfigurationRoutesDeps): void {
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
      tagged(reply, active.revision);
      const { revision, activatedAt, configuration } = active;
      const error = problem === undefined ? null : { ...problem, problems: [...problem.problems] };
      return { revision, activated_at: activatedAt, configuration, error };
    },
  );
  app.post(
    '/v1/config/validate',
    {
      bodyLimit: BODY_BYTES_MAX,
      schema: {
        summary: 'Say what is wrong, or what would be different, and change nothing',
        tags,
        body: Files.nullish(),
        response: { 200: Verdict, ...problems },
      },
    },
    async ({ body }) => {
      const validation = await d.configuration.validate(body?.files);
      if (!validation.ok)
        return { valid: false, problems: validation.problems.map((item) => ({ ...item, text: formatProblem(item) })) };
      const { revision, configuration } = validation.published;
      const changes = differences(d.configuration.active.configuration, configuration) as z.infer<
        typeof ChangeSchema
      >[];
      return { valid: true, revision, problems: [], changes };
    },
  );
}

function addWhole(app: App, d: ConfigurationRoutesDeps): void {
  app.put(
    '/v1/config',
    {
      bodyLimit: BODY_BYTES_MAX,
      schema: {
        summary: 'Replace the configuration: its files, or what they say. All or nothing',
        tags,
        headers: IfMatchSchema,
        body: Whole,
        response: { 200: EditedSchema, ...problems },
      },
    },
    async (request, reply) => {
      const { body } = request;
      const options = optionsOf(request, d.by);
      if ('files' in body) {
        const edited = await d.editor.putFiles(body.files, options);
        tagged(reply, edited.revision);
        return edited;
      }
      const edited = await d.editor.putAll(body.configuration, options);
      tagged(reply, edited.revision);
      return edited;
    },
  );
}

function addRevisions(app: App, d: ConfigurationRoutesDeps): void {
  app.get(
    '/v1/config/revisions',
    {
      schema: {
        summary: 'Configurations that were active, newest first: when, by whom, instead of which',
        tags,
        querystring: z.strictObject({ limit }),
        response: { 200: listOf(RevisionItem), ...problems },
      },
    },
    async ({ query }) => ({ items: await d.read.revisions(query.limit ?? LIMIT_DEFAULT) }),
  );
  const params = z.strictObject({ revision: RevisionName });
  app.get(
    '/v1/config/revisions/:revision',
    { schema: { summary: 'One of them', tags, params, response: { 200: PublishedConfigurationSchema, ...problems } } },
    ({ params: { revision } }) => revisionOf(d.read, revision),
  );
  app.get(
    '/v1/config/revisions/:revision/diff',
    {
      schema: {
        summary: 'What it changed, or in what it differs from another one',
        tags,
        params,
        querystring: z.strictObject({
          against: RevisionName.optional().describe('default: what was active before it'),
        }),
        response: {
          200: z.strictObject({
            revision: z.string(),
            against: z.string().nullable().describe('null: there was nothing before it'),
            changes: z.array(ChangeSchema),
          }),
          ...problems,
        },
      },
    },
    async ({ params: { revision }, query }) => {
      const after = await revisionOf(d.read, revision);
      const against = query.against ?? (await previousOf(d.read, revision));
      const before = against === undefined ? {} : (await revisionOf(d.read, against)).configuration;
      const changes = differences(before, after.configuration) as z.infer<typeof ChangeSchema>[];
      return { revision, against: against ?? null, changes };
    },
  );
}

function addRollback(app: App, d: ConfigurationRoutesDeps): void {
  app.post(
    '/v1/config/revisions/:revision/activate',
    {
      schema: {
        summary: 'Go back to a configuration that was active: it is checked against the models and rules of today',
        tags,
        headers: IfMatchSchema,
        params: z.strictObject({ revision: RevisionName }),
        response: { 200: RolledBack, ...problems },
      },
    },
    async (request, reply) => {
      const { revision } = request.params;
      const { configuration } = await revisionOf(d.read, revision);
      const files = await d.read.configurationFiles(revision);
      const to = { configuration, ...(files === undefined ? {} : { files }) };
      const edited = await d.editor.rollBack(to, optionsOf(request, d.by));
      tagged(reply, edited.revision);
      return { ...edited, files: files !== undefined };
    },
  );
}

/** What was active before it was activated last. */
async function previousOf(read: LedgerReads, revision: string): Promise<string | undefined> {
  const activations = await read.revisions(REVISIONS_MAX);
  return activations.find((one) => one.revision === revision)?.previous ?? undefined;
}

/** @throws BrinkError E_NOT_FOUND */
async function revisionOf(read: LedgerReads, revision: string) {
  const found = await read.configuration(revision);
  if (found === undefined) throw new BrinkError('E_NOT_FOUND', `there is no revision ${revision}`);
  return found;
}
