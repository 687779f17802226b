import { setTimeout as wait } from 'node:timers/promises';
import type { ActionRecord, Decision } from '@brink/protocol';
import type { Api } from './api.ts';
import type { ServerEvent } from './sse.ts';

/** What control tells over /v1/events; other kinds, which later versions may send, are left out. */
export type LiveEvent = { decision: Decision; action?: undefined } | { decision?: undefined; action: ActionRecord };

const RECONNECT_MS = 500;

/**
 * Decisions and actions as they are committed, until the signal aborts. Comes back by itself, from the last event seen.
 * @param o.lost told once per lost connection; it may throw to give up, which the first connection of a person should
 */
export async function followEvents(
  api: Api,
  o: { signal: AbortSignal; seen: (event: LiveEvent) => void; lost: (error: unknown, everConnected: boolean) => void },
): Promise<void> {
  const at: { lastEventId?: string; connected: boolean } = { connected: false };
  while (!o.signal.aborted) {
    const error = await readEvents(api, o, at);
    if (o.signal.aborted) return;
    o.lost(error, at.connected);
    await wait(RECONNECT_MS, undefined, { signal: o.signal }).catch(() => {});
  }
}

/** One connection from its beginning to its end. @returns what ended it; undefined: the server closed it */
async function readEvents(
  api: Api,
  o: { signal: AbortSignal; seen: (event: LiveEvent) => void },
  at: { lastEventId?: string; connected: boolean },
): Promise<unknown> {
  const { signal } = o;
  try {
    const from = at.lastEventId === undefined ? {} : { lastEventId: at.lastEventId };
    for await (const event of api.events('/v1/events', { signal, ...from })) {
      at.connected = true;
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
