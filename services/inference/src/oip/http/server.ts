import { createHash, timingSafeEqual } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import { BrinkError, ERROR_TABLE } from '@brink/protocol';
import { type Logger, listenError, type Part } from '@brink/runtime';
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import type { Metrics } from '../../metrics.ts';
import type { OipEngine } from '../engine.ts';
import { inferResponse, parseInferRequest } from './requests.ts';

export interface OipHttpOptions {
  readonly host: string;
  readonly port: number;
  readonly token: string | undefined;
  readonly bodyBytesMax: number;
  readonly version: string;
}

interface ModelParams {
  Params: { model: string; version?: string };
}

/** The Open Inference Protocol v2 over HTTP, JSON bodies. @throws BrinkError E_PORT at start */
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

function createApp(o: OipHttpOptions, d: { engine: OipEngine; metrics: Metrics; logger: Logger }): FastifyInstance {
  const app = Fastify({
    bodyLimit: o.bodyBytesMax,
    requestTimeout: 30_000,
    connectionTimeout: 15_000,
    handlerTimeout: 20_000,
    keepAliveTimeout: 20_000,
    maxRequestsPerSocket: 1000,
    routerOptions: { maxParamLength: 200 },
  });
  app.setErrorHandler((reason, _request, reply) => refuse(reply, fromFastify(reason), d.logger));
  app.setNotFoundHandler((request, reply) =>
    refuse(reply, new BrinkError('E_NOT_FOUND', `${request.method} ${request.url.slice(0, 200)}`), d.logger),
  );
  if (o.token !== undefined) app.addHook('onRequest', bearer(o.token));
  app.addHook('onResponse', (_request, reply, done) => {
    d.metrics.http.inc({ status: String(reply.statusCode) });
    done();
  });
  addHealth(app, d.engine, o.version);
  addModels(app, d.engine);
  return app;
}

function addHealth(app: FastifyInstance, engine: OipEngine, version: string): void {
  app.get('/v2', () => ({ name: 'brink', version, extensions: [] }));
  app.get('/v2/health/live', () => ({ live: true }));
  app.get('/v2/health/ready', () => {
    const { problems } = engine.repository;
    if (problems.length > 0) throw new BrinkError('E_MODEL_NOT_READY', problems.join('; ').slice(0, 2000));
    return { ready: true };
  });
}

function addModels(app: FastifyInstance, engine: OipEngine): void {
  for (const path of ['/v2/models/:model', '/v2/models/:model/versions/:version']) {
    app.get<ModelParams>(path, ({ params }) => engine.metadata(engine.find(params.model, params.version)));
    app.get<ModelParams>(`${path}/ready`, ({ params }) => {
      engine.find(params.model, params.version).ready();
      return { ready: true };
    });
    app.post<ModelParams>(`${path}/infer`, async (request, reply) => {
      const { params } = request;
      if (request.headers['inference-header-content-length'] !== undefined) {
        throw new BrinkError('E_UNSUPPORTED', 'Inference-Header-Content-Length: this version takes JSON bodies only');
      }
      const version = engine.find(params.model, params.version);
      const asked = parseInferRequest(request.body);
      const run = await engine.infer(version, asked.tensors, goneSignal(request, reply));
      return inferResponse(run, { model: version.name, version: version.version, request: asked });
    });
  }
}

/** Aborts when the client hangs up before it was answered. */
function goneSignal(request: FastifyRequest, reply: FastifyReply): AbortSignal {
  const gone = new AbortController();
  request.raw.socket.once('close', () => {
    if (!reply.raw.writableFinished) gone.abort();
  });
  return gone.signal;
}

/** Health stays open for probes. Hashes of equal length are compared, so that time says nothing about the token. */
function bearer(token: string) {
  const digest = (text: string) => createHash('sha256').update(text).digest();
  const expected = digest(`Bearer ${token}`);
  return (request: FastifyRequest, reply: FastifyReply, done: (error?: Error) => void): void => {
    const open = request.url.startsWith('/v2/health/');
    if (open || timingSafeEqual(digest(request.headers.authorization ?? ''), expected)) {
      done();
      return;
    }
    void reply.header('www-authenticate', 'Bearer');
    done(new BrinkError('E_UNAUTHORISED', 'expected the header "Authorization: Bearer <token>"'));
  };
}

function refuse(reply: FastifyReply, error: BrinkError, logger: Logger): void {
  if (error.code === 'E_INTERNAL') logger.error({ err: error }, 'request failed');
  const { http, retryable } = ERROR_TABLE[error.code];
  if (retryable && http === 503) void reply.header('retry-after', '1');
  void reply.code(http).send({ error: error.message });
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
