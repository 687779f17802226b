import { randomInt } from 'node:crypto';
import type { Topics } from '@brink/protocol';
import {
  type ChildMetrics,
  type Clock,
  type LinkMetrics,
  type LinkPeer,
  type Logger,
  type Registry,
  wait,
} from '@brink/runtime';
import type { GatewayConfig } from './config.ts';
import { Dispatch } from './decide/dispatch.ts';
import { createDecodePool } from './decode/pool.ts';
import { createAdmission } from './ingest/admission.ts';
import { createDiscovered } from './ingest/discovered.ts';
import type { Frame } from './ingest/frame.ts';
import { createIngest } from './ingest/ingest.ts';
import type { PipelinePlan, SitePlan } from './ingest/plan.ts';
import { createSources, type Sources } from './ingest/sources.ts';
import { createMetrics, type GatewayMetrics } from './metrics.ts';
import { createModels } from './models/models.ts';
import { createCounts } from './outcomes/counts.ts';
import { createEndings } from './outcomes/endings.ts';
import { createDeadLetters } from './outcomes/letters.ts';
import { Outbox } from './outcomes/outbox.ts';

const DISCOVERED_MAX = 100;
/** Longer than any run may take and its queue in front of it: what has no answer by then has no answer. */
const DECIDE_TIMEOUT_MS = 30_000;
const LETTERS = { burst: 20, perSecond: 1 };
const BATCHES = {
  lettersMax: 1000,
  batchRowsMax: 256,
  batchBytesMax: 1024 * 1024,
  batchesInFlightMax: 4,
  timeoutMs: 10_000,
};

export interface DataPathDeps {
  logger: Logger;
  clock: Clock;
  random: () => number;
  registry: Registry;
  childMetrics: ChildMetrics;
  linkMetrics: LinkMetrics;
  inference: LinkPeer['request'];
  control: LinkPeer['request'];
  /** For tests: another module in place of the decoder. */
  module?: string;
}

/**
 * Everything between a message and an outcome, in the order of the data:
 * ingest → admission → (decode pool) → dispatch → inference → outbox → control.
 */
export function createDataPath(config: GatewayConfig & { topics: Topics }, d: DataPathDeps) {
  const counts = createCounts();
  const admission = createAdmission({ counts, onUnitDropped: (reason) => metrics.unitsDropped.inc({ reason }) });
  const sources = createSources(config, { counts, admission });
  const discovered = createDiscovered({ entriesMax: DISCOVERED_MAX });
  const outbox = new Outbox(
    { ...config.outcomes, ...BATCHES },
    { ...d, request: d.control, onLetterDropped: () => metrics.lettersDropped.inc({ reason: 'no_room' }) },
  );
  const letters = createDeadLetters(LETTERS, {
    outbox,
    onSuppressed: () => metrics.lettersDropped.inc({ reason: 'rate' }),
  });
  const models = createModels(config, { ...d, onChange: (name) => dispatch.modelChanged(name) });
  const pool = createDecodePool(
    { ...config.decode, instance: config.instance },
    { ...d, onRoom: () => dispatch.roomInPool() },
  );
  const endings = createEndings(config, { clock: d.clock, counts, outbox, metrics: () => metrics });
  const dispatch = new Dispatch(
    { decideTimeoutMs: DECIDE_TIMEOUT_MS },
    {
      clock: d.clock,
      admission,
      models,
      pool,
      request: d.inference,
      pipelinesWaiting: (frame) => pipelinesWaiting(sources, frame),
      onEnd: endings.ended,
      onAttempt: (stage) => metrics.attempts.inc({ stage }),
      onDecide: (units) => metrics.sent(units),
    },
  );
  const ingest = createIngest(
    { boot: `g${startId()}`, topics: config.topics },
    {
      clock: d.clock,
      counts,
      sources,
      admission,
      discovered,
      letters,
      onRejected: (code) => metrics.rejected.inc({ code }),
      onOffered: (frame) => dispatch.offered(frame),
    },
  );
  const metrics: GatewayMetrics = createMetrics(d.registry, { counts, admission, dispatch, outbox, discovered });
  return { counts, admission, sources, discovered, outbox, models, pool, endings, dispatch, ingest };
}

export type DataPath = ReturnType<typeof createDataPath>;

/** A new configuration, from this very moment on. */
export function applyPlan({ sources, discovered, models }: DataPath, plan: SitePlan): void {
  sources.apply(plan);
  discovered.forget((device, stream) => typeof sources.find(device, stream) === 'object');
  void models.learnVersions(modelsOf(plan));
}

/** Why it cannot do its work, apart from its connections. */
export function problemsOf({ pool, models, sources }: DataPath): string[] {
  return [pool.problem, ...models.problemsOf(modelsOf(sources.plan))].filter((problem) => problem !== undefined);
}

/**
 * The end: what was accepted goes on as long as somebody is there to take it, up to the limits; the rest is dropped and
 * counted.
 */
export async function finish(
  { admission, dispatch, sources, endings, models, outbox }: DataPath,
  o: { unitsMs: number; outcomesMs: number; inferenceUp(): boolean; controlUp(): boolean },
  clock: Clock,
): Promise<void> {
  const limit = clock.monotonic() + o.unitsMs;
  const busy = () => admission.waiting + dispatch.inFlight > 0;
  while (busy() && o.inferenceUp() && clock.monotonic() < limit) await wait(10, clock);
  sources.abandonAll();
  for (const unit of dispatch.stop()) endings.dropped(unit, 'stopped');
  models.stop();
  if (o.controlUp()) await outbox.drained(AbortSignal.timeout(o.outcomesMs));
  outbox.stop();
}

function pipelinesWaiting(sources: Sources, frame: Frame): PipelinePlan[] {
  const source = sources.find(frame.id.device, frame.id.stream);
  if (typeof source === 'string') return [];
  return source.lanes.filter((lane) => lane.frame === frame).map((lane) => lane.pipeline);
}

function modelsOf(plan: SitePlan): Set<string> {
  return new Set([...plan.streams.values()].flatMap((stream) => stream.pipelines.map((pipeline) => pipeline.model)));
}

/** Eight characters that no other start of this gateway is likely to have. */
function startId(): string {
  return Array.from({ length: 8 }, () => randomInt(36).toString(36)).join('');
}
