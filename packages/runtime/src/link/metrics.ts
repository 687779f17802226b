import type { BrinkError } from '@brink/protocol';
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
  const live = new Map<Tracked, { service: string; seen: LinkStats }>();
  const registers = [registry];
  const labelNames = ['peer'] as const;
  const counters = Object.fromEntries(
    Object.entries(TOTALS).map(([key, [name, help]]) => [key, new Counter({ name, help, labelNames, registers })]),
  ) as Record<keyof LinkStats, Counter<'peer'>>;
  const ended = new Counter({
    name: 'brink_link_refused_total',
    help: 'Connections that ended before both hellos',
    labelNames: ['code'],
    registers,
  });

  function fold(link: Tracked): void {
    const entry = live.get(link);
    if (entry === undefined) return;
    for (const key of Object.keys(counters) as (keyof LinkStats)[]) {
      const delta = link.stats[key] - entry.seen[key];
      if (delta > 0) counters[key].inc({ peer: entry.service }, delta);
    }
    entry.seen = { ...link.stats };
  }

  function gauge(name: string, help: string, read: (link: Tracked) => number): void {
    new Gauge({
      name,
      help,
      labelNames,
      registers,
      collect() {
        this.reset();
        for (const [link, { service }] of live) {
          fold(link);
          this.inc({ peer: service }, read(link));
        }
      },
    });
  }

  gauge('brink_link_up', 'Links that are up', () => 1);
  gauge('brink_link_in_flight', 'Requests to the peer that it has not answered', (link) => link.inFlight());
  gauge('brink_link_waiting', 'Requests that wait for the window of the peer', (link) => link.waiting());
  gauge('brink_link_running', 'Requests of the peer that are being handled', (link) => link.running());

  return {
    track(peer, link) {
      live.set(link, { service: peer.service, seen: createLinkStats() });
      return () => {
        fold(link);
        live.delete(link);
      };
    },
    refused: (error) => ended.inc({ code: error.code }),
  };
}
