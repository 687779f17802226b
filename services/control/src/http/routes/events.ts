import { NameSchema } from '@brink/protocol';
import { z } from 'zod';
import { type App, problems } from '../app.ts';
import type { Events } from '../events.ts';
import type { Guard } from '../guard.ts';
import { score, whole } from '../query.ts';

const number = whole(0, Number.MAX_SAFE_INTEGER);
const Query = z.strictObject({
  device: NameSchema.optional(),
  stream: NameSchema.optional(),
  pipeline: NameSchema.optional(),
  label: z.string().min(1).max(200).optional(),
  score_min: score.optional(),
  outcome: z.enum(['decided', 'expired', 'dead']).optional(),
  after: number.optional().describe('as Last-Event-ID, for clients that cannot send headers'),
});
const Headers = z.looseObject({ 'last-event-id': number.optional() });

export function addEvents(app: App, d: { events: Events; guard: Pick<Guard, 'keyOf'> }): void {
  app.get(
    '/v1/events',
    {
      schema: {
        summary: 'Decisions and actions as they happen (server-sent events)',
        description:
          'Events: `decision` (its id is the running number n), `action` (that of the device, where one is asked for; no other ' +
          'filter is of actions), `lagged` {missed, last}: this client did not read and lost events; those after `last` are in ' +
          '/v1/decisions?after=. With Last-Event-ID, decisions since then come first.',
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
      const caller = d.guard.keyOf(request);
      try {
        d.events.admit(caller);
      } catch (error) {
        // Whoever asks in vain must not keep a connection: there are more who ask than connections.
        reply.header('connection', 'close');
        throw error;
      }
      const { after, ...filter } = request.query;
      reply.hijack();
      const headers = reply.getHeaders() as Record<string, string>;
      reply.raw.writeHead(200, { ...headers, 'content-type': 'text/event-stream; charset=utf-8' });
      d.events.add(reply.raw, caller, filter, request.headers['last-event-id'] ?? after);
    },
  );
}
