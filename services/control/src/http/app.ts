import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { BrinkError } from '@brink/protocol';
import type { Clock, Logger } from '@brink/runtime';
import rateLimit from '@fastify/rate-limit';
import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import fastify, {
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  type RawServerDefault,
} from 'fastify';
import { validatorCompiler, type ZodTypeProvider } from 'fastify-type-provider-zod';
import type { Metrics } from '../metrics.ts';
import { type Addresses, createAddresses } from './addresses.ts';
import type { Audit } from './audit.ts';
import { createBodies } from './bodies.ts';
import { checkDepth } from './editing.ts';
import { type Guard, secureHeaders } from './guard.ts';
import { openApiObject, openApiRoute } from './openapi.ts';
import { answerClientError, PROBLEM_TYPE, toProblem } from './problems.ts';

export type App = FastifyInstance<
  RawServerDefault,
  IncomingMessage,
  ServerResponse,
  FastifyBaseLogger,
  ZodTypeProvider
>;

export { problems } from './openapi.ts';

/** What monitoring asks for, and where it is as delivered. */
const OPERATIONS = new Set(['/metrics', '/readyz', '/livez']);
const OPERATIONS_PORTS = 'gateway 9101, inference 9102, control 9103';
const CONNECTIONS_MAX = 1000;
/** A request, with its body, must have arrived by then. */
const REQUEST_MS_MAX = 30_000;
/** What goes through or to the disk (a model) may be large, and may take so many times as long. */
const STREAMED_TIMES = 6;
/** Nothing read and nothing written. */
export const IDLE_MS_MAX = 15_000;
/** Action ids: a decision's id of up to five names, a rule's and a timer's. */
const PARAM_CHARACTERS_MAX = 1000;

/** fastify with everything that it leaves off by default: limits, strictness, problem documents, headers. */
export async function createApp(
  o: {
    readonly version: string;
    readonly rateMax: number;
    readonly requestMsMax?: number | undefined;
    readonly heldBytesMax?: number | undefined;
  },
  d: {
    readonly logger: Logger;
    readonly metrics: Metrics;
    readonly guard: Guard;
    readonly audit: Audit;
    readonly clock: Clock;
  },
  addRoutes: (app: App) => void,
): Promise<App> {
  const requestMsMax = o.requestMsMax ?? REQUEST_MS_MAX;
  const app = fastify({
    logger: false,
    genReqId: () => randomUUID(),
    requestTimeout: STREAMED_TIMES * requestMsMax,
    connectionTimeout: IDLE_MS_MAX,
    handlerTimeout: 20_000,
    keepAliveTimeout: 20_000,
    maxRequestsPerSocket: 1000,
    bodyLimit: 1024 * 1024,
    forceCloseConnections: 'idle',
    return503OnClosing: false,
    exposeHeadRoutes: true,
    routerOptions: { maxParamLength: PARAM_CHARACTERS_MAX },
    http: {
      headersTimeout: Math.min(10_000, requestMsMax),
      connectionsCheckingInterval: Math.min(5000, requestMsMax / 2),
    },
    clientErrorHandler: (error, socket) => answerClientError(error, socket, randomUUID()),
    frameworkErrors: (error, request, reply) => {
      const problem = toProblem(error, request.id, request);
      secureHeaders(request, reply);
      // Before there is a route: no hooks have run, and the types know of no answer.
      const raw = reply as unknown as FastifyReply;
      void raw.code(problem.status).type(PROBLEM_TYPE).send(JSON.stringify(problem));
    },
  }).withTypeProvider<ZodTypeProvider>();
  app.server.maxConnections = CONNECTIONS_MAX;
  app.setValidatorCompiler(validatorCompiler);
  // Answers are made of values that were checked where they came in; the schemas of answers are for the documents and tests.
  app.setSerializerCompiler(() => (data) => JSON.stringify(data));
  app.removeContentTypeParser('text/plain');
  addErrors(app, d);
  await app.register(rateLimit, {
    max: o.rateMax,
    timeWindow: 60_000,
    keyGenerator: (request) => d.guard.keyOf(request),
    errorResponseBuilder: (_, { max }) =>
      new BrinkError('E_RATE', `more than ${max} requests a minute; try again later`),
  });
  const addresses = createAddresses();
  app.addHook('onRoute', ({ url, method }) => addresses.add(url, [method].flat()));
  addHooks(app, { ...d, addresses });
  const bodies = createBodies({ ...o, arrivalMsMax: requestMsMax }, d);
  app.addHook('preParsing', (request, reply, payload, done) => done(null, bodies.counted(request, reply, payload)));
  app.addHook('preValidation', (request, _, done) => {
    checkDepth(request.body);
    done();
  });
  await addDocuments(app, o.version);
  await app.register((scope, _, done) => {
    addRoutes(scope.withTypeProvider<ZodTypeProvider>());
    done();
  });
  return app;
}

