import { BrinkError, FleetStatusSchema, NameSchema } from '@brink/protocol';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import type { ModelsOnDisk } from '../../configuration/crosschecks.ts';
import type { ConfigurationEditor } from '../../configuration/edit.ts';
import type { ModelUploads } from '../../models/uploads.ts';
import { type App, IDLE_MS_MAX } from '../app.ts';
import { type ByOf, IfMatchSchema, optionsOf, tagged } from '../editing.ts';
import { problems } from '../openapi.ts';
import { listOf, whole } from '../query.ts';
import type { CatalogueDeps } from './catalogue.ts';

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
const Running = FleetStatusSchema.shape.models.unwrap().element.omit({ name: true, version: true });
const VersionItem = z.strictObject({
  version: z.number().int(),
  passport: z.boolean().describe('pipelines can name it; else only the Open Inference Protocol reaches it'),
  running: z.array(Running.extend({ instance: NameSchema })).describe('what inference says of it'),
});
const Added = z.strictObject({
  name: NameSchema,
  version: z.number().int(),
  bytes: z.number().int(),
  passport: z.boolean(),
  state: z
    .enum(['ready', 'loading', 'not-loaded', 'unknown'])
    .describe(
      'ready: its golden test was right; not-loaded: models.<name>.versions has others; unknown: no inference is online',
    ),
});
const WAIT_MS_DEFAULT = 15_000;
const WAIT_MS_MAX = 60_000;
/** Unpacking, checking and loading come on top of the waiting. */
const HANDLER_MS_MAX = 180_000;
const TAR = 'application/x-tar';
/** Read as a stream; here for the document. */
const Tar = z.any().meta({ type: 'string', format: 'binary', minLength: 1 });
const params = z.strictObject({ name: NameSchema });
const tags = ['models'];

export interface ModelRoutesDeps extends Pick<CatalogueDeps, 'services'> {
  readonly models: () => Promise<ModelsOnDisk>;
  readonly editor: ConfigurationEditor;
  readonly uploads: ModelUploads;
  readonly by: ByOf;
}

/** Versions of models: which there are, which one serves, and new ones. */
export function addModels(app: App, d: ModelRoutesDeps): void {
  addServe(app, d);
  addVersions(app, d);
  addUpload(app, d);
}

function addServe(app: App, d: ModelRoutesDeps): void {
  app.patch(
    '/v1/models/:name',
    {
      schema: {
        summary: 'Choose the version that serves: written into the configuration, comments kept, all or nothing',
        tags,
        headers: IfMatchSchema,
        params,
        body: Changes,
        response: { 200: Changed, ...problems },
      },
    },
    async (request, reply) => {
      const { name } = request.params;
      const { serve } = request.body;
      await versionsOf(d, name);
      const { revision } = await d.editor.setServe(name, serve, optionsOf(request, d.by));
      tagged(reply, revision);
      return { name, serve, revision };
    },
  );
}

function addVersions(app: App, d: ModelRoutesDeps): void {
  app.get(
    '/v1/models/:name/versions',
    {
      schema: {
        summary: 'Its versions in the models folder',
        tags,
        params,
        response: { 200: listOf(VersionItem), ...problems },
      },
    },
    async ({ params: { name } }) => {
      const { all, passports } = await versionsOf(d, name);
      const running = d
        .services()
        .filter(({ service }) => service === 'inference')
        .flatMap(({ instance, models = [] }) => models.map((model) => ({ ...model, instance })))
        .filter((model) => model.name === name);
      const said = (version: number) =>
        running.filter((one) => one.version === version).map(({ name: _, version: __, ...rest }) => rest);
      return {
        items: all.map((version) => ({ version, passport: passports.includes(version), running: said(version) })),
      };
    },
  );
}

function addUpload(app: App, d: ModelRoutesDeps): void {
  void app.register((child, _, done) => {
    const scope = child as unknown as App;
    scope.removeAllContentTypeParsers();
    // Not read here: it may be larger than memory.
    scope.addContentTypeParser(TAR, (_request, _payload, parsed) => parsed(null));
    scope.post(
      '/v1/models/:name/versions',
      {
        handlerTimeout: HANDLER_MS_MAX,
        config: { streams: true },
        schema: {
          summary:
            'Add a version: a plain tar of its folder. Checked, loaded beside what serves, tested; what fails is not kept',
          tags,
          consumes: [TAR],
          params,
          body: Tar,
          querystring: z.strictObject({
            version: whole(1, 999_999_999).optional().describe("default: the passport's, or the next one"),
            wait_ms: whole(0, WAIT_MS_MAX)
              .optional()
              .describe(`for inference to load and test it; default ${WAIT_MS_DEFAULT}`),
          }),
          response: {
            201: Added,
            202: Added.describe('it is in the folder, and inference has not said yet'),
            ...problems,
          },
        },
      },
      (request, reply) => upload(request, reply, request.params.name, request.query),
    );
    done();
  });

  async function upload(
    request: FastifyRequest,
    reply: FastifyReply,
    name: string,
    query: { version?: number | undefined; wait_ms?: number | undefined },
  ) {
    const { socket } = request.raw;
    // While a model is loaded nothing is read or written here; that is no idle client.
    socket.setTimeout(HANDLER_MS_MAX);
    // Not request.signal: that one is over as soon as the body is read.
    const gone = new AbortController();
    reply.raw.once('close', () => {
      gone.abort();
      socket.setTimeout(IDLE_MS_MAX);
    });
    try {
      const added = await d.uploads.take({
        ...{ name, version: query.version, waitMs: query.wait_ms ?? WAIT_MS_DEFAULT },
        // A refusal goes out on the same connection: it must not end with what is not read of the body.
        ...{ bytes: request.raw.iterator({ destroyOnReturn: false }), signal: gone.signal },
      });
      const { version, bytes, passport, state } = added;
      const known = state === 'ready' || state === 'not-loaded';
      reply.header('location', `/v1/models/${name}/versions`);
      return reply.code(known ? 201 : 202).send({ name: added.name, version, bytes, passport, state });
    } catch (reason) {
      // What is left of the body nobody wants to read.
      if (!request.raw.complete) reply.header('connection', 'close');
      throw reason;
    }
  }
}

/** @throws BrinkError E_NOT_FOUND */
async function versionsOf(d: Pick<ModelRoutesDeps, 'models'>, name: string) {
  const { all, versions } = await d.models();
  const found = all.get(name);
  if (found === undefined) throw new BrinkError('E_NOT_FOUND', `there is no model "${name}"`);
  return { all: found, passports: versions.get(name) ?? [] };
}
