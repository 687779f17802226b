import { createHash, randomBytes, randomInt } from 'node:crypto';

const SECRET_BYTES = 32;
/** Without those that are read for one another. */
const ID_LETTERS = 'abcdefghijkmnpqrstuvwxyz23456789';
const ID_LENGTH = 10;
const FORM = /^brk_([a-z0-9]{10})_[\w-]{43}$/;

/**
 * A new token for HTTP: `brk_<id>_<secret>`. It is looked up by its id. The secret has 256 random bits, which nobody guesses, so one
 * SHA-256 is enough to keep it by; a slow hash, made for passwords that people choose, would let anybody load the server with wrong ones.
 */
export function issueToken(): { readonly id: string; readonly token: string; readonly sha256: string } {
  const id = Array.from({ length: ID_LENGTH }, () => ID_LETTERS[randomInt(ID_LETTERS.length)]).join('');
  const token = `brk_${id}_${randomBytes(SECRET_BYTES).toString('base64url')}`;
  return { id, token, sha256: createHash('sha256').update(token).digest('hex') };
}

/** @returns the id in it, undefined where it has not the form of a token */
export const tokenId = (token: string): string | undefined => FORM.exec(token)?.[1];
