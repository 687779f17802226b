import { BrinkError, type ModelPolicy } from '@brink/protocol';
import { type ChildMetrics, type Clock, type LinkMetrics, type Logger, wait } from '@brink/runtime';
import { type Metrics, metricsOf } from '../metrics.ts';
import type { RunnerProcess } from '../runner/process.ts';
import type { BatchRunner, Lane } from '../scheduler/lane.ts';
import type { Scheduler } from '../scheduler/scheduler.ts';
import { createCopies } from './copies.ts';
import type { DerivedGraphs } from './derived.ts';
import { isBare, readPassport, stampOf, type VersionFolder } from './folder.ts';
import { testGolden } from './golden.ts';
import { withNative } from './native.ts';
import { changedMeanwhile, type Knowledge, type Preparation, prepare, prepareBare, readNative } from './preparation.ts';
import { createStatus, type Status, type VersionStatus } from './status.ts';
import { measureBatches, warmUp } from './warmup.ts';

/** A version that takes units, or without a passport only requests of the Open Inference Protocol. */
export interface LoadedModel extends Knowledge {
  readonly lane: Lane;
}

/** How long a version that is retired may take to answer what waits for it, and how often that is looked at. */
const RETIRE_MS_MAX = 30_000;
const RETIRE_LOOK_MS = 20;

/** One version of a model, from its folder to its runners. */
export interface ModelVersion {
  readonly name: string;
  readonly version: number;
  /** As it is now: the same object, kept up to date. */
  readonly status: VersionStatus;
  /** @throws BrinkError E_MODEL_NOT_READY, saying in which state it is and why */
  ready(): LoadedModel;
  setPolicy(policy: ModelPolicy): void;
  /** Loads, warms up, tests. Resolves when it is ready or failed; never rejects for what is wrong with the model. */
  start(signal: AbortSignal): Promise<void>;
  /**
   * Its files were written again. It serves what it loaded; where that is not what is there now, its note says so.
   * @returns whether it is
   */
  recheck(): Promise<boolean>;
  /** What is to be known about it although it serves; '' takes it back. */
  note(about: string, text: string): void;
  /** Takes no more units, answers those that it has, and stops. @param signal: stops at once */
  retire(signal: AbortSignal): Promise<void>;
  stop(): Promise<void>;
}

export interface VersionDependencies {
  readonly logger: Logger;
  readonly clock: Clock;
  readonly random: () => number;
  readonly metrics: Metrics;
  readonly childMetrics: ChildMetrics;
  readonly linkMetrics: LinkMetrics;
  readonly scheduler: Scheduler;
  readonly derived: DerivedGraphs;
  /** Runs it when nobody else measures: two on the same cores would both look slow. */
  readonly measuring: <T>(work: () => Promise<T>) => Promise<T>;
  /** The state changed. */
  readonly changed: () => void;
}

/** @param o emptyFolder: where the runners run; runSlots: as many runners as a model gets that takes one unit at a time */
export function createModelVersion(
  o: { folder: VersionFolder; policy: ModelPolicy; emptyFolder: string; runSlots: number },
  d: VersionDependencies,
): ModelVersion {
  const { folder } = o;
  const { name, version } = folder;
  const title = `${name} ${version}`;
  const logger = d.logger.child({ model: name, model_version: version });
  let policy = o.policy;
  const status = createStatus(d.changed);
  let model: LoadedModel | undefined;
  let prepared: Preparation | undefined;
  let single = false;
  let stopped = false;

  const copies = createCopies(
    { name: `runner-${name}-${version}`, cwd: o.emptyFolder },
    {
      ...d,
      logger,
      wanted: () => ({ count: policy.copies ?? (single ? o.runSlots : 1), policy }),
      bringUp,
      opened(runner, { pid }) {
        const { provider, fallback, batchBest } = status.now;
        model?.lane.open(runner, batchBest, { pid, provider, fallback });
        status.set({ copies: copies.open });
        if (status.now.state !== 'loading') return;
        status.set({ state: 'ready' });
        logger.info({ batch_best: batchBest, provider }, 'model ready');
      },
      closed(runner) {
        model?.lane.pause(runner);
        status.set({ copies: copies.open });
      },
      failed: fail,
      trouble(reason) {
        logger.error({ code: reason.code, detail: reason.detail }, 'a runner could not be started; the others go on');
        status.note('runners', `a runner could not be started: ${reason.message}`);
      },
      settled: () => status.note('runners', ''),
    },
  );

  function fail(reason: unknown): void {
    const failure = BrinkError.from(reason);
    if (status.now.state === 'failed' || stopped || failure.code === 'E_CANCELLED') return;
    logger.error({ code: failure.code, detail: failure.detail }, 'model failed');
    status.set({ state: 'failed', error: failure });
    model?.lane.close(notReady(title, status.now));
    // The children would be started again otherwise; nobody waits for their end.
    copies.stop().catch((problem: unknown) => logger.error({ err: problem }, 'runners did not stop'));
  }

  /** Out here, since a closure keeps everything alive that its scope has: in there, the graph. */
  const readGraph = () =>
    readNative(folder, { passportSha256: status.now.passportSha256, modelSha256: model?.modelSha256 ?? '' });

  /** A runner is there: it gets what was verified just now, and is warm when it takes units. */
  async function bringUp(process: RunnerProcess): Promise<BatchRunner> {
    const ready = prepared ?? (await readVersion(folder, status, d.derived));
    prepared = undefined;
    const { session, bytes } = ready.graph;
    const { provider, fallback } = await process.load(bytes, session);
    if (fallback !== '' && fallback !== status.now.fallback) logger.warn({ provider, fallback }, 'provider falls back');
    status.set({ provider, fallback });
    const runMsMax = policy.run_ms_max;
    if (model !== undefined) {
      if (session === '') await warmUp(process, ready.knowledge.heads, status.now.batchBest, runMsMax);
    } else {
      const batchBest = await d.measuring(() => proveModel(folder, ready, process, runMsMax));
      status.set({ batchBest });
      const lane = d.scheduler.addLane({ name: title }, { metrics: metricsOf(d.metrics, name, version), policy });
      // Not the files and the graph's bytes, which are not needed any more.
      model = { ...ready.knowledge, lane };
    }
    return withNative(process, readGraph, session === 'native');
  }

  async function start(signal: AbortSignal): Promise<void> {
    try {
      // What is wrong with the files is said before a process is started for them.
      prepared = await readVersion(folder, status, d.derived);
      single = prepared.single;
      if (!stopped) await copies.start(signal);
    } catch (reason) {
      fail(reason);
    }
  }

  async function stop(): Promise<void> {
    stopped = true;
    prepared = undefined;
    model?.lane.close(new BrinkError('E_MODEL_NOT_READY', `${title} is being stopped`));
    await copies.stop();
    if (model !== undefined) d.scheduler.removeLane(model.lane);
  }

  return {
    name,
    version,
    status: status.now,
    start,
    recheck: () => recheck(status, readGraph, logger),
    note: status.note,
    retire: (signal) => drain(status, model?.lane, { ...d, logger }, signal).then(stop),
    stop,
    ready() {
      if (model === undefined || status.now.state !== 'ready') throw notReady(title, status.now);
      return model;
    },
    setPolicy(next) {
      policy = next;
      model?.lane.setPolicy(next);
      copies.follow();
    },
  };
}

