import { setTimeout as wait } from 'node:timers/promises';
import type { ActionRecord, Decision } from '@brink/protocol';
import type { Api } from './api.ts';
import type { ServerEvent } from './sse.ts';

/** What control tells over /v1/events; other kinds, which later versions may send, are left out. */
export type LiveEvent = { decision: Decision; action?: undefined } | { decision?: undefined; action: ActionRecord };

interface Following {
  readonly signal: AbortSignal;
  readonly seen: (event: LiveEvent) => void;
  /** With what narrows it down, as `/v1/events?device=cam-9`; default all. */
  readonly path?: string;
  /** The running number from which on decisions are wanted; default from now on. */
  readonly after?: number;
}

interface At {
  lastEventId?: string;
  connected: boolean;
}

const RECONNECT_MS = 500;

/**
 * Decisions and actions as they are committed, until the signal aborts. Comes back by itself, from the last event seen.
 * @param o.lost told once per lost connection; it may throw to give up, which the first connection of a person should
 */
export async function followEvents(
  api: Api,
  o: Following & { lost: (error: unknown, everConnected: boolean) => void },
): Promise<void> {
  const at: At = { connected: false, ...(o.after === undefined ? {} : { lastEventId: String(o.after) }) };
  while (!o.signal.aborted) {
    const error = await readEvents(api, o, at);
    if (o.signal.aborted) return;
    o.lost(error, at.connected);
    await wait(RECONNECT_MS, undefined, { signal: o.signal }).catch(() => {});
  }
}

/** One connection from its beginning to its end. @returns what ended it; undefined: the server closed it */
async function readEvents(api: Api, o: Following, at: At): Promise<unknown> {
  const { signal, path = '/v1/events' } = o;
  try {
    const from = at.lastEventId === undefined ? {} : { lastEventId: at.lastEventId };
    for await (const event of api.events(path, { signal, ...from })) {
      at.connected = true;
      // It read too slowly and lost some: from the last one that it has, control reads them from the ledger.
      if (event.event === 'lagged' && at.lastEventId !== undefined) return undefined;
      if (event.id !== undefined && event.id !== '') at.lastEventId = event.id;
      const live = liveEvent(event);
      if (live !== undefined) o.seen(live);
    }
    return undefined;
  } catch (error) {
    return error;
  }
}

function liveEvent({ event, data }: ServerEvent): LiveEvent | undefined {
  try {
    if (event === 'decision') return { decision: JSON.parse(data) as Decision };
    if (event === 'action') return { action: JSON.parse(data) as ActionRecord };
  } catch {
    // Half an event.
  }
  return undefined;
}
