import { randomInt } from 'node:crypto';
import { type ErrorCode, misfitOf, type Topics } from '@brink/protocol';
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
import { createForeignTopics } from './ingest/foreign.ts';
import type { Frame } from './ingest/frame.ts';
import { createIngest } from './ingest/ingest.ts';
import type { PipelinePlan, SitePlan } from './ingest/plan.ts';
import { createRefusals } from './ingest/refusals.ts';
import { createSources, type Sources } from './ingest/sources.ts';
import { createKeeping } from './keep/keeping.ts';
import { whyNoMask } from './mask/faces.ts';
import { createMetrics, type GatewayMetrics } from './metrics.ts';
import { createModels, type Models } from './models/models.ts';
import { type Counts, countDrop, createCounts, type OnUnfinished, type UnitDropReason } from './outcomes/counts.ts';
import { createEndings } from './outcomes/endings.ts';
import { createDeadLetters } from './outcomes/letters.ts';
import { Outbox } from './outcomes/outbox.ts';
import { Backlog } from './spool/backlog.ts';
import { type Gate, Intake } from './spool/intake.ts';
import { createReceipts } from './spool/receipts.ts';
import { Spool, type SpoolWorker } from './spool/spool.ts';
import { createWindows } from './window/windows.ts';

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
  /** A receipt on its way to a device. */
  publish(topic: string, payload: string): void;
  /** What comes of a durable stream, and what does not. */
  gate: Gate;
  failpoint(name: string): void;
  /** For tests: another module in place of the decoder. */
  module?: string;
  /** For tests: another module in place of the spool's thread. */
  spoolWorker?: SpoolWorker;
}

/**
 * Everything between a message and an outcome, in the order of the data:
 * ingest → (spool) → admission → (decode pool) → dispatch → inference → outbox → control.
 */
