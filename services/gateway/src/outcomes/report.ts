import type { GatewayReport } from '@brink/protocol';
import type { Clock, LinkClient } from '@brink/runtime';
import type { DiscoveredStreams } from '../ingest/discovered.ts';
import type { Counts } from './counts.ts';

const REPORT_TIMEOUT_MS = 5000;

/** Both laws and the discovered streams, told to control about once a second. One report at a time. */
export function createReporter(
  config: { instance: string },
  d: { counts: Counts; discovered: DiscoveredStreams; clock: Clock; control: Pick<LinkClient, 'peer' | 'request'> },
) {
  let sending: Promise<unknown> | undefined;

  function send(): Promise<unknown> {
    const report: GatewayReport = {
      instance: config.instance,
      at_ms: d.clock.now(),
      ...d.counts.report(),
      discovered: d.discovered.report(),
    };
    const body = { case: 'report' as const, value: { json: JSON.stringify(report) } };
    return d.control.request(body, [], { timeoutMs: REPORT_TIMEOUT_MS }).catch(() => {});
  }

  return {
    report(): void {
      if (sending !== undefined || d.control.peer === undefined) return;
      sending = send().finally(() => {
        sending = undefined;
      });
    },
    /** The final numbers, on the way out. */
    async last(): Promise<void> {
      if (d.control.peer === undefined) return;
      await Promise.race([send(), new Promise((resolve) => d.clock.setTimeout(() => resolve(undefined), 500))]);
    },
  };
}

export type Reporter = ReturnType<typeof createReporter>;
