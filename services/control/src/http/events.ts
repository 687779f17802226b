import type { ServerResponse } from 'node:http';
import { type ActionRecord, BrinkError, type Decision } from '@brink/protocol';
import type { Clock, Logger, Timer } from '@brink/runtime';
import type { CommittedDecision, LedgerReads } from '../ledger/records.ts';
import type { Metrics } from '../metrics.ts';

const CLIENTS_MAX = 200;
/** Of one token, or of one address where there is none: half, so that nobody alone takes all places. */
const CLIENTS_OF_CALLER_MAX = 100;
/** A client for which more than this is queued loses events, and is told so when it reads again. */
const QUEUED_BYTES_MAX = 1024 * 1024;
/** For all clients together: each gets a like share, once there are more than 64. */
const QUEUED_BYTES_ALL_MAX = 64 * 1024 * 1024;
/** One that has read nothing for so long is sent away; it comes back where it stopped, by Last-Event-ID. */
const LAGGED_MS_MAX = 60_000;
/** Well below the idle limit of connections here and in most proxies. */
const HEARTBEAT_MS = 5000;
const REPLAY_PAGE = 500;
/** Decisions that are held for a client while it is read to from the ledger. */
const HELD_MAX = 1000;
const RECONNECT_MS = 1000;

export interface EventFilter {
  readonly device?: string | undefined;
  readonly stream?: string | undefined;
  readonly pipeline?: string | undefined;
  readonly label?: string | undefined;
  readonly score_min?: number | undefined;
  readonly outcome?: Decision['outcome'] | undefined;
}

interface Client {
  readonly response: ServerResponse;
  readonly filter: EventFilter;
  readonly caller: string;
  /** Decisions up to here were sent, or are none of the client's business. */
  cursor: number;
  missed: number;
  /** When the first of those that it misses was lost; monotonic. */
  laggedMs: number;
  /** Set while the client is read to from the ledger: what was committed meanwhile. */
  held: { decisions: CommittedDecision[]; overflown: boolean } | undefined;
}

/**
 * Server-sent events: `decision` with its running number as id, `action`, `lagged`. Decisions come straight from COMMIT;
 * after a reconnect with Last-Event-ID those in between are read from the ledger, without gap or repetition. Actions are
 * not repeated. https://html.spec.whatwg.org/multipage/server-sent-events.html
 */
