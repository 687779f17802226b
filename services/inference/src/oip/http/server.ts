import type { AddressInfo, Socket } from 'node:net';
import type { Readable } from 'node:stream';
import { BrinkError } from '@brink/protocol';
import { type Logger, listenError, type Part } from '@brink/runtime';
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import type { Metrics } from '../../metrics.ts';
import type { OipEngine } from '../engine.ts';
import { createTokenCheck, oipStatus, retryAfterSeconds, unauthorised } from '../errors.ts';
import { createBodyReader, type HeldBody } from './body.ts';
import { addRoutes } from './routes.ts';

export interface OipHttpOptions {
  readonly host: string;
  readonly port: number;
  readonly token: string | undefined;
  readonly bodyBytesMax: number;
  readonly version: string;
  /** clients at once; further connections are closed. Default 4096 */
  readonly connectionsMax?: number;
  /** for a whole request to arrive. Default 30,000 */
  readonly requestMsMax?: number;
}

const CONNECTIONS_MAX = 4096;
const REQUEST_MS_MAX = 30_000;
/** Of the bodies of all clients together: each may be as long as bodyBytesMax, but not all at once. */
const HELD_BYTES_MAX = 256 * 1024 * 1024;

/** The Open Inference Protocol v2 over HTTP, with Triton's extensions. @throws BrinkError E_PORT at start */
export function createOipHttp(
  o: OipHttpOptions,
  d: { engine: OipEngine; metrics: Metrics; logger: Logger },
): Part & { readonly address: { host: string; port: number } } {
  let app: FastifyInstance | undefined;
  let port = o.port;
  return {
    get address() {
      return { host: o.host, port };
    },
    async start() {
      app = createApp(o, d);
      await app.listen({ host: o.host, port: o.port }).catch((reason: NodeJS.ErrnoException) => {
        throw listenError(reason, `${o.host}:${o.port}`);
      });
      port = (app.server.address() as AddressInfo).port;
    },
    async stop() {
      app?.server.closeAllConnections();
      await app?.close();
    },
  };
}

type Dependencies = { engine: OipEngine; metrics: Metrics; logger: Logger };

function createApp(o: OipHttpOptions, d: Dependencies): FastifyInstance {
  const requestMsMax = o.requestMsMax ?? REQUEST_MS_MAX;
  const app = Fastify({
    bodyLimit: o.bodyBytesMax,
    requestTimeout: requestMsMax,
    keepAliveTimeout: 20_000,
    maxRequestsPerSocket: 10_000,
    routerOptions: { maxParamLength: 200 },
    http: {
      headersTimeout: Math.min(10_000, requestMsMax),
      // Node looks every 30 s otherwise, and half a request would be held for as long.
      connectionsCheckingInterval: Math.min(2000, requestMsMax / 2),
    },
    clientErrorHandler: answerClientError,
  });
  app.server.maxConnections = o.connectionsMax ?? CONNECTIONS_MAX;
  app.setErrorHandler((reason, _request, reply) => refuse(reply, fromFastify(reason), d.logger));
  app.setNotFoundHandler((request, reply) =>
    refuse(reply, new BrinkError('E_NOT_FOUND', `${request.method} ${request.url.slice(0, 200)}`), d.logger),
  );
  addGuard(app, o.token);
  addBodies(app, o, d.metrics);
  app.addHook('onResponse', (_request, reply, done) => {
    d.metrics.http.inc({ status: String(reply.statusCode) });
    done();
  });
  const methods = collectMethods(app);
  addRoutes(app, o, d);
  refuseOtherMethods(app, methods);
  return app;
}

/**
 * The token, but for health, which stays open for probes. And no page of another site: a browser would let it post to a service on
 * loopback that asks for no token.
 */
function addGuard(app: FastifyInstance, token: string | undefined): void {
  const isRight = createTokenCheck(token);
  app.addHook('onRequest', (request, reply, done) => {
    const site = request.headers['sec-fetch-site'];
    if (site === 'cross-site' || site === 'same-site') {
      done(new BrinkError('E_FORBIDDEN', 'the request comes from a page of another site'));
    } else if (request.url.startsWith('/v2/health/') || isRight(request.headers.authorization)) done();
    else {
      void reply.header('www-authenticate', 'Bearer');
      done(unauthorised());
    }
  });
}

