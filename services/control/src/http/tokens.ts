import { randomBytes, timingSafeEqual } from 'node:crypto';
import type { Socket } from 'node:net';
import { BrinkError, type IssuedToken, type NewToken, type Token } from '@brink/protocol';
import { type Clock, issueToken, type Logger, type Part, type Timer, tokenId } from '@brink/runtime';
import type { NewTokenRow, TokenRow } from '../ledger/access-rows.ts';
import type { Ledger } from '../ledger/ledger.ts';
import type { Caller } from './caller.ts';

const DAY_MS = 86_400_000;
/** How often it is written down when tokens were used, and looked whether one has expired under an open connection. */
const SWEEP_MS = 10_000;
/** `last_used_at` is to the minute: a token that works all day is one write a minute. */
const USED_EVERY_MS = 60_000;

/**
 * Tokens of the ledger, in memory: each request asks. A token is `brk_<id>_<secret>`; it is found by its id, and its SHA-256 compared in
 * constant time. One that is revoked or expires takes its open connections along.
 */
export function createTokens(d: { readonly ledger: Pick<Ledger, 'read' | 'access'>; clock: Clock; logger: Logger }) {
  const rows = new Map<string, TokenRow>();
  const used = new Map<string, number>();
  const open = createOpen();
  const nobody = randomBytes(32);
  let timer: Timer | undefined;

  const isOver = (row: TokenRow) => row.revoked_at !== undefined || d.clock.now() >= Date.parse(row.expires_at);

  const named = createNaming((name) => [...rows.values()].find((row) => row.name === name && !isOver(row))?.id);

  function find(presented: string, sha256: Buffer): TokenRow | BrinkError {
    const id = tokenId(presented) ?? '';
    const row = rows.get(id);
    const same = timingSafeEqual(sha256, row === undefined ? nobody : Buffer.from(row.sha256, 'hex'));
    if (row === undefined || !same)
      return new BrinkError('E_UNAUTHORISED', 'found a token that is not the right one; see `brink tokens list`');
    if (isOver(row)) {
      const why = row.revoked_at === undefined ? `expired at ${row.expires_at}` : `was revoked at ${row.revoked_at}`;
      return new BrinkError('E_UNAUTHORISED', `the token "${row.name}" ${why}; \`brink tokens add\` makes another`);
    }
    used.set(id, d.clock.now());
    return row;
  }

  async function writeUsed(): Promise<void> {
    const fresh = [...used].filter(([id, ms]) => {
      const last = rows.get(id)?.last_used_at;
      return last === undefined || Math.abs(ms - Date.parse(last)) >= USED_EVERY_MS;
    });
    used.clear();
    if (fresh.length === 0) return;
    for (const [id, ms] of fresh) {
      const row = rows.get(id);
      if (row !== undefined) rows.set(id, { ...row, last_used_at: new Date(ms).toISOString() });
    }
    await d.ledger.access({ change: 'useTokens', used: fresh });
  }

  function sweep(): void {
    timer = d.clock.setTimeout(sweep, SWEEP_MS);
    for (const id of open.ids()) {
      const row = rows.get(id);
      if (row !== undefined && isOver(row)) open.close(id);
    }
    writeUsed().catch((error: unknown) => d.logger.debug({ err: error }, 'use of tokens not written down'));
  }

  async function put(row: NewTokenRow): Promise<TokenRow> {
    const made = await d.ledger.access<TokenRow>({ change: 'putToken', token: row });
    rows.set(made.id, made);
    return made;
  }

  return {
    find,
    hold: open.hold,
    list: (): Token[] => [...rows.values()].map(shown),
    /** @throws BrinkError E_NOT_FOUND */
    get(id: string): Token {
      const row = rows.get(id);
      if (row === undefined) throw new BrinkError('E_NOT_FOUND', `there is no token "${id.slice(0, 80)}"`);
      return shown(row);
    },

    /** @throws BrinkError E_FORBIDDEN where it may do more than who makes it, E_CONFLICT where the name is taken or there are too many */
    async add(wanted: NewToken, by: Caller): Promise<IssuedToken> {
      notMoreThan(by, wanted);
      return await named(wanted.name, async () => {
        const { token, row } = issue(wanted, by.name, d.clock.now());
        return { ...shown(await put(row)), token };
      });
    },

    /** A token that was made elsewhere: `brink tokens recover`. */
    adopt: put,

    /**
     * It stays in the list, to be named in the audit. What it has open is closed.
     * @param but the connection on which this is answered: a token may end itself
     * @throws BrinkError E_NOT_FOUND, E_FORBIDDEN where it may do more than who asks
     */
    async revoke(id: string, by: Caller, but?: Socket): Promise<Token> {
      const row = rows.get(id);
      if (row === undefined) throw new BrinkError('E_NOT_FOUND', `there is no token "${id.slice(0, 80)}"`);
      notMoreThan(by, row);
      const revoked = await d.ledger.access<TokenRow>({ change: 'revokeToken', id });
      rows.set(id, revoked);
      open.close(id, but);
      return shown(revoked);
    },

    async start(): Promise<void> {
      for (const row of await d.ledger.read.tokens()) rows.set(row.id, row);
      sweep();
    },
    async stop(): Promise<void> {
      if (timer !== undefined) d.clock.clearTimeout(timer);
      await writeUsed().catch(() => {});
    },
  } satisfies Part & Record<string, unknown>;
}

