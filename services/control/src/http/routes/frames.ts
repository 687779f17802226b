import type { IncomingMessage } from 'node:http';
import {
  BrinkError,
  type Configuration,
  type Decision,
  NameSchema,
  newSpanId,
  nextTraceparent,
  type PostedFrameAnswer,
  PostedFrameSchema,
  underName,
} from '@brink/protocol';
import type { FastifyReply } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { Gateways, Posted } from '../../gateways/gateways.ts';
import type { LedgerReads } from '../../ledger/records.ts';
import { type App, problems } from '../app.ts';
import { whole } from '../query.ts';

const WAIT_MS_MAX = 10_000;
/** Frames that are on their way through here at once; each is held in memory. */
const UNDERWAY_MAX = 32;
const FORM = 'application/x-www-form-urlencoded';
/** What curl says of any file, and browsers of none: nothing about the bytes. */
const UNTYPED = new Set(['', 'application/octet-stream', FORM]);
/** Codes of bytes that may have been something else before they were sent. */
const DAMAGED: ReadonlySet<string> = new Set(['E_IMAGE_CORRUPT', 'E_IMAGE_TYPE', 'E_DECODE', 'E_SHAPE', 'E_TYPE']);
const DAMAGED_BY =
  'it came as a form, as curl sends it: -d leaves out line breaks and zeros, so send files with --data-binary @file';

// Checked where they are read; here for the document.
const Bytes = z.any().meta({ type: 'string', format: 'binary', minLength: 1 });

export interface FramesDeps {
  readonly configuration: () => Configuration;
  readonly gateways: Gateways;
  readonly read: LedgerReads;
  /** Aborts when control stops. */
  readonly stopping: () => AbortSignal;
  readonly random: () => number;
}

/** Frames from whoever speaks HTTP: they go to the gateway and from there the way of every other frame. */
export function addFrames(app: App, d: FramesDeps): void {
  let underway = 0;

  async function post(frame: Parameters<Gateways['post']>[0], bytes: Buffer, signal: AbortSignal) {
    if (bytes.length === 0) throw new BrinkError('E_EMPTY', 'the body has no bytes; expected a picture or a tensor');
    if (underway >= UNDERWAY_MAX)
      throw new BrinkError('E_BUSY', `${underway} frames that came over HTTP are on their way`);
    underway += 1;
    try {
      return await answerFor(await d.gateways.post(frame, bytes, signal), d.read);
    } finally {
      underway -= 1;
    }
  }

  void app.register((child, _, done) => {
    const scope = child.withTypeProvider<ZodTypeProvider>();
    // In a scope of its own: here a body is bytes, whatever it says it is.
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser('*', (request, payload, parsed) => {
      const { stream } = request.params as { stream: string };
      readBytes(payload, () => limitOf(d.configuration(), stream)).then((bytes) => parsed(null, bytes), parsed);
    });
    scope.post(
      '/v1/frames/:device/:stream',
      {
        schema: {
          summary: 'Post a frame as bytes; with wait_ms, answers with its decisions',
          description: 'The type of the bytes is the Content-Type, else what they look like.',
          tags: ['frames'],
          consumes: ['image/jpeg', 'image/png', 'image/webp', 'application/octet-stream'],
          body: Bytes,
          params: z.strictObject({ device: NameSchema, stream: NameSchema }),
          querystring: z.strictObject({ wait_ms: whole(0, WAIT_MS_MAX).optional().describe('default 0: do not wait') }),
          response: { 200: PostedFrameSchema, 202: PostedFrameSchema, ...problems },
        },
      },
      async (request, reply) => {
        const type = (request.headers['content-type'] ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? '';
        const { device, stream } = request.params;
        const waitMs = request.query.wait_ms ?? 0;
        limitOf(d.configuration(), stream);
        const bytes = Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0);
        const contentType = UNTYPED.has(type) ? '' : type;
        const traceparent = nextTraceparent(request.headers['traceparent'], () => newSpanId(d.random)) ?? '';
        const frame = { device, stream, contentType, waitMs, traceparent };
        const posted = post(frame, bytes, whileWanted(reply, d.stopping()));
        const answer = await withHint(type, posted);
        return reply.code(waitMs === 0 || answer.pending.length > 0 ? 202 : 200).send(answer);
      },
    );
    done();
  });
}

/** What is on record stays as it is; whoever posted is told what may have become of the bytes on their way. */
async function withHint(type: string, posted: Promise<PostedFrameAnswer>): Promise<PostedFrameAnswer> {
  if (type !== FORM) return posted;
  const hinted = (detail: string) => `${detail}; ${DAMAGED_BY}`;
  try {
    const { items, ...rest } = await posted;
    const told = items.map((decision) => {
      const { error } = decision;
      if (error === undefined || error === null || !DAMAGED.has(error.code)) return decision;
      return { ...decision, error: { ...error, detail: hinted(error.detail) } };
    });
    return { items: told, ...rest };
  } catch (reason) {
    const error = BrinkError.from(reason);
    if (!DAMAGED.has(error.code)) throw reason;
    throw new BrinkError(error.code, hinted(error.detail), { cause: reason });
  }
}

function limitOf(configuration: Configuration, stream: string): number {
  const found = underName(configuration.streams, stream);
  if (found === undefined) throw new BrinkError('E_STREAM_UNKNOWN', `there is no stream "${stream}"; see /v1/streams`);
  return found.frame_bytes_max;
}

async function readBytes(payload: IncomingMessage, limit: () => number): Promise<Buffer> {
  const bytesMax = limit();
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of payload as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > bytesMax) throw new BrinkError('E_TOO_LARGE', `more than ${bytesMax} bytes, the limit of this stream`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, bytes);
}

/** Aborts when the client has gone or control stops. */
function whileWanted(reply: FastifyReply, stopping: AbortSignal): AbortSignal {
  const gone = new AbortController();
  reply.raw.once('close', () => {
    if (!reply.raw.writableFinished) gone.abort(new BrinkError('E_CANCELLED', 'the client has gone'));
  });
  return AbortSignal.any([gone.signal, stopping]);
}

/** @throws BrinkError E_DROPPED where nothing of the frame will be decided */
async function answerFor({ boot, seq, units }: Posted, read: LedgerReads): Promise<PostedFrameAnswer> {
  const ids = (fate: string) => units.filter((unit) => unit.fate === fate).map(({ id }) => id);
  const dropped = ids('dropped');
  if (units.length > 0 && dropped.length === units.length) {
    throw new BrinkError(
      'E_DROPPED',
      `frame ${boot}-${seq}: every unit was dropped, a newer frame or every_ms took its place`,
    );
  }
  const committed = await Promise.all(ids('committed').map((id) => read.decision(id)));
  const items = committed.filter((decision): decision is Decision => decision !== undefined);
  return { boot, seq, items, pending: ids('pending'), dropped };
}
