import { isPicture, sniff } from '@brink/decode';
import { BrinkError, isRawEncoding } from '@brink/protocol';
import type { Arrival } from './arrival.ts';
import type { SamplesPlan, StreamPlan } from './plan.ts';

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

const PICTURE_CONTENT = /^(image\/(jpeg|png|webp)|application\/octet-stream)(;|$)/;
const TENSOR_CONTENT = /^application\/octet-stream(;|$)/;

/** What `curl --data-binary` says when it is told nothing: no statement about the bytes. */
const NO_CONTENT = /^(|application\/x-www-form-urlencoded.*)$/;

/** What a content type says of samples; application/octet-stream leaves it to the configuration. */
const SAMPLES_CONTENT: Readonly<Record<SamplesPlan['kind'], readonly (readonly [RegExp, string])[]>> = {
  audio: [
    [/^audio\/(wav|x-wav|vnd\.wave)(;|$)/, 'audio/wav'],
    [/^application\/octet-stream(;|$)/, ''],
  ],
  signal: [
    [/^application\/json(;|$)/, 'application/json'],
    [/^application\/cbor(;|$)/, 'application/cbor'],
    [/^text\/(csv|plain)(;|$)/, 'text/csv'],
    [/^application\/octet-stream(;|$)/, ''],
  ],
};
const SAMPLES_TYPES = {
  wav: 'audio/wav',
  json: 'application/json',
  cbor: 'application/cbor',
  csv: 'text/csv',
} as const;

/** The content type where it says something, else what the configuration says; the bytes are held against it where they are read. */
function samplesType(plan: StreamPlan, { kind, encoding }: SamplesPlan, contentType: string): string | BrinkError {
  const [, said = ''] = SAMPLES_CONTENT[kind].find(([pattern]) => pattern.test(contentType)) ?? [];
  if (said !== '') return said;
  const isKnown = NO_CONTENT.test(contentType) || SAMPLES_CONTENT[kind].some(([pattern]) => pattern.test(contentType));
  if (!isKnown) return wrongContent(plan, contentType);
  return isRawEncoding(encoding) ? 'application/octet-stream' : SAMPLES_TYPES[encoding];
}

function wrongContent({ name, format }: StreamPlan, contentType: string): BrinkError {
  return new BrinkError('E_TYPE', `content type "${contentType.slice(0, 100)}"; stream "${name}" takes ${format}`);
}

/** The content type where there is one, and in any case the signature. */
export function typeOf(plan: StreamPlan, { contentType = '', payload }: Arrival): string | BrinkError {
  if (plan.samples !== undefined) return samplesType(plan, plan.samples, contentType);
  if (
    !NO_CONTENT.test(contentType) &&
    !(plan.format === 'image' ? PICTURE_CONTENT : TENSOR_CONTENT).test(contentType)
  ) {
    return wrongContent(plan, contentType);
  }
  if (plan.format === 'tensor') return 'application/octet-stream';
  const type = sniff(payload);
  if (isPicture(type)) return type;
  return new BrinkError('E_IMAGE_TYPE', `the bytes look like ${type}; stream "${plan.name}" takes JPEG, PNG or WebP`);
}
