import { BrinkError, type GatewayReport } from '@brink/protocol';
import type { Clock, LinkClient, Logger } from '@brink/runtime';
import type { DiscoveredStreams } from '../ingest/discovered.ts';
import type { Counts } from './counts.ts';

const REPORT_TIMEOUT_MS = 5000;
const LAST_REPORT_TIMEOUT_MS = 500;

/** Both laws and the discovered streams, told to control about once a second. One report at a time. */
export function createReporter(
  config: { instance: string },
  d: {
    counts: Counts;
    discovered: DiscoveredStreams;
    clock: Clock;
    logger: Logger;
    control: Pick<LinkClient, 'peer' | 'request'>;
  },
) {
  let sending: Promise<void> | undefined;
  let refused = false;

  async function send(timeoutMs: number): Promise<void> {
    const report: GatewayReport = {
      instance: config.instance,
      at_ms: d.clock.now(),
      ...d.counts.report(),
      discovered: d.discovered.report(),
    };
    const json = Buffer.from(JSON.stringify(report));
    try {
      await d.control.request({ case: 'report', value: {} }, [json], { timeoutMs });
      refused = false;
    } catch (reason) {
      const { code, detail, retryable } = BrinkError.from(reason);
      if (!retryable && !refused) d.logger.warn({ code, detail, bytes: json.byteLength }, 'control refused the report');
      refused = !retryable;
    }
  }

  return {
    report(): void {
      if (sending !== undefined || d.control.peer === undefined) return;
      sending = send(REPORT_TIMEOUT_MS).finally(() => {
        sending = undefined;
      });
    },
    /** The final numbers, on the way out. */
    async last(): Promise<void> {
      if (d.control.peer !== undefined) await send(LAST_REPORT_TIMEOUT_MS);
    },
  };
}

export type Reporter = ReturnType<typeof createReporter>;
