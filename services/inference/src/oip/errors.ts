import { createHash, timingSafeEqual } from 'node:crypto';
import { BrinkError, ERROR_TABLE } from '@brink/protocol';

/**
 * The status of a code on this face. Triton answers what is wrong with a request by 400 (src/http_server.cc), where the table's
 * 422 would be as right; its clients and tests look at the number. What HTTP itself says (413, 415 …) stays.
 */
export function oipStatus({ code }: BrinkError): number {
  const { http } = ERROR_TABLE[code];
  return http === 422 ? 400 : http;
}

/** Whole seconds, at least one. */
export const retryAfterSeconds = ({ retryAfterMs = 1000 }: BrinkError): number =>
  Math.max(1, Math.ceil(retryAfterMs / 1000));

/**
 * Whether a header holds the bearer token. Hashes of equal length are compared, so that time says nothing about the token.
 * @returns always true where no token is asked for
 */
export function createTokenCheck(token: string | undefined): (header: string | undefined) => boolean {
  if (token === undefined) return () => true;
  const digest = (text: string) => createHash('sha256').update(text).digest();
  const expected = digest(`Bearer ${token}`);
  return (header) => timingSafeEqual(digest(header ?? ''), expected);
}

export const unauthorised = () =>
  new BrinkError('E_UNAUTHORISED', 'expected the header "Authorization: Bearer <token>"');
