import { NameSchema } from '@brink/protocol';
import { z } from 'zod';
import { type App, problems } from '../app.ts';
import type { Events } from '../events.ts';
import { whole } from '../query.ts';

const number = whole(0, Number.MAX_SAFE_INTEGER);
const Query = z.strictObject({
  device: NameSchema.optional(),
  stream: NameSchema.optional(),
  pipeline: NameSchema.optional(),
  after: number.optional().describe('as Last-Event-ID, for clients that cannot send headers'),
});
const Headers = z.looseObject({ 'last-event-id': number.optional() });

export function addEvents(app: App, d: { events: Events }): void {
  app.get(
    '/v1/events',
    {
      schema: {
        summary: 'Decisions and actions as they happen (server-sent events)',
        description: 'Events: `decision` (its id is the running number n), `action`, `lagged` {missed, last}.',
        tags: ['events'],
        querystring: Query,
        headers: Headers,
        response: {
          200: { description: 'text/event-stream', content: { 'text/event-stream': { schema: z.string() } } },
          ...problems,
        },
      },
      exposeHeadRoute: false,
    },
    (request, reply) => {
      d.events.admit();
      const { after, ...filter } = request.query;
      reply.hijack();
      const headers = reply.getHeaders() as Record<string, string>;
      reply.raw.writeHead(200, { ...headers, 'content-type': 'text/event-stream; charset=utf-8' });
      d.events.add(reply.raw, filter, request.headers['last-event-id'] ?? after);
    },
  );
}
