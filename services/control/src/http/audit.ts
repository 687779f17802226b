import type { AuditEntry } from '@brink/protocol';
import type { Clock, Logger } from '@brink/runtime';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { NewAuditEntry } from '../ledger/access-rows.ts';
import type { Ledger } from '../ledger/ledger.ts';
import type { Metrics } from '../metrics.ts';
import type { Caller } from './caller.ts';
import { rightOf } from './scopes.ts';

const READS = new Set(['GET', 'HEAD', 'OPTIONS']);
/** Refusals of one caller that are written down in a minute: whoever may change nothing must not be able to fill the audit. */
const REFUSALS_MAX = 60;
const MINUTE_MS = 60_000;
const PATH_CHARACTERS_MAX = 500;

const details = new WeakMap<object, Record<string, unknown>>();

/** What the path does not say of a change: the scopes of a token, say. Never a body, a password or a token. */
export function noteFor(request: FastifyRequest, detail: Record<string, unknown>): void {
  details.set(request, { ...details.get(request), ...detail });
}

/** Every request that may change something leaves a row, committed before its answer goes out: who, what, when, what came of it. */
export function createAudit(d: {
  readonly ledger: Pick<Ledger, 'access'>;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Pick<Metrics, 'audit'>;
}) {
  const refusals = new Map<string, number>();
  let minute = 0;

  function mayRefuse({ id = '', name, address }: Caller): boolean {
    const now = Math.floor(d.clock.monotonic() / MINUTE_MS);
    if (now !== minute) refusals.clear();
    minute = now;
    const key = `${id} ${name} ${address}`;
    const count = (refusals.get(key) ?? 0) + 1;
    refusals.set(key, count);
    return count <= REFUSALS_MAX;
  }

  async function write(entry: NewAuditEntry): Promise<void> {
    try {
      await d.ledger.access({ change: 'audit', entry });
      d.metrics.audit.labels('written').inc();
    } catch (error) {
      // What was changed is changed; that nobody wrote it down must be seen.
      d.metrics.audit.labels('failed').inc();
      d.logger.error({ err: error, entry }, 'not in the audit');
    }
  }

  return {
    write,
    /** Resolves when it is committed, or cannot be. Never rejects. */
    async record(request: FastifyRequest, reply: FastifyReply, caller: Caller | undefined, payload: unknown) {
      const { method } = request;
      if (READS.has(method) || request.is404 || caller === undefined) return;
      if (rightOf(method, request.routeOptions.url).audit === false) return;
      const status = reply.statusCode;
      if (status >= 400 && !mayRefuse(caller)) {
        d.metrics.audit.labels('skipped').inc();
        return;
      }
      await write({
        at: new Date(d.clock.now()).toISOString(),
        who: whoOf(caller),
        method,
        path: (request.url.split('?', 1)[0] ?? '').slice(0, PATH_CHARACTERS_MAX),
        status,
        ...codeOf(status, payload),
        request: request.id,
        ...detailOf(request),
      });
    },
  };
}

export type Audit = ReturnType<typeof createAudit>;

function whoOf({ kind, id, name, address }: Caller): AuditEntry['who'] {
  return { kind, ...(id === undefined ? {} : { id }), name, address };
}

/** The query belongs to what was asked (`forget=true`); values are short, and no secret is taken from there. */
function detailOf(request: FastifyRequest): { detail?: Record<string, unknown> } {
  const query = Object.entries((request.query ?? {}) as Record<string, unknown>);
  const asked = query.length === 0 ? {} : { query: Object.fromEntries(query.slice(0, 20)) };
  const detail = { ...asked, ...details.get(request) };
  return Object.keys(detail).length === 0 ? {} : { detail };
}

function codeOf(status: number, payload: unknown): { code?: string } {
  const [, code] = status >= 400 && typeof payload === 'string' ? (/"code":"(E_[A-Z_]+)"/.exec(payload) ?? []) : [];
  return code === undefined ? {} : { code };
}