/** One token to a name, also where two requests ask for it at once. */
function createNaming(idOf: (name: string) => string | undefined) {
  const making = new Set<string>();
  return async <T>(name: string, make: () => Promise<T>): Promise<T> => {
    const there = making.has(name) ? 'being made' : idOf(name);
    if (there !== undefined)
      throw new BrinkError('E_CONFLICT', `there is a token "${name}" (${there}); revoke it, or choose another name`);
    making.add(name);
    try {
      return await make();
    } finally {
      making.delete(name);
    }
  };
}

/** Connections by the token that they came in with. */
function createOpen() {
  const sockets = new Map<string, Set<Socket>>();
  return {
    ids: () => sockets.keys(),
    hold(id: string, socket: Socket): void {
      const held = sockets.get(id) ?? new Set();
      sockets.set(id, held);
      if (held.has(socket)) return;
      held.add(socket);
      socket.once('close', () => {
        held.delete(socket);
        if (held.size === 0 && sockets.get(id) === held) sockets.delete(id);
      });
    },
    close(id: string, but?: Socket): void {
      for (const socket of sockets.get(id) ?? []) if (socket !== but) socket.destroy();
    },
  };
}

export type Tokens = ReturnType<typeof createTokens>;

function shown({ sha256: _, ...token }: TokenRow): Token {
  return token;
}

/** A new token and the row that is kept of it. */
function issue(wanted: NewToken, by: string, nowMs: number): { token: string; row: NewTokenRow } {
  const { id, token, sha256 } = issueToken();
  const { name, scopes, devices, days } = wanted;
  const row: NewTokenRow = {
    ...{ id, name, scopes, created_by: by, created_ms: nowMs, expires_ms: nowMs + days * DAY_MS },
    ...(devices === undefined ? {} : { devices }),
    sha256,
  };
  return { token, row };
}

/** Nobody gives away, or takes away, more than they have. @throws BrinkError E_FORBIDDEN */
function notMoreThan(by: Caller, wanted: Pick<Token, 'scopes' | 'devices'>): void {
  if (by.scopes.includes('admin') && by.devices === undefined) return;
  const more = wanted.scopes.filter((scope) => !by.scopes.includes(scope));
  if (more.length > 0)
    throw new BrinkError('E_FORBIDDEN', `${by.name} has not the scopes ${more.join(', ')}; expected some of its own`);
  if (by.devices === undefined) return;
  const others = wanted.devices?.filter((device) => !by.devices?.includes(device)) ?? ['all devices'];
  if (others.length > 0) throw new BrinkError('E_FORBIDDEN', `${by.name} is not for ${others.join(', ')}`);
}