function addErrors(app: App, d: { logger: Logger }): void {
  const isV2 = (request: FastifyRequest) => request.url === '/v2' || request.url.startsWith('/v2/');
  app.setErrorHandler((reason, request, reply) => {
    const problem = toProblem(reason, request.id, request);
    if (problem.code === 'E_INTERNAL')
      d.logger.error({ err: reason, request: request.id, url: request.url }, 'request failed');
    if (problem.status === 503 && !reply.hasHeader('retry-after')) reply.header('retry-after', '1');
    reply.code(problem.status);
    // The Open Inference Protocol's form of an error.
    if (isV2(request))
      return reply.type('application/json').send(JSON.stringify({ error: `${problem.code}: ${problem.detail}` }));
    return reply.type(PROBLEM_TYPE).send(JSON.stringify(problem));
  });
}

/** Nothing is routed there: which of two things is wrong, and what to do. */
function notRouted(request: FastifyRequest, reply: FastifyReply, addresses: Addresses): BrinkError {
  const path = request.url.split('?', 1)[0] ?? '';
  if (OPERATIONS.has(path))
    return new BrinkError('E_NOT_FOUND', `${path} is on the operations port: ${OPERATIONS_PORTS}`);
  const shown = `${request.method} ${request.url.slice(0, 200)}`;
  const methods = addresses.methodsOf(path);
  if (methods.length === 0 || methods.includes(request.method))
    return new BrinkError('E_NOT_FOUND', `${shown}; see /docs for what there is`);
  const allow = methods.join(', ');
  reply.header('allow', allow);
  return new BrinkError('E_METHOD', `${shown}; expected ${allow}`);
}

function addHooks(
  app: App,
  d: { metrics: Metrics; guard: Guard; audit: Audit; clock: Clock; addresses: Addresses },
): void {
  const started = new WeakMap<FastifyRequest, number>();
  app.addHook('onRequest', (request, reply, done) => {
    started.set(request, d.clock.monotonic());
    secureHeaders(request, reply);
    done();
  });
  // Before the guard, so that who presents wrong tokens is slowed down too.
  app.addHook('onRequest', app.rateLimit());
  app.addHook('onRequest', (request, reply, done) => {
    d.guard.check(request, reply);
    // Before the body is looked at: what it is does not matter there.
    done(request.is404 ? notRouted(request, reply, d.addresses) : undefined);
  });
  app.addHook('onSend', async (request, reply, payload) => {
    await d.audit.record(request, reply, d.guard.known(request), payload);
    return payload;
  });
  app.addHook('onResponse', (request, reply, done) => {
    const route = request.routeOptions.url ?? 'none';
    d.metrics.requests.labels(route, request.method, String(reply.statusCode)).inc();
    const since = started.get(request);
    if (since !== undefined) d.metrics.requestSeconds.labels(route).observe((d.clock.monotonic() - since) / 1000);
    done();
  });
}

async function addDocuments(app: App, version: string): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Brink',
        version,
        description: 'Decisions at the edge. Errors are problem documents; their codes are at /docs/errors.',
      },
      components: { securitySchemes: { token: { type: 'http', scheme: 'bearer' } } },
      security: [{}, { token: [] }],
    },
    transform: openApiRoute,
    transformObject: openApiObject,
  });
  await app.register(swaggerUi, {
    routePrefix: '/docs',
    uiConfig: { deepLinking: true, tryItOutEnabled: true },
    // The bar on top would show somebody else's logo and a field for other people's documents.
    theme: { title: 'Brink', css: [{ filename: 'brink.css', content: '.swagger-ui .topbar { display: none; }' }] },
  });
}
