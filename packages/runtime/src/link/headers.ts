import { BrinkError, create, fromBinary, isErrorCode, link, toBinary } from '@brink/protocol/link';
import type { Frame } from './frame.ts';

/** Longer details are cut: the header of an error frame must fit, whatever was thrown. */
const DETAIL_CHARS_MAX = 2000;

type HeaderSchema =
  | typeof link.HelloSchema
  | typeof link.RequestSchema
  | typeof link.ReplySchema
  | typeof link.FailureSchema;

/** @throws BrinkError E_LINK_PROTOCOL when the header is no such message */
export function headerOf<S extends HeaderSchema>(schema: S, frame: Frame) {
  try {
    return fromBinary(schema, frame.header);
  } catch (error) {
    throw new BrinkError('E_LINK_PROTOCOL', `a header that is no ${schema.name}`, { cause: error });
  }
}

/** What the peer said went wrong. A code that this side does not know becomes E_INTERNAL. */
export function failureOf(frame: Frame): BrinkError {
  const { code, detail, retryAfterMs } = headerOf(link.FailureSchema, frame);
  if (!isErrorCode(code)) return new BrinkError('E_INTERNAL', `${code}: ${detail}`);
  return new BrinkError(code, detail, retryAfterMs === 0 ? {} : { retryAfterMs });
}

export function encodeFailure(error: BrinkError): Uint8Array {
  const detail = error.detail.length > DETAIL_CHARS_MAX ? `${error.detail.slice(0, DETAIL_CHARS_MAX)}…` : error.detail;
  return toBinary(
    link.FailureSchema,
    create(link.FailureSchema, { code: error.code, detail, retryAfterMs: error.retryAfterMs ?? 0 }),
  );
}
