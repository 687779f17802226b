import { BrinkError, type GatewayReport, GatewayReportSchema, type PostedFrameAnswer } from '@brink/protocol';
import {
  type Clock,
  createLinkServer,
  type LinkAddress,
  type LinkHandlers,
  type LinkMetrics,
  type LinkPeer,
  type Logger,
  type Part,
} from '@brink/runtime';
import type { AskedRecording } from '../actions/kinds.ts';
import type { CommitResult, LedgerItem } from '../ledger/records.ts';
import type { Metrics } from '../metrics.ts';
import { createDrain, type Drain } from './drain.ts';
import { type RefusedOutcome, readOutcomes } from './outcomes.ts';

/** Requests of one gateway that are taken at once; each is a batch. */
const WINDOW = 32;
const FRAME_BYTES_MAX = 32 * 1024 * 1024;
const GATEWAYS_MAX = 100;
/** To write down what is in memory. */
const RECORD_MS_MAX = 5000;
/** To look through a folder of recordings. */
const FORGET_MS_MAX = 15_000;

export interface ReportedGateway {
  readonly report: GatewayReport;
  /** ms since 1970, when it came. */
  readonly at: number;
  readonly link: 'up' | 'down';
}

/** A frame's fate at the gateway: which units it made, and what became of them. */
export interface Posted extends Pick<PostedFrameAnswer, 'boot' | 'seq'> {
  readonly units: readonly { readonly id: string; readonly fate: string }[];
}

export interface Gateways extends Part {
  readonly address: LinkAddress;
  reports(): readonly ReportedGateway[];
  /** Names of the gateways whose link is up. */
  linked(): readonly string[];
  /**
   * Hands a frame to a gateway as if it had come over MQTT.
   * @throws BrinkError E_UNAVAILABLE without a gateway; else why the gateway refused it
   */
  post(frame: PostOptions, bytes: Uint8Array, signal: AbortSignal): Promise<Posted>;
  /**
   * Asks the gateway that keeps the stream for a recording; resolves when what it has is on disk.
   * @throws BrinkError E_UNAVAILABLE without a gateway; E_NOT_FOUND where none keeps anything of the stream
   */
  record(asked: AskedRecording): Promise<void>;
  /**
   * Has every gateway that is linked forget a device: its frames of the last seconds and its recordings.
   * @returns how many recordings went, and how many gateways that report are not linked and keep theirs
   */
  forget(device: string): Promise<{ recordings: number; absent: number }>;
}

interface PostOptions {
  readonly device: string;
  readonly stream: string;
  readonly contentType: string;
  readonly waitMs: number;
  /** W3C trace context with our span; empty: not traced. */
  readonly traceparent: string;
}

interface GatewayDeps {
  readonly logger: Logger;
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly linkMetrics: LinkMetrics;
  /** Resolves after COMMIT. */
  readonly commit: (items: readonly LedgerItem[]) => Promise<CommitResult>;
  readonly onReport: (report: GatewayReport) => void;
}

type Reports = Map<string, { report: GatewayReport; at: number }>;