/** Triton takes any type; its clients name none, curl and fetch their own. What is certainly something else is refused. */
const TYPES = new Set([
  '',
  'application/json',
  'application/octet-stream',
  'application/x-www-form-urlencoded',
  'text/plain',
]);

function addBodies(app: FastifyInstance, o: OipHttpOptions, metrics: Metrics): void {
  const { bodyBytesMax } = o;
  const reader = createBodyReader(
    { bodyBytesMax, heldBytesMax: Math.max(HELD_BYTES_MAX, 2 * bodyBytesMax) },
    { changed: (heldBytes) => metrics.heldBytes.set(heldBytes) },
  );
  const held = new WeakMap<FastifyRequest, HeldBody>();
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', async (request: FastifyRequest, stream: Readable) => {
    const type = (request.headers['content-type'] ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? '';
    if (!TYPES.has(type) && !type.startsWith('image/')) {
      throw new BrinkError(
        'E_MEDIA_TYPE',
        `Content-Type is "${type.slice(0, 80)}"; expected application/json or application/octet-stream`,
      );
    }
    const body = await reader.read(stream, request.headers);
    held.set(request, body);
    return body.bytes;
  });
  app.addHook('onResponse', (request, _reply, done) => {
    held.get(request)?.release();
    done();
  });
}

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'];

/** Which methods each address takes. */
function collectMethods(app: FastifyInstance): Map<string, Set<string>> {
  const methods = new Map<string, Set<string>>();
  app.addHook('onRoute', ({ url, method }) => {
    const known = methods.get(url) ?? new Set();
    for (const one of [method].flat()) known.add(one);
    methods.set(url, known);
  });
  return methods;
}

/** 405 with `Allow` instead of 404, for every address that there is. */
function refuseOtherMethods(app: FastifyInstance, methods: Map<string, Set<string>>): void {
  for (const [url, known] of [...methods]) {
    const others = METHODS.filter((method) => !known.has(method));
    const allow = [...known].sort().join(', ');
    app.route({
      method: others,
      url,
      // Before the body is looked at: what it is does not matter here.
      onRequest: (request, reply, done) => {
        void reply.header('allow', allow);
        done(new BrinkError('E_METHOD', `${request.method} on ${url}; expected ${allow}`));
      },
      handler: () => {},
    });
  }
}

function refuse(reply: FastifyReply, error: BrinkError, logger: Logger): void {
  if (error.code === 'E_INTERNAL') logger.error({ err: error }, 'request failed');
  const status = oipStatus(error);
  if (status === 503) void reply.header('retry-after', retryAfterSeconds(error));
  void reply
    .code(status)
    .type('application/json')
    .send(JSON.stringify({ error: error.message }));
}

/** What is no HTTP, or does not come in time: there is no request to answer, only a socket. */
function answerClientError(error: NodeJS.ErrnoException, socket: Socket): void {
  if (!socket.writable || error.code === 'ECONNRESET') {
    socket.destroy();
    return;
  }
  const late = error.code === 'ERR_HTTP_REQUEST_TIMEOUT';
  const [status, said] = late
    ? ['408 Request Timeout', new BrinkError('E_TIMEOUT', 'the request did not arrive in time')]
    : ['400 Bad Request', new BrinkError('E_BAD_REQUEST', `no HTTP: ${error.message.slice(0, 200)}`)];
  const body = JSON.stringify({ error: said.message });
  const head = `HTTP/1.1 ${status}\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: ${Buffer.byteLength(body)}`;
  socket.end(`${head}\r\n\r\n${body}`);
}

const FASTIFY_CODES: Readonly<Record<string, 'E_TOO_LARGE' | 'E_MEDIA_TYPE' | 'E_TIMEOUT' | 'E_NOT_FOUND'>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: 'E_TOO_LARGE',
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'E_MEDIA_TYPE',
  FST_ERR_HANDLER_TIMEOUT: 'E_TIMEOUT',
  FST_ERR_MAX_PARAM_LENGTH: 'E_NOT_FOUND',
};

/** What Fastify refuses before a handler sees it, in the words of the error table. */
function fromFastify(reason: unknown): BrinkError {
  if (reason instanceof BrinkError) return reason;
  const { code = '', statusCode = 500 } = reason as { code?: string; statusCode?: number };
  const known = FASTIFY_CODES[code];
  if (known !== undefined) return BrinkError.from(reason, known);
  return BrinkError.from(reason, statusCode >= 400 && statusCode < 500 ? 'E_BAD_REQUEST' : 'E_INTERNAL');
}
