import { isPicture, type SniffedType, sniff } from '@brink/decode';
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

const PICTURE_CONTENT = /^(image\/(jpeg|png|webp)|application\/octet-stream)(;|$)/;
const TENSOR_CONTENT = /^application\/octet-stream(;|$)/;

/** What `curl --data-binary` says when it is told nothing: no statement about the bytes. */
const NO_CONTENT = /^(|application\/x-www-form-urlencoded.*)$/;

/** The content type where there is one, and in any case the signature. */
export function typeOf(plan: StreamPlan, { contentType = '', payload }: Arrival): SniffedType | BrinkError {
  if (
    !NO_CONTENT.test(contentType) &&
    !(plan.format === 'image' ? PICTURE_CONTENT : TENSOR_CONTENT).test(contentType)
  ) {
    return new BrinkError(
      'E_TYPE',
      `content type "${contentType.slice(0, 100)}"; stream "${plan.name}" takes ${plan.format}`,
    );
  }
  if (plan.format === 'tensor') return 'application/octet-stream';
  const type = sniff(payload);
  if (isPicture(type)) return type;
  return new BrinkError('E_IMAGE_TYPE', `the bytes look like ${type}; stream "${plan.name}" takes JPEG, PNG or WebP`);
}