/** Where gateways dial in: outcomes and reports up, frames that came over HTTP down. */
export function createGateways(
  o: { readonly instance: string; readonly listen: LinkAddress; readonly token?: string | undefined },
  d: GatewayDeps,
): Gateways {
  const reports: Reports = new Map();
  const drain = createDrain(d.clock);

  const handlers = createHandlers(d, reports, drain);
  const server = createLinkServer(
    {
      service: 'control',
      instance: o.instance,
      listen: o.listen,
      window: WINDOW,
      frameBytesMax: FRAME_BYTES_MAX,
      ...(o.token === undefined ? {} : { token: o.token }),
    },
    { handlers, logger: d.logger, clock: d.clock, metrics: d.linkMetrics },
  );

  const peers = (): LinkPeer[] => [...server.peers].filter(({ info }) => info.service === 'gateway');

  async function post(frame: PostOptions, bytes: Uint8Array, signal: AbortSignal): Promise<Posted> {
    const [peer] = peers();
    if (peer === undefined) throw new BrinkError('E_UNAVAILABLE', 'no gateway is linked; the frame was not taken');
    const value = { ...frame, boot: '', seq: 0n };
    const reply = await peer.request({ case: 'postFrame', value }, [bytes], { signal, timeoutMs: frame.waitMs + 5000 });
    if (reply.body.case !== 'postedFrame') {
      throw new BrinkError('E_LINK_PROTOCOL', `the gateway answered a frame with ${reply.body.case}`);
    }
    const { boot, seq, units } = reply.body.value;
    return { boot, seq: Number(seq), units: units.map(({ id, fate }) => ({ id, fate })) };
  }

  async function record({ atMs, ...asked }: AskedRecording): Promise<void> {
    let refusal = new BrinkError('E_UNAVAILABLE', 'no gateway is linked; nothing was recorded');
    for (const peer of peers()) {
      try {
        await peer.request({ case: 'record', value: { ...asked, atMs: BigInt(Math.round(atMs)) } }, [], {
          timeoutMs: RECORD_MS_MAX,
        });
        return;
      } catch (reason) {
        refusal = BrinkError.from(reason);
        if (refusal.code !== 'E_NOT_FOUND') throw refusal;
      }
    }
    throw refusal;
  }

  async function forget(device: string): Promise<{ recordings: number; absent: number }> {
    let recordings = 0;
    const linked = peers();
    for (const peer of linked) {
      const reply = await peer.request({ case: 'forget', value: { device } }, [], { timeoutMs: FORGET_MS_MAX });
      if (reply.body.case === 'forgotten') recordings += reply.body.value.recordings;
    }
    const names = new Set(linked.map(({ info }) => info.instance));
    return { recordings, absent: [...reports.keys()].filter((name) => !names.has(name)).length };
  }

  return {
    record,
    forget,
    get address() {
      return server.address;
    },
    reports() {
      const up = new Set(peers().map(({ info }) => info.instance));
      return [...reports].map(([name, { report, at }]) => ({ report, at, link: up.has(name) ? 'up' : 'down' }));
    },
    linked: () => peers().map(({ info }) => info.instance),
    post,
    start(signal) {
      drain.begin();
      return server.start(signal);
    },
    async stop() {
      await drain.end();
      await server.stop();
    },
  };
}

/** What gateways say, and what they are answered. */
function createHandlers(d: GatewayDeps, reports: Reports, drain: Drain): LinkHandlers {
  return {
    async outcomes(_, payloads) {
      drain.check();
      const { items, refused } = readOutcomes(payloads);
      noteRefused(d, refused);
      const { inserted, duplicates } =
        items.length === 0 ? { inserted: 0, duplicates: 0 } : await drain.through(d.commit(items));
      d.metrics.outcomes.labels('inserted').inc(inserted);
      d.metrics.outcomes.labels('duplicate').inc(duplicates);
      const failures = refused.map(({ index, error }) => ({
        index,
        failure: { code: error.code, detail: error.detail },
      }));
      return { body: { case: 'committed', value: { count: items.length, refused: failures } } };
    },
    async report(_, [payload]) {
      const parsed = GatewayReportSchema.safeParse(JSON.parse(String(payload ?? 'null')));
      if (!parsed.success) {
        d.metrics.reports.labels('refused').inc();
        throw new BrinkError('E_BAD_REQUEST', `a report whose ${parsed.error.issues[0]?.path.join('.')} is wrong`);
      }
      const { instance } = parsed.data;
      if (!reports.has(instance) && reports.size >= GATEWAYS_MAX) {
        throw new BrinkError('E_BUSY', `more than ${GATEWAYS_MAX} gateways report`);
      }
      reports.set(instance, { report: parsed.data, at: d.clock.now() });
      d.metrics.reports.labels('taken').inc();
      d.onReport(parsed.data);
      return { body: { case: 'done', value: {} } };
    },
  };
}

function noteRefused(d: { metrics: Metrics; logger: Logger }, refused: readonly RefusedOutcome[]): void {
  for (const { error } of refused) d.metrics.outcomesRefused.labels(error.code).inc();
  const [first] = refused;
  if (first === undefined) return;
  d.metrics.outcomes.labels('refused').inc(refused.length);
  d.logger.error({ count: refused.length, detail: first.error.detail }, 'outcomes refused');
}
