import type { IncomingHttpHeaders } from 'node:http';
import { BrinkError } from '@brink/protocol';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { errors, Pool } from 'undici';
import { type App, IDLE_MS_MAX } from '../app.ts';

/** A run has run_ms_max of its own at inference; this is for one that does not answer at all. */
const ANSWER_MS_MAX = 60_000;
const CONNECTIONS_MAX = 64;

// https://www.rfc-editor.org/rfc/rfc9110#section-7.6.1, and what is ours alone: the token is for control.
const NOT_PASSED_ON = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'host',
  'authorization',
  'cookie',
  'expect',
]);

/** `/v2/…`: the Open Inference Protocol, passed on to inference as it is, both ways as a stream. */
export function addInference(app: App, o: { readonly url: string; readonly token: string | undefined }): void {
  const pool = new Pool(new URL(o.url).origin, {
    connections: CONNECTIONS_MAX,
    headersTimeout: ANSWER_MS_MAX,
    bodyTimeout: ANSWER_MS_MAX,
    connect: { timeout: 2000 },
  });
  const token = o.token === undefined ? {} : { authorization: `Bearer ${o.token}` };

  async function passOn(request: FastifyRequest, reply: FastifyReply) {
    // While a model runs nothing is read or written here; that is no idle client.
    const { socket } = request.raw;
    socket.setTimeout(ANSWER_MS_MAX + 5000);
    reply.raw.once('close', () => socket.setTimeout(IDLE_MS_MAX));
    const hasBody = request.method !== 'GET' && request.method !== 'HEAD';
    const answer = await pool
      .request({
        method: request.method as 'GET',
        path: request.url,
        headers: { ...passedOn(request.headers), ...token },
        body: hasBody ? request.raw : null,
      })
      .catch((cause: unknown) => {
        const slow = cause instanceof errors.HeadersTimeoutError;
        const detail = slow ? `inference did not answer within ${ANSWER_MS_MAX} ms` : 'inference is not reachable';
        throw new BrinkError(slow ? 'E_TIMEOUT' : 'E_UNAVAILABLE', detail, { cause });
      });
    reply.code(answer.statusCode).headers(passedOn(answer.headers as IncomingHttpHeaders));
    return reply.send(answer.body);
  }

  void app.register((scope, _, done) => {
    scope.removeAllContentTypeParsers();
    // Not read here: the bytes go through.
    scope.addContentTypeParser('*', (_request, _payload, parsed) => parsed(null));
    const options = {
      schema: { hide: true },
      config: { streams: true } as const,
      handlerTimeout: ANSWER_MS_MAX + 5000,
    };
    scope.route({ method: ['GET', 'POST'], url: '/v2', ...options, handler: passOn });
    scope.route({ method: ['GET', 'POST'], url: '/v2/*', ...options, handler: passOn });
    // A route of its own, for it has a scope of its own.
    scope.route({ method: 'POST', url: '/v2/repository/models/*', ...options, handler: passOn });
    done();
  });
  app.addHook('onClose', () => pool.destroy());
}

function passedOn(headers: IncomingHttpHeaders): Record<string, string | string[]> {
  const kept: Record<string, string | string[]> = {};
  for (const [name, value] of Object.entries(headers))
    if (value !== undefined && !NOT_PASSED_ON.has(name)) kept[name] = value;
  return kept;
}
