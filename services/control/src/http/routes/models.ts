import { BrinkError, NameSchema } from '@brink/protocol';
import { z } from 'zod';
import type { ModelsOnDisk } from '../../configuration/crosschecks.ts';
import type { ConfigurationEditor } from '../../configuration/edit.ts';
import { type App, problems } from '../app.ts';

const Changes = z.strictObject({
  serve: z
    .number()
    .int()
    .positive()
    .nullable()
    .describe('the version that the bare name means; null: the highest there is'),
});
const Changed = z.strictObject({
  name: NameSchema,
  serve: z.number().int().nullable(),
  revision: z.string().describe('of the configuration that is active now'),
});

/** What of a model's policy can be changed from outside. */
export function addModels(app: App, d: { models: () => Promise<ModelsOnDisk>; editor: ConfigurationEditor }): void {
  app.patch(
    '/v1/models/:name',
    {
      schema: {
        summary: 'Choose the version that serves: written into the configuration, comments kept, all or nothing',
        tags: ['models'],
        params: z.strictObject({ name: NameSchema }),
        body: Changes,
        response: { 200: Changed, ...problems },
      },
    },
    async ({ params: { name }, body: { serve } }) => {
      const { all } = await d.models();
      if (!all.has(name)) throw new BrinkError('E_NOT_FOUND', `there is no model "${name}"`);
      const { revision } = await d.editor.setServe(name, serve);
      return { name, serve, revision };
    },
  );
}
