import { NameSchema, RecordingIdSchema, RecordingSchema, RecordingSummarySchema } from '@brink/protocol';
import { z } from 'zod';
import type { Recordings } from '../../recordings/recordings.ts';
import { type App, problems } from '../app.ts';
import { LIMIT_DEFAULT, limit, pageOf, time, whole } from '../query.ts';

const Query = z.strictObject({
  device: NameSchema.optional(),
  stream: NameSchema.optional(),
  since: time.optional().describe('what led to it was received at or after'),
  until: time.optional().describe('received before'),
  before: whole(1, Number.MAX_SAFE_INTEGER).optional().describe('`next` of the page before'),
  limit,
});
const Id = RecordingIdSchema.meta({ examples: ['0123456789abcdef01234567'] });

/** What `record` actions kept. */
export function addRecordings(app: App, { recordings }: { recordings: Recordings }): void {
  const tags = ['recordings'];
  app.get(
    '/v1/recordings',
    {
      schema: {
        summary: 'Recordings, newest first',
        tags,
        querystring: Query,
        response: { 200: pageOf(RecordingSummarySchema), ...problems },
      },
    },
    ({ query: { since, until, limit: wanted, ...query } }) =>
      recordings.list({ ...query, since_ms: since, until_ms: until, limit: wanted ?? LIMIT_DEFAULT }),
  );
  app.get(
    '/v1/recordings/:id',
    {
      schema: {
        summary: 'Its manifest: which frames it holds',
        tags,
        params: z.strictObject({ id: Id }),
        response: { 200: RecordingSchema, ...problems },
      },
    },
    ({ params: { id } }) => recordings.read(id),
  );
  app.get(
    '/v1/recordings/:id/frames/:i',
    {
      schema: {
        summary: 'One of its files, as it lies there: a picture, the sound of a stretch, a message',
        tags,
        params: z.strictObject({ id: Id, i: whole(0, 1_000_000).describe('its place in the manifest, from 0') }),
        response: {
          200: {
            description: 'the bytes, in the type that the manifest says',
            content: { 'application/octet-stream': { schema: z.any() } },
          },
          ...problems,
        },
      },
    },
    async ({ params: { id, i } }, reply) => {
      const { frame, stream } = await recordings.frame(id, i);
      // Named by its content: what is under this address never changes, but the place in a recording that is being made may.
      return reply
        .header('content-length', frame.bytes)
        .header('etag', `"${frame.sha256}"`)
        .header('cache-control', 'private, max-age=60')
        .type(frame.type)
        .send(stream);
    },
  );
}
