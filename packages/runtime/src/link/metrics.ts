import type { BrinkError } from '@brink/protocol/link';
import { Counter, Gauge, type Registry } from 'prom-client';
import type { PeerInfo } from './messages.ts';
import { createLinkStats, type LinkStats } from './stats.ts';

interface Tracked {
  stats: LinkStats;
  inFlight(): number;
  waiting(): number;
  running(): number;
}

export interface LinkMetrics {
  /** @returns to be called when the link is down */
  track(peer: PeerInfo, link: Tracked): () => void;
  /** A connection that ended before both hellos. */
  refused(error: BrinkError): void;
}

const TOTALS = {
  framesIn: ['brink_link_frames_received_total', 'Frames received over the link'],
  framesOut: ['brink_link_frames_sent_total', 'Frames sent over the link'],
  bytesIn: ['brink_link_received_bytes_total', 'Bytes received over the link'],
  bytesOut: ['brink_link_sent_bytes_total', 'Bytes sent over the link'],
  requestsIn: ['brink_link_requests_received_total', 'Requests received over the link'],
  requestsOut: ['brink_link_requests_sent_total', 'Requests sent over the link'],
  busy: ['brink_link_busy_total', 'Requests refused with E_BUSY because the queue to the peer was full'],
  timeouts: ['brink_link_timeouts_total', 'Requests that the peer did not answer in time'],
  failures: ['brink_link_failures_total', 'Requests of the peer that were answered with an error'],
  cancels: ['brink_link_cancels_total', 'Requests that the peer cancelled'],
} as const satisfies Record<keyof LinkStats, readonly [string, string]>;

/** Collected when they are read: the hot path only adds to plain numbers. One per registry. */
export function createLinkMetrics(registry: Registry): LinkMetrics {
  /** Links that are up, with what of their numbers is in the counters already. */
  const live = new Map<Tracked, { peer: string; seen: LinkStats }>();
  const registers = [registry];
  const counters = createCounters(registry, () => {
    for (const tracked of live.keys()) fold(tracked);
  });
  const refusals = new Counter({
    name: 'brink_link_refused_total',
    help: 'Connections that ended before both hellos',
    labelNames: ['code'],
    registers,
  });

  function fold(tracked: Tracked): void {
    const entry = live.get(tracked);
    if (entry === undefined) return;
    for (const [key, counter] of counters) {
      counter.inc({ peer: entry.peer }, tracked.stats[key] - entry.seen[key]);
    }
    entry.seen = { ...tracked.stats };
  }

  function gauge(name: string, help: string, read: (tracked: Tracked) => number): void {
    new Gauge({
      name,
      help,
      labelNames: ['peer'],
      registers,
      collect() {
        this.reset();
        for (const [tracked, { peer }] of live) this.inc({ peer }, read(tracked));
      },
    });
  }

  gauge('brink_link_up', 'Links that are up', () => 1);
  gauge('brink_link_in_flight', 'Requests to the peer that it has not answered', (tracked) => tracked.inFlight());
  gauge('brink_link_waiting', 'Requests that wait for the window of the peer', (tracked) => tracked.waiting());
  gauge('brink_link_running', 'Requests of the peer that are being handled', (tracked) => tracked.running());

  return {
    track(peer, tracked) {
      live.set(tracked, { peer: peer.service, seen: createLinkStats() });
      return () => {
        fold(tracked);
        live.delete(tracked);
      };
    },
    refused: (error) => refusals.inc({ code: error.code }),
  };
}

function createCounters(registry: Registry, collect: () => void): Map<keyof LinkStats, Counter<'peer'>> {
  const counters = new Map<keyof LinkStats, Counter<'peer'>>();
  for (const key of Object.keys(TOTALS) as (keyof LinkStats)[]) {
    const [name, help] = TOTALS[key];
    counters.set(key, new Counter({ name, help, labelNames: ['peer'], registers: [registry], collect }));
  }
  return counters;
}