/** Is what was loaded still what is there? */
async function recheck(status: Status, read: () => Promise<unknown>, logger: Logger): Promise<boolean> {
  const note = await read().then(
    () => '',
    () => 'changed on disk, and a version does not change: it serves what it loaded; add a new version',
  );
  if (note !== '') logger.warn(note);
  status.note('disk', note);
  return note === '';
}

/** Takes no more units, and waits until those that it has are answered. */
async function drain(
  status: Status,
  lane: Lane | undefined,
  d: Pick<VersionDependencies, 'logger' | 'clock'>,
  signal: AbortSignal,
): Promise<void> {
  status.set({ state: 'draining' });
  d.logger.info('it is taken out of service: it answers what it has and ends');
  const limit = d.clock.monotonic() + RETIRE_MS_MAX;
  while (lane !== undefined && (lane.inFlight > 0 || lane.waiting > 0) && d.clock.monotonic() < limit) {
    if (signal.aborted) return;
    await wait(RETIRE_LOOK_MS, d.clock, signal).catch(() => {});
  }
}

/** Its passport's hash stays what it was when it was first read. */
async function readVersion(folder: VersionFolder, status: Status, derived: DerivedGraphs): Promise<Preparation> {
  const { passportSha256 } = status.now;
  if (passportSha256 === '' && isBare(await stampOf(folder))) {
    const ready = await prepareBare(folder);
    status.bare();
    return ready;
  }
  const read = await readPassport(folder);
  if (status.now.isBare || (passportSha256 !== '' && read.sha256 !== passportSha256)) throw changedMeanwhile(folder);
  status.set({ passportSha256: read.sha256 });
  return prepare(folder, read, derived);
}

function notReady(title: string, { state, error }: VersionStatus): BrinkError {
  return new BrinkError('E_MODEL_NOT_READY', `${title} is ${state}${error === undefined ? '' : `: ${error.message}`}`);
}

/** Measures, decodes once, and runs the golden test. @returns the largest useful batch */
async function proveModel(
  folder: VersionFolder,
  ready: Preparation,
  process: RunnerProcess,
  runMsMax: number,
): Promise<number> {
  const { knowledge, files } = ready;
  const { passport, heads, decode } = knowledge;
  // How a graph without a passport is asked is not known before it is.
  if (passport === undefined || decode === undefined) return 1;
  const warm = await measureBatches(process, heads, ready.batchMax, runMsMax);
  decodable(decode, warm.run.outputs);
  await testGolden(folder, passport, { runner: process, knowledge, decode, files, runMsMax });
  return warm.batchBest;
}

/** Labels, shapes and decoder must go together before the first frame. NaN on zeros alone is no reason to refuse a model. */
function decodable(decode: NonNullable<Knowledge['decode']>, outputs: Parameters<typeof decode>[0]): void {
  try {
    decode(outputs, 0, '');
  } catch (reason) {
    if (BrinkError.from(reason).code !== 'E_MODEL_OUTPUT') throw reason;
  }
}
