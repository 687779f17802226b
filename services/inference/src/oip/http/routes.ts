import { BrinkError } from '@brink/protocol';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { modelConfig } from '../configuration.ts';
import { LONG_BYTES } from '../converter.ts';
import type { OipEngine } from '../engine.ts';
import { rawTensor } from '../inputs.ts';
import { EXTENSIONS, modelMetadata } from '../metadata.ts';
import { checkLoadParameters } from '../parameters.ts';
import { isRawPicture } from '../pictures.ts';
import { statistics } from '../statistics.ts';
import type { OipTensor } from '../tensor.ts';
import type { InferAnswer } from './answers.ts';
import { type SplitBody, splitBody } from './body.ts';
import { parseJson } from './json-text.ts';
import { type InferRequest, notValid, rawRequest, withBinary } from './requests.ts';

interface ModelParams {
  Params: { model: string; version?: string };
}

const HEADER_LENGTH = 'inference-header-content-length';
/** Loading takes as long as the model needs to be tried and measured. */
const LOAD_MS_MAX = 120_000;

/** Every address of the protocol and of Triton's extensions to it. */
export function addRoutes(app: FastifyInstance, o: { version: string }, d: { engine: OipEngine }) {
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

function addModel(app: FastifyInstance, path: string, { engine }: { engine: OipEngine }): void {
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
    const signal = goneSignal(reply);
    const asked =
      split === undefined
        ? rawRequest(rawTensor(model.native.inputs, body, isRawPicture(model, body)))
        : await readRequest(engine, split, signal);
    const tensors = await engine.infer(version, { ...asked, client: `http ${request.ip}`, signal });
    const { json, binary } = await writeAnswer(engine, version, asked, tensors, signal);
    if (binary.length === 0) return reply.type('application/json').send(json);
    void reply.header(HEADER_LENGTH, json.length).type('application/octet-stream');
    return reply.send(Buffer.concat([json, ...binary]));
  });
}

async function readRequest({ converter }: OipEngine, body: SplitBody, signal: AbortSignal): Promise<InferRequest> {
  const { json, binary } = body;
  const said = { json, binaryBytes: binary?.length };
  return withBinary(await converter.convert('httpRequest', said, { bytes: json.length, signal }), body);
}

/** @returns binary: in the order of the outputs, those that are asked for as bytes */
async function writeAnswer(
  { converter }: OipEngine,
  { name, version }: { name: string; version: number },
  { id, isBinary }: InferRequest,
  tensors: readonly OipTensor[],
  signal: AbortSignal,
): Promise<{ json: Buffer; binary: Uint8Array[] }> {
  const binary = tensors.filter(({ head }) => isBinary(head.name)).map(({ bytes }) => bytes);
  const outputs = tensors.map(({ head, bytes }): InferAnswer['outputs'][number] =>
    isBinary(head.name) ? { head, binaryBytes: bytes.byteLength } : { head, bytes },
  );
  const bytes = outputs.reduce((sum, output) => sum + (output.bytes?.byteLength ?? 0), 0);
  const json = await converter.convert('httpAnswer', { model: name, version, id, outputs }, { bytes, signal });
  return { json: Buffer.from(json.buffer, json.byteOffset, json.byteLength), binary };
}

const IndexSchema = z.object({ ready: z.boolean().default(false) });
const LoadSchema = z.object({ parameters: z.record(z.string(), z.unknown()).default({}) });

function addRepository(app: FastifyInstance, { engine }: { engine: OipEngine }): void {
  const { repository } = engine;
  const parametersOf = (request: FastifyRequest) => Object.keys(readBody(request, LoadSchema).parameters);
  app.post('/v2/repository/index', (request) => {
    const { ready } = readBody(request, IndexSchema);
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

/** Nothing counts as {}. What is asked here is short, and is read at once. */
function readBody<S extends z.ZodType>(request: FastifyRequest, schema: S): z.infer<S> {
  const body = bytesOf(request);
  if (body.length > LONG_BYTES) {
    throw new BrinkError('E_TOO_LARGE', `the body has ${body.length} bytes; this address takes at most ${LONG_BYTES}`);
  }
  const parsed = schema.safeParse(body.length === 0 ? {} : parseJson(body));
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