export function createDataPath(config: GatewayConfig & { topics: Topics }, d: DataPathDeps) {
  const counts = createCounts();
  const onDropped = dropsInto(counts, () => metrics);
  const admission = createAdmission({ counts, onUnitDropped: onDropped });
  const sources = createSources(config, { counts, admission });
  const discovered = createDiscovered(
    { entriesMax: DISCOVERED_MAX },
    { devicesOf: (stream) => sources.plan.streams.get(stream)?.devices, models: () => models.all() },
  );
  const foreign = createForeignTopics({ root: config.topics.root });
  const outbox = new Outbox(
    { ...config.outcomes, ...BATCHES },
    { ...d, request: d.control, onLetterDropped: () => metrics.lettersDropped.inc({ reason: 'no_room' }) },
  );
  const onSuppressed = () => metrics.lettersDropped.inc({ reason: 'rate' });
  const letters = createDeadLetters(LETTERS, { outbox, onSuppressed });
  const spool = new Spool(
    { folder: config.dataDir, worker: d.spoolWorker },
    {
      clock: d.clock,
      onCommit: (changes, ms) => metrics.committed(changes, ms),
      onRestart: () => metrics.spoolRestarts.inc(),
    },
  );
  const onRejected = (code: ErrorCode) => metrics.rejected.inc({ code });
  const refusals = createRefusals({ clock: d.clock, counts, discovered, foreign, letters, onRejected });
  const modelChanged = (name: string) => {
    backlog.modelChanged(name);
    dispatch.modelChanged(name);
  };
  const models = createModels(config, { ...d, onChange: modelChanged });
  const windows = createWindows(config.windows, { models, admission, onUnseen: () => metrics.unseen.inc() });
  const backlog = new Backlog(config.spool, {
    ...{ spool, clock: d.clock, counts, admission, sources, windows, models, failpoint: d.failpoint },
    onOffered: (frame) => offered(frame),
    onDropped,
    onUnfinished: unfinishedInto(counts, () => metrics),
    onRoom: (stream) => intake.roomed(stream),
  });
  const boot = `g${startId()}`;
  const intake = new Intake(
    { boot },
    {
      ...{ clock: d.clock, spool, counts, backlog, refusals, failpoint: d.failpoint },
      receipt: createReceipts(config, { publish: d.publish, onSent: () => metrics.receipts.inc() }),
      onRejected,
      onDropped,
      gate: d.gate,
    },
  );
  const pool = createDecodePool({ ...config.decode, instance: config.instance }, { ...d, onRoom: () => roomInPool() });
  const keeping = createKeeping(config, { ...d, pool, models, sources, request: d.inference });
  const { secrets, masking, keeper, recorder } = keeping;
  const roomInPool = (): void => {
    dispatch.roomInPool();
    keeper.idle();
  };
  const offered = (frame: Frame): void => {
    keeper.offered(frame);
    dispatch.offered(frame);
    keeper.idle();
  };
  const endings = createEndings(config, { ...d, counts, outbox, backlog, onDropped, metrics: () => metrics });
  const dispatch = new Dispatch(
    { decideTimeoutMs: DECIDE_TIMEOUT_MS },
    {
      clock: d.clock,
      admission,
      ...{ models, pool, masking, keeper },
      request: d.inference,
      pipelinesWaiting: (frame) => pipelinesWaiting(sources, frame),
      onEnd: endings.ended,
      onMiscut: endings.miscut,
      onAttempt: (stage) => metrics.attempts.inc({ stage }),
      onDecide: (units) => metrics.sent(units),
      beforeTry: (units) => backlog.beforeTry(units),
      notTried: (unit) => backlog.notTried(unit),
    },
  );
  const ingest = createIngest(
    { boot, topics: config.topics },
    {
      ...{ clock: d.clock, random: d.random, counts, foreign, refusals, sources, intake, admission, windows },
      onOffered: offered,
    },
  );
  const metrics: GatewayMetrics = createMetrics(d.registry, {
    ...{ clock: d.clock, counts, admission, dispatch, outbox, discovered, foreign, backlog, intake, windows },
  });
  return {
    ...{ counts, admission, sources, spool, backlog, intake, discovered, foreign, outbox, models, pool },
    ...{ endings, dispatch, ingest, windows, secrets, keeper, recorder },
  };
}

/** Counts why, by reason and by device and stream. */
function dropsInto(counts: Counts, metrics: () => GatewayMetrics) {
  return (reason: UnitDropReason, { device, stream }: { device: string; stream: string }): void => {
    metrics().unitsDropped.inc({ reason });
    countDrop(counts.frames(device, stream), reason);
  };
}

/** The same for samples that are given up. */
function unfinishedInto(counts: Counts, metrics: () => GatewayMetrics): OnUnfinished {
  return (reason, { device, stream }, frames) => {
    metrics().unfinished.inc({ reason }, frames);
    countDrop(counts.frames(device, stream), reason, frames);
  };
}

export type DataPath = ReturnType<typeof createDataPath>;

/** A new configuration, from this very moment on. */
export function applyPlan(path: DataPath, plan: SitePlan): void {
  const { sources, discovered, models, backlog, intake, keeper, recorder } = path;
  const changed = otherwise(sources.plan, plan);
  sources.apply(plan);
  keeper.forget(changed);
  recorder.forget(changed);
  backlog.apply(plan);
  intake.apply(plan);
  discovered.forget((device, stream) => typeof sources.find(device, stream) === 'object');
  void models.want(new Map([...modelsOf(plan)].map((name) => [name, plan.serve.get(name)])));
}

/** What the last process left in the spool. To be called before frames come in. @returns every stream that ever had a frame in it */
export async function openSpool({ spool, backlog, intake }: DataPath): Promise<Set<string>> {
  const contents = await spool.open();
  backlog.restore(contents);
  intake.restore(contents);
  return new Set(contents.counters.map(({ stream }) => stream));
}

