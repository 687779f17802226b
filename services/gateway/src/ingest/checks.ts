import { isEnvelope, isPicture, type SniffedType, sniff } from '@brink/decode';
import { BrinkError } from '@brink/protocol';
import type { Arrival } from './arrival.ts';
import type { StreamPlan } from './plan.ts';

/** What can be said without looking at the bytes. */
export function outsideOf(plan: StreamPlan, { retain, payload, topic, foreign }: Arrival): BrinkError | undefined {
  if (retain) {
    const why =
      foreign === true
        ? 'is what the broker had kept from before the gateway listened; what is published from now on is taken'
        : 'came as a retained message; publish frames without retain';
    return new BrinkError('E_RETAINED', `"${topic.slice(0, 120)}" ${why}`);
  }
  if (payload.byteLength === 0)
    return new BrinkError('E_EMPTY', `"${topic.slice(0, 120)}"; expected the bytes of a frame`);
  const limit = plan.frameBytesMax;
  if (payload.byteLength <= limit) return undefined;
  return new BrinkError(
    'E_TOO_LARGE',
    `${payload.byteLength} bytes; stream "${plan.name}" takes at most ${limit} (frame_bytes_max)`,
  );
}

/** What `curl --data-binary` says when it is told nothing, and what everything may be called: no statement about the bytes. */
const SAYS_NOTHING: ReadonlySet<string> = new Set([
  '',
  'application/octet-stream',
  'binary/octet-stream',
  'application/x-www-form-urlencoded',
]);

/** Compressed, or with something around the bytes that a frame is. Not all of them can be told by their first bytes. */
const WRAPPED =
  /^(application\/(x-)?(gzip|zstd|brotli|br|deflate|zlib|lz4|snappy|zip|bzip2|xz|7z-compressed|tar|protobuf|google-protobuf|msgpack|avro|cloudevents.*)|application\/vnd\.(google\.protobuf|apache\..*|msgpack)|gzip|zstd|br|deflate|multipart\/.*|message\/.*)$/;

/** Content types under several names. */
const ALIASES: Readonly<Record<string, string>> = {
  'image/jpg': 'image/jpeg',
  'image/pjpeg': 'image/jpeg',
  'audio/x-wav': 'audio/wav',
  'audio/wave': 'audio/wav',
  'audio/vnd.wave': 'audio/wav',
  'text/json': 'application/json',
  'application/csv': 'text/csv',
};

/** By the format of a stream, the content types that its frames may have. */
const TAKES: Readonly<Record<string, readonly string[]>> = {
  image: ['image/jpeg', 'image/png', 'image/webp'],
  audio: ['audio/wav'],
  signal: ['application/json', 'application/cbor', 'text/csv'],
  text: ['text/plain', 'application/json'],
  tensor: [],
};

/** By `encoding` of a stream, where the content type says nothing. Raw samples look like nothing. */
const ENCODED: Readonly<Record<string, string>> = {
  wav: 'audio/wav',
  json: 'application/json',
  cbor: 'application/cbor',
  csv: 'text/csv',
};

const RAW = 'application/octet-stream';
const TEXTUAL: ReadonlySet<string> = new Set(['text/plain', 'application/json', 'image/svg+xml']);

type Said = Partial<Pick<Arrival, 'contentType'>> & Pick<Arrival, 'payload'>;
type Typed = Pick<StreamPlan, 'name' | 'format' | 'samples'>;

/**
 * What the bytes are: the content type where there is one, else the stream's `encoding`, else the signature.
 * @returns E_ENCODING for what is compressed or wrapped, E_TYPE for what the stream does not take or what is not what it is said to
 * be, E_IMAGE_TYPE for pictures that are none
 */
export function typeOf(plan: Typed, { contentType = '', payload }: Said): string | BrinkError {
  const named = namedBy(contentType, plan.format);
  const wrong = named === undefined ? undefined : refusedByName(plan, named);
  if (wrong !== undefined) return wrong;
  const type = named ?? encodedAs(plan);
  // Else its header would be heard as sound, and everything after it.
  if (type === RAW && plan.format === 'audio' && sniff(payload) === 'audio/wav') {
    const detail = `a WAV recording; stream "${plan.name}" takes bare samples, encoding: ${plan.samples?.encoding}; expected those, or encoding: wav`;
    return new BrinkError('E_TYPE', detail);
  }
  if (plan.format === 'tensor' || type === RAW) return RAW;
  const found = sniff(payload);
  if (isEnvelope(found)) return wrapped(plan, `the bytes are ${found}`);
  const looks = LOOKS[plan.format];
  if (looks === undefined) return type ?? found;
  return looks(plan, named, found);
}

/** @returns undefined where it says nothing */
function namedBy(contentType: string, format: string): string | undefined {
  if (contentType === '') return undefined;
  const said = contentType.split(';', 1)[0]?.trim().toLowerCase() ?? '';
  if (said === 'text/plain' && format === 'signal') return 'text/csv';
  return SAYS_NOTHING.has(said) ? undefined : (ALIASES[said] ?? said);
}

function refusedByName(plan: Typed, named: string): BrinkError | undefined {
  if (WRAPPED.test(named)) return wrapped(plan, `the content type is "${named.slice(0, 100)}"`);
  const takes = TAKES[plan.format] ?? [];
  if (takes.includes(named)) return undefined;
  const expected = takes.length === 0 ? RAW : takes.join(', ');
  const detail = `content type "${named.slice(0, 100)}"; stream "${plan.name}" takes ${plan.format}: ${expected}`;
  return new BrinkError('E_TYPE', detail);
}

function encodedAs({ samples }: Typed): string | undefined {
  return samples === undefined ? undefined : (ENCODED[samples.encoding] ?? RAW);
}

type Look = (plan: Typed, named: string | undefined, found: SniffedType) => string | BrinkError;

/** Formats whose bytes tell what they are before anything is decoded. Sound and signals are read at once, and tell then. */
const LOOKS: Readonly<Record<string, Look>> = { image: pictureOf, text: textOf };

function pictureOf({ name }: Typed, named: string | undefined, found: SniffedType): string | BrinkError {
  if (!isPicture(found))
    return new BrinkError('E_IMAGE_TYPE', `the bytes look like ${found}; stream "${name}" takes JPEG, PNG or WebP`);
  if (named === undefined || named === found) return found;
  return new BrinkError('E_TYPE', `the content type says ${named}, and the bytes are ${found}; expected them to agree`);
}

function textOf({ name }: Typed, named: string | undefined, found: SniffedType): string | BrinkError {
  if (TEXTUAL.has(found)) return named ?? 'text/plain';
  return new BrinkError('E_TYPE', `the bytes look like ${found}; stream "${name}" takes text in UTF-8`);
}

function wrapped({ name, format }: Typed, what: string): BrinkError {
  const detail = `${what}; stream "${name}" takes ${format} as it is: send it without compression or envelope`;
  return new BrinkError('E_ENCODING', detail);
}
