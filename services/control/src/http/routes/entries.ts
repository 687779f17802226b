import { ConfigurationSchema, NameSchema, SiteSchema } from '@brink/protocol';
import { z } from 'zod';
import type { Section } from '../../configuration/documents.ts';
import type { ConfigurationEditor } from '../../configuration/edit.ts';
import type { App } from '../app.ts';
import { type ByOf, EditedNameSchema, EditedSchema, IfMatchSchema, judged, optionsOf, tagged } from '../editing.ts';
import { problems } from '../openapi.ts';

const ENTRY_BYTES_MAX = 256 * 1024;
const { shape } = ConfigurationSchema;
const KINDS: readonly { section: Section; one: string; schema: z.ZodType }[] = [
  { section: 'streams', one: 'stream', schema: shape.streams.unwrap().valueType },
  { section: 'rules', one: 'rule', schema: shape.rules.unwrap().valueType },
  { section: 'models', one: "model's serving policy", schema: shape.models.unwrap().valueType },
  { section: 'targets', one: 'target', schema: shape.targets.unwrap().valueType },
];

export interface EntryDeps {
  readonly editor: ConfigurationEditor;
  readonly by: ByOf;
}

/** What the configuration names, one by one: written into its files, comments kept, all or nothing. */
export function addEntries(app: App, d: EntryDeps): void {
  for (const kind of KINDS) addEntry(app, kind, d);
  const tags = ['configuration'];
  app.put(
    '/v1/site',
    {
      bodyLimit: ENTRY_BYTES_MAX,
      schema: {
        summary: 'Change what is said of the site',
        tags,
        headers: IfMatchSchema,
        body: judged(SiteSchema),
        response: { 200: EditedSchema, ...problems },
      },
    },
    async (request, reply) => {
      const edited = await d.editor.putSite(request.body, optionsOf(request, d.by));
      tagged(reply, edited.revision);
      return edited;
    },
  );
}

function addEntry(app: App, { section, one, schema }: (typeof KINDS)[number], d: EntryDeps): void {
  const common = { tags: [section], headers: IfMatchSchema, params: z.strictObject({ name: NameSchema }) };
  app.put(
    `/v1/${section}/:name`,
    {
      bodyLimit: ENTRY_BYTES_MAX,
      schema: {
        ...common,
        summary: `Add or replace a ${one}; what is left out has its default`,
        body: judged(schema),
        response: { 200: EditedNameSchema, 201: EditedNameSchema.describe('it is new'), ...problems },
      },
    },
    async (request, reply) => {
      const { name } = request.params;
      const { created, ...edited } = await d.editor.put(section, name, request.body, optionsOf(request, d.by));
      tagged(reply, edited.revision);
      return reply.code(created ? 201 : 200).send({ name, ...edited });
    },
  );
  app.delete(
    `/v1/${section}/:name`,
    {
      schema: {
        ...common,
        summary: `Take a ${one} out of the configuration`,
        response: { 200: EditedNameSchema, ...problems },
      },
    },
    async (request, reply) => {
      const { name } = request.params;
      const edited = await d.editor.remove(section, name, optionsOf(request, d.by));
      tagged(reply, edited.revision);
      return { name, ...edited };
    },
  );
}
