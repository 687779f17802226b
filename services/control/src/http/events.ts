import type { ServerResponse } from 'node:http';
import { type ActionRecord, BrinkError } from '@brink/protocol';
import type { Clock, Logger, Timer } from '@brink/runtime';
import type { CommittedDecision, LedgerReads } from '../ledger/records.ts';
import type { Metrics } from '../metrics.ts';

const CLIENTS_MAX = 200;
/** A client for which more than this is queued loses events, and is told so when it reads again. */
const QUEUED_BYTES_MAX = 1024 * 1024;
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
}

interface Client {
  readonly response: ServerResponse;
  readonly filter: EventFilter;
  /** Decisions up to here were sent, or are none of the client's business. */
  cursor: number;
  missed: number;
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

  function send(client: Client, text: string): boolean {
    const { response } = client;
    if (response.writableLength > QUEUED_BYTES_MAX) {
      if (client.missed === 0) d.metrics.lagged.inc();
      client.missed += 1;
      return false;
    }
    if (client.missed > 0) {
      response.write(eventText('lagged', { missed: client.missed, last: client.cursor }));
      client.missed = 0;
    }
    response.write(text);
    return true;
  }

  function sendDecision(client: Client, { decision, json }: CommittedDecision): void {
    if (decision.n <= client.cursor || !matches(client.filter, decision)) return;
    if (send(client, `id: ${decision.n}\nevent: decision\ndata: ${json}\n\n`)) client.cursor = decision.n;
  }

  /** Reads to the client until it has all that is committed, then lets it listen to what comes. */
  async function replay(client: Client): Promise<void> {
    while (clients.has(client)) {
      const held: NonNullable<Client['held']> = { decisions: [], overflown: false };
      client.held = held;
      const { items } = await d.read().decisions({ ...client.filter, after: client.cursor, limit: REPLAY_PAGE });
      for (const decision of items) sendDecision(client, { decision, json: JSON.stringify(decision) });
      if (items.length < REPLAY_PAGE && !held.overflown) {
        client.held = undefined;
        for (const one of held.decisions) sendDecision(client, one);
        return;
      }
      await drained(client.response);
    }
  }

  function beat(): void {
    for (const client of clients)
      if (client.response.writableLength < QUEUED_BYTES_MAX) client.response.write(': beat\n\n');
    heartbeat = d.clock.setTimeout(beat, HEARTBEAT_MS);
  }

  function remove(client: Client): void {
    clients.delete(client);
    d.metrics.listeners.set(clients.size);
  }

  return {
    start: beat,
    stop(): void {
      if (heartbeat !== undefined) d.clock.clearTimeout(heartbeat);
      for (const client of clients) client.response.end();
      clients.clear();
    },
    /** @throws BrinkError E_BUSY */
    admit(): void {
      if (clients.size >= CLIENTS_MAX)
        throw new BrinkError('E_BUSY', `${clients.size} clients listen already, which is the limit`);
    },
    /** @param after the last number that the client has; undefined: only what comes from now on */
    add(response: ServerResponse, filter: EventFilter, after: number | undefined): void {
      const client: Client = { response, filter, cursor: after ?? 0, missed: 0, held: undefined };
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
      for (const client of clients) {
        for (const one of committed) {
          if (client.held === undefined) sendDecision(client, one);
          else if (client.held.decisions.length < HELD_MAX) client.held.decisions.push(one);
          else client.held.overflown = true;
        }
      }
    },
    action(record: ActionRecord): void {
      if (clients.size === 0) return;
      const text = eventText('action', record);
      for (const client of clients) {
        if (client.filter.device === undefined || record.target === client.filter.device) send(client, text);
      }
    },
  };
}

export type Events = ReturnType<typeof createEvents>;

const eventText = (event: string, data: unknown) => `event: ${event}\ndata: ${JSON.stringify(data)}\n\n`;

function matches(filter: EventFilter, decision: CommittedDecision['decision']): boolean {
  return (
    (filter.device === undefined || filter.device === decision.device) &&
    (filter.stream === undefined || filter.stream === decision.stream) &&
    (filter.pipeline === undefined || filter.pipeline === decision.pipeline)
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
