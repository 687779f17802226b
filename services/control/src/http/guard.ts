import { createHash, timingSafeEqual } from 'node:crypto';
import { BrinkError } from '@brink/protocol';
import type { FastifyReply, FastifyRequest } from 'fastify';

// Nothing inline, nothing from elsewhere, no frames: https://developer.mozilla.org/docs/Web/HTTP/CSP
const CSP =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; font-src 'self'; " +
  "frame-ancestors 'none'; base-uri 'none'; form-action 'self'";
/** swagger-ui sets style attributes and draws with data: pictures. */
const CSP_DOCS = CSP.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'").replace('blob:', 'blob: data:');

const HEADERS = {
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'cache-control': 'no-store',
} as const;

export function secureHeaders(request: FastifyRequest, reply: FastifyReply): void {
  const docs = request.url.startsWith('/docs');
  reply.headers({ ...HEADERS, 'content-security-policy': docs ? CSP_DOCS : CSP, 'x-request-id': request.id });
}

/** Pages without anything of the site in them; a browser cannot send the token. */
function isOpen(route: string | undefined): boolean {
  return route === '/' || route === '/style.css' || /^\/(docs|schemas)(\/|$)/.test(route ?? '');
}

/**
 * Who may come in: whoever presents the token; without a token, whoever speaks to this machine as this machine. That second
 * check is against pages of other sites in a browser here (DNS rebinding, forms that post across origins).
 */
export function createGuard(o: { readonly token: string | undefined }) {
  const expected = o.token === undefined ? undefined : digest(o.token);
  return {
    /** @throws BrinkError E_UNAUTHORISED, E_FORBIDDEN */
    check(request: FastifyRequest, reply: FastifyReply): void {
      if (expected === undefined) {
        checkLocal(request);
        return;
      }
      if (isOpen(request.routeOptions.url)) return;
      const [, presented] = /^Bearer ([\x21-\x7e]{1,512})$/i.exec(request.headers.authorization ?? '') ?? [];
      if (presented !== undefined && timingSafeEqual(digest(presented), expected)) return;
      reply.header('www-authenticate', 'Bearer realm="brink"');
      const found = presented === undefined ? 'no token' : 'a token that is not the right one';
      throw new BrinkError('E_UNAUTHORISED', `found ${found}; expected the header Authorization: Bearer <token>`);
    },
    authorised: (request: FastifyRequest): boolean => {
      if (expected === undefined) return true;
      const [, presented] = /^Bearer (\S{1,512})$/i.exec(request.headers.authorization ?? '') ?? [];
      return presented !== undefined && timingSafeEqual(digest(presented), expected);
    },
  };
}

export type Guard = ReturnType<typeof createGuard>;

const LOCAL_HOST = /^(localhost|127\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[::1\])(:\d{1,5})?$/i;

function checkLocal({ headers }: FastifyRequest): void {
  if (!LOCAL_HOST.test(headers.host ?? '')) {
    throw new BrinkError(
      'E_FORBIDDEN',
      'the Host header names another machine; without a token expected localhost or 127.0.0.1',
    );
  }
  const { origin } = headers;
  if (origin === undefined || origin === `http://${headers.host}`) return;
  throw new BrinkError(
    'E_FORBIDDEN',
    `a request from a page of ${origin.slice(0, 100)}; expected one of this server's own`,
  );
}

// Digests have one length, so that comparing them says nothing about the token's.
const digest = (text: string) => createHash('sha256').update(text).digest();
