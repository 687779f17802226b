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
import { type Ending, outcomeJson, type Unit } from './decide/unit.ts';
import { createDecodePool } from './decode/pool.ts';
import { createAdmission, type UnitDropReason } from './ingest/admission.ts';
import { createDiscovered } from './ingest/discovered.ts';
import type { Frame } from './ingest/frame.ts';
import { createIngest } from './ingest/ingest.ts';
import type { PipelinePlan, SitePlan } from './ingest/plan.ts';
import { createSources } from './ingest/sources.ts';
import { createMetrics, type GatewayMetrics } from './metrics.ts';
import { createModels } from './models/models.ts';
import { type Counts, countSettled, createCounts } from './outcomes/counts.ts';
import { createDeadLetters } from './outcomes/letters.ts';
import { Outbox } from './outcomes/outbox.ts';

const DISCOVERED_MAX = 100;
/** Longer than any run may take and its queue in front of it: what has no answer by then has no answer. */
const DECIDE_TIMEOUT_MS = 30_000;
const COMMIT_TIMEOUT_MS = 10_000;
const LETTERS = { burst: 20, perSecond: 1 };
const BATCHES = { lettersMax: 1000, batchRowsMax: 256, batchBytesMax: 1024 * 1024, batchesInFlightMax: 4 };

export interface DataPathDeps {
  logger: Logger;
  clock: Clock;
  random: () => number;
  registry: Registry;
  childMetrics: ChildMetrics;
  linkMetrics: LinkMetrics;
  inference: LinkPeer['request'];
  control: LinkPeer['request'];
}

/**
 * Everything between a message and an outcome, in the order of the data:
 * ingest → admission → (decode pool) → dispatch → inference → outbox → control.
 */
export function createDataPath(config: GatewayConfig & { topics: Topics }, d: DataPathDeps) {
  const { clock, logger, random } = d;
  const counts = createCounts();
  const admission = createAdmission({ counts, onUnitDropped: (reason) => metrics.unitsDropped.inc({ reason }) });
  const sources = createSources({ sourcesMax: config.sourcesMax }, { counts, admission });
  const discovered = createDiscovered({ entriesMax: DISCOVERED_MAX });
  const outbox = new Outbox(
    { ...config.outcomes, ...BATCHES, timeoutMs: COMMIT_TIMEOUT_MS },
    {
      request: d.control,
      clock,
      random,
      logger,
      onLetterDropped: () => metrics.lettersDropped.inc({ reason: 'no_room' }),
    },
  );
  const letters = createDeadLetters(LETTERS, {
    outbox,
    onSuppressed: () => metrics.lettersDropped.inc({ reason: 'rate' }),
  });
  const models = createModels(
    { modelsDir: config.modelsDir },
    { logger, clock, onChange: (name) => dispatch.modelChanged(name) },
  );
  const pool = createDecodePool(
    { ...config.decode, instance: config.instance },
    { ...d, onRoom: () => dispatch.roomInPool() },
  );
  const dispatch = new Dispatch(
    { decideTimeoutMs: DECIDE_TIMEOUT_MS },
    {
      clock,
      admission,
      models,
      pool,
      request: d.inference,
      pipelinesWaiting: (frame) => waitingFor(sources.find(frame.id.device, frame.id.stream), frame),
      onEnd,
      onAttempt: (stage) => metrics.attempts.inc({ stage }),
      onDecide(units) {
        metrics.decides.inc();
        metrics.decidedUnits.inc(units);
      },
    },
  );
  const ingest = createIngest(
    { boot: `g${startId()}`, topics: config.topics, instance: config.instance },
    {
      clock,
      counts,
      sources,
      admission,
      discovered,
      letters,
      onRejected: (code) => metrics.rejected.inc({ code }),
      onOffered: (frame) => dispatch.offered(frame),
    },
  );
  const metrics: GatewayMetrics = createMetrics(d.registry, {
    counts,
    waiting: () => admission.waiting(),
    preparing: () => dispatch.preparing,
    ready: () => dispatch.ready,
    deciding: () => dispatch.deciding,
    outcomes: () => outbox,
    discovered: () => discovered,
  });

  function onEnd(unit: Unit, ending: Ending): void {
    const now = clock.monotonic();
    metrics.latency.observe(Math.max(0, now - unit.frame.receivedAt) / 1000);
    outbox.add(
      outcomeJson(unit, ending, now, config.instance),
      settler(unit.pipeline, unit.frame.onSettled, ending.outcome, counts, metrics),
    );
  }

  function dropped(unit: Unit, reason: UnitDropReason): void {
    settler(unit.pipeline, unit.frame.onSettled, 'dead', counts, metrics)(reason);
  }

  return {
    counts,
    ingest,
    pool,
    models,
    outbox,
    discovered,

    /** A new configuration, from this very moment on. */
    apply(plan: SitePlan): void {
      sources.apply(plan);
      discovered.forget((device, stream) => typeof sources.find(device, stream) === 'object');
      void models.learnVersions(modelsOf(plan));
    },

    problems: (): string[] => [
      ...(pool.problem === undefined ? [] : [pool.problem]),
      ...models.problemsOf(modelsOf(sources.plan)),
    ],

    start(): void {
      dispatch.start();
    },

    /**
     * What was accepted goes on to its end as long as somebody is there to take it, up to the limits; the rest is dropped
     * and counted.
     */
    async finish(o: {
      unitsMs: number;
      outcomesMs: number;
      inferenceUp(): boolean;
      controlUp(): boolean;
    }): Promise<void> {
      const limit = clock.monotonic() + o.unitsMs;
      while (admission.waiting() + dispatch.inFlight > 0 && o.inferenceUp() && clock.monotonic() < limit)
        await wait(10, clock);
      sources.abandonAll();
      for (const unit of dispatch.stop()) dropped(unit, 'stopped');
      models.stop();
      if (o.controlUp()) await outbox.drained(AbortSignal.timeout(o.outcomesMs));
      outbox.stop();
    },
  };
}

export type DataPath = ReturnType<typeof createDataPath>;

/**
 * What happens when a unit's outcome is committed, or is not going to be. Made here so that it keeps hold of nothing but
 * this: an outcome may wait for control for hours, and the frame must not wait with it.
 */
function settler(
  pipeline: PipelinePlan,
  onSettled: Frame['onSettled'],
  outcome: Ending['outcome'],
  counts: Counts,
  metrics: GatewayMetrics,
): (fate: 'committed' | UnitDropReason) => void {
  return (fate) => {
    countSettled(counts.units(pipeline.name), fate === 'committed' ? outcome : 'dropped');
    if (fate !== 'committed') metrics.unitsDropped.inc({ reason: fate });
    onSettled?.(pipeline, fate === 'committed' ? 'committed' : 'dropped');
  };
}

function waitingFor(source: ReturnType<ReturnType<typeof createSources>['find']>, frame: Frame): PipelinePlan[] {
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
