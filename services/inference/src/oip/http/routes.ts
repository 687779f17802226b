import { BrinkError } from '@brink/protocol';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { modelConfig } from '../configuration.ts';
import type { OipEngine } from '../engine.ts';
import { rawTensor } from '../inputs.ts';
import { EXTENSIONS, modelMetadata } from '../metadata.ts';
import { checkLoadParameters } from '../parameters.ts';
import { isRawPicture } from '../pictures.ts';
import { statistics } from '../statistics.ts';
import { inferAnswer } from './answers.ts';
import { splitBody } from './body.ts';
import { notValid, rawRequest, readInferRequest } from './requests.ts';

interface ModelParams {
  Params: { model: string; version?: string };
}

/** Bodies come as bytes. @param parse JSON that is not to be trusted @throws BrinkError E_BAD_REQUEST */
type ParseJson = (json: Buffer) => unknown;

const HEADER_LENGTH = 'inference-header-content-length';
/** Loading takes as long as the model needs to be tried and measured. */
const LOAD_MS_MAX = 120_000;

/** Every address of the protocol and of Triton's extensions to it. */
export function addRoutes(app: FastifyInstance, o: { version: string }, d: { engine: OipEngine; parse: ParseJson }) {
  const { engine } = d;
  app.get('/v2', () => ({ name: 'brink', version: o.version, extensions: EXTENSIONS }));
  app.get('/v2/health/live', () => ({ live: true }));
  app.get('/v2/health/ready', () => {
    const { problems } = engine.repository;
    if (problems.length > 0) throw new BrinkError('E_MODEL_NOT_READY', problems.join('; ').slice(0, 2000));
    return { ready: true };
  });
  app.get('/v2/models/stats', () => statistics(engine));
  for (const path of ['/v2/models/:model', '/v2/models/:model/versions/:version']) addModel(app, path, d);
  addRepository(app, d);
}

function addModel(app: FastifyInstance, path: string, d: { engine: OipEngine; parse: ParseJson }): void {
  const { engine } = d;
  const find = ({ params }: FastifyRequest<ModelParams>) => engine.find(params.model, params.version);
  app.get<ModelParams>(path, (request) => modelMetadata(engine.repository, find(request)));
  app.get<ModelParams>(`${path}/ready`, (request) => {
    find(request).ready();
    return { ready: true };
  });
  app.get<ModelParams>(`${path}/config`, (request) => modelConfig(find(request)));
  app.get<ModelParams>(`${path}/stats`, ({ params }) => statistics(engine, params.model, params.version));
  app.post<ModelParams>(`${path}/infer`, async (request, reply) => {
    const version = find(request);
    const body = bytesOf(request);
    const split = splitBody(request.headers[HEADER_LENGTH], body);
    const model = version.ready();
    const asked =
      split === undefined
        ? rawRequest(rawTensor(model.native.inputs, body, isRawPicture(model, body)))
        : readInferRequest(split, d.parse);
    const signal = goneSignal(reply);
    const tensors = await engine.infer(version, { ...asked, client: `http ${request.ip}`, signal });
    const { json, binary } = inferAnswer({ model: version.name, version: version.version, tensors, ...only(asked) });
    if (binary === undefined) return reply.type('application/json').send(json);
    void reply.header(HEADER_LENGTH, json.length).type('application/octet-stream');
    return reply.send(Buffer.concat([json, ...binary]));
  });
}

const only = ({ id, isBinary }: ReturnType<typeof rawRequest>) => ({ id, isBinary });

const IndexSchema = z.object({ ready: z.boolean().default(false) });
const LoadSchema = z.object({ parameters: z.record(z.string(), z.unknown()).default({}) });

function addRepository(app: FastifyInstance, { engine, parse }: { engine: OipEngine; parse: ParseJson }): void {
  const { repository } = engine;
  const parametersOf = (request: FastifyRequest) => Object.keys(readBody(request, LoadSchema, parse).parameters);
  app.post('/v2/repository/index', (request) => {
    const { ready } = readBody(request, IndexSchema, parse);
    return repository.index
      .filter(({ state }) => !ready || state === 'READY')
      .map(({ name, version, state, reason }) => ({ name, version: String(version), state, reason }));
  });
  const slow = { handlerTimeout: LOAD_MS_MAX };
  app.post<ModelParams>('/v2/repository/models/:model/load', slow, async (request, reply) => {
    checkLoadParameters(parametersOf(request));
    await repository.load(request.params.model);
    return reply.send();
  });
  app.post<ModelParams>('/v2/repository/models/:model/unload', slow, async (request, reply) => {
    parametersOf(request);
    await repository.unload(request.params.model);
    return reply.send();
  });
}

/** Nothing counts as {}. */
function readBody<S extends z.ZodType>(request: FastifyRequest, schema: S, parse: ParseJson): z.infer<S> {
  const body = bytesOf(request);
  const parsed = schema.safeParse(body.length === 0 ? {} : parse(body));
  if (parsed.success) return parsed.data;
  throw notValid(parsed.error);
}

function bytesOf({ body }: Pick<FastifyRequest, 'body'>): Buffer {
  return Buffer.isBuffer(body) ? body : Buffer.alloc(0);
}

/** Aborts when the client hangs up before it was answered. */
function goneSignal(reply: FastifyReply): AbortSignal {
  const gone = new AbortController();
  reply.raw.once('close', () => {
    if (!reply.raw.writableFinished) gone.abort();
  });
  return gone.signal;
}
