import type { ServerResponse } from 'node:http';
import { BrinkError, type Decision } from '@brink/protocol';
import type { Clock } from '@brink/runtime';
import type { CommittedDecision } from '../ledger/records.ts';
import type { Metrics } from '../metrics.ts';

const LISTENERS_MAX = 200;
/** Of one token, or of one address where there is none: half, so that nobody alone takes all places. */
const LISTENERS_OF_CALLER_MAX = 100;
/** A listener for which more than this is queued loses events, and is told so when it reads again. */
const QUEUED_BYTES_MAX = 1024 * 1024;
/** For all of them together: each gets a like share, once there are more than 64. */
const QUEUED_BYTES_ALL_MAX = 64 * 1024 * 1024;
/** One that has read nothing for so long is sent away; it comes back where it stopped, by Last-Event-ID. */
const LAGGED_MS_MAX = 60_000;
/** Decisions that are held for a listener while it is read to from the ledger. */
const HELD_MAX = 1000;

export interface EventFilter {
  readonly device?: string | undefined;
  readonly stream?: string | undefined;
  readonly pipeline?: string | undefined;
  readonly label?: string | undefined;
  readonly score_min?: number | undefined;
  readonly outcome?: Decision['outcome'] | undefined;
}

export interface Held {
  readonly decisions: CommittedDecision[];
  overflown: boolean;
}

export interface Listener {
  readonly response: ServerResponse;
  readonly filter: EventFilter;
  /** Its token, or its address. */
  readonly caller: string;
  /** Decisions up to here were sent, or are none of its business. */
  cursor: number;
  missed: number;
  /** When the first of those that it misses was lost; monotonic. */
  laggedMs: number;
  /** Set while it is read to from the ledger: what was committed meanwhile. */
  held: Held | undefined;
}

/** Who listens, and how much may wait for each. */
export function createListeners(d: { clock: Clock; metrics: Metrics }) {
  const all = new Set<Listener>();

  const queuedMax = () => Math.min(QUEUED_BYTES_MAX, QUEUED_BYTES_ALL_MAX / Math.max(1, all.size));

  /** @returns false where it has too much to read already */
  function offer({ response }: Listener, block: Buffer): boolean {
    if (response.writableLength > queuedMax()) return false;
    response.write(block);
    return true;
  }

  /** What happens now: it is lost where the listener does not read, and the listener is told so. */
  function send(listener: Listener, block: Buffer): boolean {
    const { missed, cursor } = listener;
    const told = missed === 0 || offer(listener, eventBlock('lagged', { missed, last: cursor }));
    if (told && offer(listener, block)) {
      listener.missed = 0;
      return true;
    }
    if (missed === 0) {
      d.metrics.lagged.inc();
      listener.laggedMs = d.clock.monotonic();
    }
    listener.missed += 1;
    return false;
  }

  function remove(listener: Listener): void {
    all.delete(listener);
    d.metrics.listeners.set(all.size);
  }

  /** One that does not read gives its place to one that may: the one that has not for longest. */
  function makeRoom(among: (listener: Listener) => boolean): boolean {
    const stalled = [...all].filter((listener) => listener.missed > 0 && among(listener));
    const [first] = stalled.sort((a, b) => a.laggedMs - b.laggedMs);
    if (first === undefined) return false;
    remove(first);
    first.response.destroy();
    return true;
  }

  return {
    all: all as ReadonlySet<Listener>,
    offer,
    send,
    /** @throws BrinkError E_BUSY */
    admit(caller: string): void {
      const own = [...all].filter((listener) => listener.caller === caller).length;
      if (own >= LISTENERS_OF_CALLER_MAX && !makeRoom((listener) => listener.caller === caller))
        throw new BrinkError(
          'E_BUSY',
          `${own} clients of the same token or address listen already, which is the limit`,
        );
      if (all.size >= LISTENERS_MAX && !makeRoom(() => true))
        throw new BrinkError('E_BUSY', `${all.size} clients listen already, which is the limit`);
    },
    add(response: ServerResponse, caller: string, filter: EventFilter, cursor: number): Listener {
      const listener = { response, caller, filter, cursor, missed: 0, laggedMs: 0, held: undefined };
      all.add(listener);
      d.metrics.listeners.set(all.size);
      response.once('close', () => remove(listener));
      return listener;
    },
    beat(): void {
      const late = d.clock.monotonic() - LAGGED_MS_MAX;
      for (const { missed, laggedMs, response } of all) {
        if (missed > 0 && laggedMs < late) response.destroy();
        else if (response.writableLength === 0) response.write(': beat\n\n');
      }
    },
    end(): void {
      for (const { response } of all) response.end();
      all.clear();
    },
  };
}

export const eventBlock = (event: string, data: unknown) =>
  Buffer.from(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
export const decisionBlock = (n: number, json: string) => Buffer.from(`id: ${n}\nevent: decision\ndata: ${json}\n\n`);

export function hold(held: Held, one: CommittedDecision): void {
  if (held.decisions.length < HELD_MAX) held.decisions.push(one);
  else held.overflown = true;
}

/** Whether it is new to the listener and what it asked for. */
export function wants({ cursor, filter }: Listener, decision: Decision): boolean {
  const { device, stream, pipeline, label, score_min, outcome } = filter;
  const given = { device, stream, pipeline, label, outcome };
  return (
    decision.n > cursor &&
    (score_min === undefined || (decision.score ?? -1) >= score_min) &&
    (Object.keys(given) as (keyof typeof given)[]).every(
      (key) => given[key] === undefined || given[key] === decision[key],
    )
  );
}

export async function drained(response: ServerResponse): Promise<void> {
  if (response.writableLength === 0 || response.closed) return;
  await new Promise<void>((resolve) => {
    const over = () => {
      response.removeListener('drain', over).removeListener('close', over);
      resolve();
    };
    response.once('drain', over).once('close', over);
  });
}
