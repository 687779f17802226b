import { createHash, timingSafeEqual } from 'node:crypto';
import { matchesGlob } from 'node:path';
import { BrinkError, parseUnitId, type Scope } from '@brink/protocol';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Caller } from './caller.ts';
import { type Right, rightOf } from './scopes.ts';
import type { Tokens } from './tokens.ts';

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

const callers = new WeakMap<object, Caller>();

/** Who sent a request that the guard let in: for what it orders, changes or arms. */
export function callerOf(request: FastifyRequest): Caller {
  const caller = callers.get(request);
  if (caller === undefined)
    throw new BrinkError('E_INTERNAL', `${request.url.slice(0, 100)} was let in without a name`);
  return caller;
}

/**
 * Who may come in, and for what. Whoever presents the token of the token file may do everything; a token of the ledger what its
 * scopes say (scopes.ts is the table). Where there is no token file: whoever speaks to this machine as this machine. That check is against pages of
 * other sites in a browser here (DNS rebinding, forms that post across origins).
 */
export function createGuard(
  o: { readonly token: string | undefined },
  d: { readonly tokens: Pick<Tokens, 'find' | 'hold'> },
) {
  const root = o.token === undefined ? undefined : digest(o.token);

  function byToken(presented: string, address: string): Caller | BrinkError {
    const sha256 = digest(presented);
    if (root !== undefined && timingSafeEqual(sha256, root))
      return { kind: 'root', name: 'root', address, scopes: ['admin'] };
    const found = d.tokens.find(presented, sha256);
    if (found instanceof BrinkError) return found;
    const { id, name, scopes, devices } = found;
    return { kind: 'token', id, name, address, scopes, devices };
  }

  function identify(request: FastifyRequest): Caller | BrinkError {
    const known = callers.get(request);
    if (known !== undefined) return known;
    const { authorization } = request.headers;
    const found = authorization === undefined && root === undefined ? local(request) : presentedBy(authorization);
    const caller = typeof found === 'string' ? byToken(found, request.ip) : found;
    if (!(caller instanceof BrinkError)) callers.set(request, caller);
    return caller;
  }

  /** @throws BrinkError E_UNAUTHORISED, E_FORBIDDEN; E_NOT_FOUND for a device that its token does not see */
  function check(request: FastifyRequest, reply: FastifyReply): void {
    const right = rightFor(request);
    if (right.scope === 'open') {
      if (root === undefined) refuseStranger(request);
      return;
    }
    const caller = identify(request);
    if (caller instanceof BrinkError) {
      if (caller.code === 'E_UNAUTHORISED') reply.header('www-authenticate', 'Bearer realm="brink"');
      throw caller;
    }
    if (caller.id !== undefined) d.tokens.hold(caller.id, request.raw.socket);
    if (!request.is404) allow(caller, right, request);
  }

  return {
    check,
    /** Who sent it, where that is known. */
    known: (request: FastifyRequest): Caller | undefined => callers.get(request),
    /** For the limit of requests: each token has its own, everybody else shares that of their address. */
    keyOf(request: FastifyRequest): string {
      const caller = identify(request);
      return caller instanceof BrinkError || caller.id === undefined ? `address ${request.ip}` : `token ${caller.id}`;
    },
    authorised(request: FastifyRequest): boolean {
      const caller = identify(request);
      return !(caller instanceof BrinkError) && has(caller, 'status:read') && caller.devices === undefined;
    },
  };
}

export type Guard = ReturnType<typeof createGuard>;

const has = ({ scopes }: Pick<Caller, 'scopes'>, scope: Scope): boolean =>
  scopes.includes('admin') || scopes.includes(scope);

const rightFor = ({ method, is404, routeOptions }: FastifyRequest) =>
  rightOf(method, is404 ? undefined : routeOptions.url);

function allow(caller: Caller, right: Right, request: FastifyRequest): void {
  if (right.scope !== 'open' && !has(caller, right.scope)) {
    const detail = `${caller.name} has the scopes ${caller.scopes.join(', ')}; expected ${right.scope}`;
    throw new BrinkError('E_FORBIDDEN', detail);
  }
  if (caller.devices !== undefined) checkDevices(caller.devices, right, request);
}

/** What the device is called that a request is about, and whether its token is for it. */
function checkDevices(devices: readonly string[], { device: place }: Right, request: FastifyRequest): void {
  const limited = `this token is for ${devices.join(', ')} only`;
  const params = request.params as { id?: string; device?: string };
  const query = request.query as { device?: unknown };
  if (place === undefined) throw new BrinkError('E_FORBIDDEN', `${limited}, and this is about all devices`);
  if (place === 'query' && typeof query.device !== 'string')
    throw new BrinkError('E_FORBIDDEN', `${limited}; expected ?device=`);
  const id = params.device ?? params.id ?? '';
  const asked = place === 'query' ? String(query.device) : place === 'path' ? id : parseUnitId(id).device;
  if (devices.some((pattern) => matchesGlob(asked, pattern))) return;
  // As if it were not there: whether it is, is none of this token's business.
  throw new BrinkError('E_NOT_FOUND', `there is no device "${asked.slice(0, 80)}" for this token`);
}

function presentedBy(authorization: string | undefined): string | BrinkError {
  const [, presented] = /^Bearer ([\x21-\x7e]{1,512})$/i.exec(authorization ?? '') ?? [];
  return (
    presented ?? new BrinkError('E_UNAUTHORISED', 'found no token; expected the header Authorization: Bearer <token>')
  );
}

function local(request: FastifyRequest): Caller | BrinkError {
  try {
    refuseStranger(request);
  } catch (error) {
    return BrinkError.from(error);
  }
  return { kind: 'local', name: 'local', address: request.ip, scopes: ['admin'] };
}

const LOCAL_HOST = /^(localhost|127\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[::1\])(:\d{1,5})?$/i;

/**
 * A page elsewhere that draws on an address here, as a picture or a script: browsers send no Origin with that. Another port of this
 * machine is elsewhere, too. A link that somebody follows is none. https://www.w3.org/TR/fetch-metadata/
 */
const embedded = (headers: FastifyRequest['headers']) =>
  ['cross-site', 'same-site'].includes(String(headers['sec-fetch-site'])) && headers['sec-fetch-mode'] !== 'navigate';

function refuseStranger({ headers }: FastifyRequest): void {
  if (!LOCAL_HOST.test(headers.host ?? '')) {
    throw new BrinkError(
      'E_FORBIDDEN',
      'the Host header names another machine; without a token expected localhost or 127.0.0.1',
    );
  }
  const { origin } = headers;
  const foreign = origin === undefined ? embedded(headers) : origin !== `http://${headers.host}`;
  if (!foreign) return;
  const page = origin === undefined ? 'another site' : origin.slice(0, 100);
  throw new BrinkError('E_FORBIDDEN', `a request from a page of ${page}; expected one of this server's own`);
}

// Digests have one length, so that comparing them says nothing about the token's.
const digest = (text: string) => createHash('sha256').update(text).digest();