export function createEvents(d: { clock: Clock; logger: Logger; metrics: Metrics; read: () => LedgerReads }) {
  const clients = new Set<Client>();
  let heartbeat: Timer | undefined;

  const queuedMax = () => Math.min(QUEUED_BYTES_MAX, QUEUED_BYTES_ALL_MAX / Math.max(1, clients.size));

  /** @returns false where the client has too much to read already */
  function offer({ response }: Client, block: Buffer): boolean {
    if (response.writableLength > queuedMax()) return false;
    response.write(block);
    return true;
  }

  /** What happens now: it is lost where the client does not read, and the client is told so. */
  function send(client: Client, block: Buffer): boolean {
    const { missed, cursor } = client;
    const told = missed === 0 || offer(client, eventBlock('lagged', { missed, last: cursor }));
    if (told && offer(client, block)) {
      client.missed = 0;
      return true;
    }
    if (missed === 0) {
      d.metrics.lagged.inc();
      client.laggedMs = d.clock.monotonic();
    }
    client.missed += 1;
    return false;
  }

  const wants = (client: Client, decision: Decision) => decision.n > client.cursor && matches(client.filter, decision);

  /** Reads to the client until it has all that is committed, then lets it listen to what comes. */
  async function replay(client: Client): Promise<void> {
    while (clients.has(client)) {
      const held: NonNullable<Client['held']> = { decisions: [], overflown: false };
      client.held = held;
      const { items } = await d.read().decisions({ ...client.filter, after: client.cursor, limit: REPLAY_PAGE });
      // What does not fit waits in the ledger until the client has read.
      const fitted = items.every((decision) => {
        if (wants(client, decision) && !offer(client, decisionBlock(decision.n, JSON.stringify(decision))))
          return false;
        client.cursor = Math.max(client.cursor, decision.n);
        return true;
      });
      if (fitted && items.length < REPLAY_PAGE && !held.overflown) {
        client.held = undefined;
        for (const { decision, json } of held.decisions) {
          if (!wants(client, decision)) continue;
          if (send(client, decisionBlock(decision.n, json))) client.cursor = decision.n;
        }
        return;
      }
      await drained(client.response);
    }
  }

  function beat(): void {
    const late = d.clock.monotonic() - LAGGED_MS_MAX;
    for (const client of clients) {
      if (client.missed > 0 && client.laggedMs < late) client.response.destroy();
      else if (client.response.writableLength === 0) client.response.write(': beat\n\n');
    }
    heartbeat = d.clock.setTimeout(beat, HEARTBEAT_MS);
  }

  function remove(client: Client): void {
    clients.delete(client);
    d.metrics.listeners.set(clients.size);
  }

  /** One that does not read gives its place to one that may. */
  function makeRoom(among: (client: Client) => boolean): boolean {
    let stalled: Client | undefined;
    for (const client of clients) {
      if (client.missed > 0 && among(client) && client.laggedMs < (stalled?.laggedMs ?? Number.POSITIVE_INFINITY))
        stalled = client;
    }
    if (stalled === undefined) return false;
    remove(stalled);
    stalled.response.destroy();
    return true;
  }

  return {
    start: beat,
    stop(): void {
      if (heartbeat !== undefined) d.clock.clearTimeout(heartbeat);
      for (const client of clients) client.response.end();
      clients.clear();
    },
    /**
     * @param caller whose client it is: its token, or its address
     * @throws BrinkError E_BUSY
     */
    admit(caller: string): void {
      const own = [...clients].filter((client) => client.caller === caller).length;
      if (own >= CLIENTS_OF_CALLER_MAX && !makeRoom((client) => client.caller === caller))
        throw new BrinkError(
          'E_BUSY',
          `${own} clients of the same token or address listen already, which is the limit`,
        );
      if (clients.size >= CLIENTS_MAX && !makeRoom(() => true))
        throw new BrinkError('E_BUSY', `${clients.size} clients listen already, which is the limit`);
    },
    /** @param after the last number that the client has; undefined: only what comes from now on */
    add(response: ServerResponse, caller: string, filter: EventFilter, after: number | undefined): void {
      const client: Client = {
        ...{ response, caller, filter, cursor: after ?? 0 },
        ...{ missed: 0, laggedMs: 0, held: undefined },
      };
      clients.add(client);
      d.metrics.listeners.set(clients.size);
      response.once('close', () => remove(client));
      response.write(`retry: ${RECONNECT_MS}\n\n`);
      if (after === undefined) return;
      replay(client).catch((error: unknown) => {
        d.logger.warn({ err: error }, 'events could not be repeated');
        response.end();
      });
    },
    decisions(committed: readonly CommittedDecision[]): void {
      for (const one of committed) {
        // Once for all that get it: a thousand waiting copies of a text are a thousand texts.
        let block: Buffer | undefined;
        for (const client of clients) {
          if (client.held !== undefined) hold(client.held, one);
          else if (wants(client, one.decision)) {
            block ??= decisionBlock(one.decision.n, one.json);
            if (send(client, block)) client.cursor = one.decision.n;
          }
        }
      }
    },
    action(record: ActionRecord): void {
      if (clients.size === 0) return;
      const block = eventBlock('action', record);
      for (const client of clients) {
        if (client.filter.device === undefined || record.target === client.filter.device) send(client, block);
      }
    },
  };
}

export type Events = ReturnType<typeof createEvents>;

const eventBlock = (event: string, data: unknown) => Buffer.from(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
const decisionBlock = (n: number, json: string) => Buffer.from(`id: ${n}\nevent: decision\ndata: ${json}\n\n`);

function hold(held: NonNullable<Client['held']>, one: CommittedDecision): void {
  if (held.decisions.length < HELD_MAX) held.decisions.push(one);
  else held.overflown = true;
}

function matches(filter: EventFilter, decision: Decision): boolean {
  const { device, stream, pipeline, label, score_min, outcome } = filter;
  return (
    (device === undefined || device === decision.device) &&
    (stream === undefined || stream === decision.stream) &&
    (pipeline === undefined || pipeline === decision.pipeline) &&
    (label === undefined || label === decision.label) &&
    (score_min === undefined || (decision.score ?? -1) >= score_min) &&
    (outcome === undefined || outcome === decision.outcome)
  );
}

async function drained(response: ServerResponse): Promise<void> {
  if (response.writableLength === 0 || response.closed) return;
  await new Promise<void>((resolve) => {
    const over = () => {
      response.removeListener('drain', over).removeListener('close', over);
      resolve();
    };
    response.once('drain', over).once('close', over);
  });
}