/** Why it cannot do its work, apart from its connections. */
export function problemsOf({ pool, models, sources, spool, backlog, intake, outbox }: DataPath): string[] {
  // Where the disk takes nothing, nothing is taken of any stream: the spool says why.
  const waits = (stream: string) => spool.problem === undefined && intake.waits(stream);
  const full = [...backlog.streams()].filter((of) => of.full || waits(of.stream));
  const spoolProblems = full.map(
    ({ stream, rows, bytes }) => `spool: stream ${stream} is full (${rows} frames, ${bytes} bytes)`,
  );
  const modelProblems = [...models.problemsOf(modelsOf(sources.plan)), ...misfits(sources.plan, models)];
  const all = [pool.problem, spool.problem, outbox.problem, ...spoolProblems, ...modelProblems];
  return all.filter((problem) => problem !== undefined);
}

/**
 * The end: what was accepted goes on as long as somebody is there to take it, up to the limits; the rest is dropped and
 * counted, but for what is in the spool: the next process goes on with it.
 */
export async function finish(
  { keeper, recorder, admission, dispatch, sources, endings, models, outbox, backlog, intake, spool }: DataPath,
  o: { unitsMs: number; outcomesMs: number; inferenceUp(): boolean; controlUp(): boolean },
  clock: Clock,
): Promise<void> {
  const limit = clock.monotonic() + o.unitsMs;
  const busy = () => admission.waiting + dispatch.inFlight > 0;
  while (busy() && o.inferenceUp() && clock.monotonic() < limit) await wait(10, clock);
  await recorder.stop();
  keeper.stop();
  sources.abandonAll();
  for (const unit of dispatch.stop()) endings.dropped(unit, 'stopped');
  models.stop();
  if (o.controlUp()) await outbox.drained(AbortSignal.timeout(o.outcomesMs));
  outbox.stop();
  backlog.stop();
  intake.stop();
  await spool.close();
}

function pipelinesWaiting(sources: Sources, frame: Frame): PipelinePlan[] {
  const source = sources.find(frame.id.device, frame.id.stream);
  if (typeof source === 'string') return [];
  return source.lanes.filter(({ waiting: [head] }) => head?.frame === frame).map((lane) => lane.pipeline);
}

/** Pipelines whose stream cannot feed their model, and masks whose detector cannot mask. */
function misfits(plan: SitePlan, models: Models): string[] {
  return [...plan.streams.values()].flatMap(({ name, brings, mask, pipelines }) => {
    const detector = mask?.faces === undefined ? undefined : models.current(mask.faces.model);
    const blind = mask?.faces && detector && whyNoMask(detector, mask.faces);
    const unfed = pipelines.flatMap(({ name: pipeline, model }) => {
      const current = models.current(model);
      const why = current === undefined ? undefined : misfitOf(brings, current.needs);
      return why === undefined ? [] : [`stream ${name}, pipeline ${pipeline}: ${model}@${current?.version}: ${why}`];
    });
    return [...(blind === undefined ? [] : [`stream ${name}, mask: ${blind}; none of its pictures goes on`]), ...unfed];
  });
}

/** Of the pipelines and of the masks. */
function modelsOf(plan: SitePlan): Set<string> {
  const models = [...plan.streams.values()].flatMap(({ pipelines, mask }) => [
    ...pipelines.map(({ model }) => model),
    ...(mask?.faces === undefined ? [] : [mask.faces.model]),
  ]);
  return new Set(models);
}

/** Streams of which nothing may stay in memory: what is kept of them was masked in another way. */
function otherwise(before: SitePlan, after: SitePlan): string[] {
  const changed = [...before.streams].filter(([name, { mask, format }]) => {
    const now = after.streams.get(name);
    return now === undefined || now.format !== format || JSON.stringify(now.mask) !== JSON.stringify(mask);
  });
  return changed.map(([name]) => name);
}

/** Eight characters that no other start of this gateway is likely to have. */
function startId(): string {
  return Array.from({ length: 8 }, () => randomInt(36).toString(36)).join('');
}
