import type { ServerResponse } from 'node:http';
import type { ActionRecord, Decision } from '@brink/protocol';
import type { Clock, Logger, Timer } from '@brink/runtime';
import type { CommittedDecision, LedgerReads } from '../ledger/records.ts';
import type { Metrics } from '../metrics.ts';
import {
  createListeners,
  decisionBlock,
  drained,
  type EventFilter,
  eventBlock,
  type Held,
  hold,
  type Listener,
  wants,
} from './listeners.ts';

/** Well below the idle limit of connections here and in most proxies. */
const HEARTBEAT_MS = 5000;
const REPLAY_PAGE = 500;
const RECONNECT_MS = 1000;

/**
 * Server-sent events: `decision` with its running number as id, `action`, `lagged`. Decisions come straight from COMMIT;
 * after a reconnect with Last-Event-ID those in between are read from the ledger, without gap or repetition. Actions are
 * not repeated. https://html.spec.whatwg.org/multipage/server-sent-events.html
 */
export function createEvents(d: { clock: Clock; logger: Logger; metrics: Metrics; read: () => LedgerReads }) {
  const listeners = createListeners(d);
  const { all, offer, send } = listeners;
  let heartbeat: Timer | undefined;

  /** @returns false where the rest does not fit: it waits in the ledger until the listener has read */
  const readTo = (listener: Listener, items: readonly Decision[]): boolean =>
    items.every((decision) => {
      const block = () => decisionBlock(decision.n, JSON.stringify(decision));
      if (wants(listener, decision) && !offer(listener, block())) return false;
      listener.cursor = Math.max(listener.cursor, decision.n);
      return true;
    });

  function sendNow(listener: Listener, decision: Decision, block: () => Buffer): void {
    if (wants(listener, decision) && send(listener, block())) listener.cursor = decision.n;
  }

  /** Reads to the listener until it has all that is committed, then lets it hear what comes. */
  async function replay(listener: Listener): Promise<void> {
    while (all.has(listener)) {
      const held: Held = { decisions: [], overflown: false };
      listener.held = held;
      const { items } = await d.read().decisions({ ...listener.filter, after: listener.cursor, limit: REPLAY_PAGE });
      if (readTo(listener, items) && items.length < REPLAY_PAGE && !held.overflown) {
        listener.held = undefined;
        for (const { decision, json } of held.decisions)
          sendNow(listener, decision, () => decisionBlock(decision.n, json));
        return;
      }
      await drained(listener.response);
    }
  }

  function beat(): void {
    listeners.beat();
    heartbeat = d.clock.setTimeout(beat, HEARTBEAT_MS);
  }

  return {
    start: beat,
    stop(): void {
      if (heartbeat !== undefined) d.clock.clearTimeout(heartbeat);
      listeners.end();
    },
    /**
     * @param caller who wants to listen: its token, or its address
     * @throws BrinkError E_BUSY
     */
    admit: listeners.admit,
    /** @param after the last number that the client has; undefined: only what comes from now on */
    add(response: ServerResponse, caller: string, filter: EventFilter, after: number | undefined): void {
      const listener = listeners.add(response, caller, filter, after ?? 0);
      response.write(`retry: ${RECONNECT_MS}\n\n`);
      if (after === undefined) return;
      replay(listener).catch((error: unknown) => {
        d.logger.warn({ err: error }, 'events could not be repeated');
        response.end();
      });
    },
    decisions(committed: readonly CommittedDecision[]): void {
      for (const one of committed) {
        // Once for all that get it: a thousand waiting copies of a text are a thousand texts.
        let made: Buffer | undefined;
        const block = () => (made ??= decisionBlock(one.decision.n, one.json));
        for (const listener of all) {
          if (listener.held === undefined) sendNow(listener, one.decision, block);
          else hold(listener.held, one);
        }
      }
    },
    action(record: ActionRecord): void {
      if (all.size === 0) return;
      const block = eventBlock('action', record);
      for (const listener of all) {
        const { device } = listener.filter;
        if (device === undefined || record.target === device) send(listener, block);
      }
    },
  };
}

export type Events = ReturnType<typeof createEvents>;
