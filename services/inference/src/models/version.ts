import { BrinkError, type ModelPolicy } from '@brink/protocol';
import { type ChildMetrics, type Clock, type LinkMetrics, type Logger, wait } from '@brink/runtime';
import { type Metrics, metricsOf } from '../metrics.ts';
import type { RunnerProcess } from '../runner/process.ts';
import type { BatchRunner, Lane } from '../scheduler/lane.ts';
import type { Scheduler } from '../scheduler/scheduler.ts';
import { type Copies, createCopies } from './copies.ts';
import type { DerivedGraphs } from './derived.ts';
import { isBare, readPassport, stampOf, type VersionFolder } from './folder.ts';
import { testGolden } from './golden.ts';
import { withNative } from './native.ts';
import type { Pace } from './pace.ts';
import {
  changedMeanwhile,
  checkUnchanged,
  type Knowledge,
  type Preparation,
  prepare,
  prepareBare,
  readNative,
} from './preparation.ts';
import { createStatus, type Status, type VersionStatus } from './status.ts';
import { measureBatches, warmUp } from './warmup.ts';

/** A version that takes units, or without a passport only requests of the Open Inference Protocol. */
export interface LoadedModel extends Knowledge {
  readonly lane: Lane;
}

/** How long it may take to answer what waits for it, and how often that is looked at. */
const RETIRE_MS_MAX = 30_000;
const RETIRE_LOOK_MS = 20;

/** One version of a model, from its folder to its runners. */
export interface ModelVersion {
  readonly name: string;
  readonly version: number;
  /** As it is now: the same object, kept up to date. */
  readonly status: VersionStatus;
  readonly policy: ModelPolicy;
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
  /** Says that it is leaving, soon takes no more units, answers those that it has, and stops. @param signal: stops at once */
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
  /** Some version is ready. */
  readonly othersServe: () => boolean;
  /** The state changed. */
  readonly changed: () => void;
}

interface VersionOptions {
  readonly folder: VersionFolder;
  readonly policy: ModelPolicy;
  /** Where the runners run. */
  readonly emptyFolder: string;
  /** As many runners as a model gets that takes one unit at a time. */
  readonly runSlots: number;
  readonly pace: Pace;
}

export function createModelVersion(o: VersionOptions, d: VersionDependencies): ModelVersion {
  return new FolderVersion(o, d);
}

class FolderVersion implements ModelVersion {
  readonly name: string;
  readonly version: number;
  readonly #folder: VersionFolder;
  readonly #d: VersionDependencies;
  readonly #status: Status;
  readonly #copies: Copies;
  readonly #pace: Pace;
  #policy: ModelPolicy;
  #model: LoadedModel | undefined;
  #prepared: Preparation | undefined;
  #isSingle = false;
  /** Retired, and still takes what comes. */
  #isLeaving = false;
  #isStopped = false;

  constructor({ folder, policy, emptyFolder, runSlots, pace }: VersionOptions, d: VersionDependencies) {
    const { name, version } = folder;
    this.name = name;
    this.version = version;
    this.#folder = folder;
    this.#d = { ...d, logger: d.logger.child({ model: name, model_version: version }) };
    this.#status = createStatus(d.changed);
    this.#policy = policy;
    this.#pace = pace;
    const count = () => this.#policy.copies ?? (this.#isSingle ? runSlots : 1);
    this.#copies = createCopies(
      { name: `runner-${name}-${version}`, cwd: emptyFolder },
      {
        ...this.#d,
        wanted: () => ({ count: count(), policy: this.#policy }),
        bringUp: (process) => this.#bringUp(process),
        opened: (runner, process) => this.#opened(runner, process),
        closed: (runner, lost) => this.#closed(runner, lost),
        failed: (reason) => this.#fail(reason),
        trouble: (reason) => this.#trouble(reason),
        settled: () => this.#status.note('runners', ''),
      },
    );
  }

  get policy(): ModelPolicy {
    return this.#policy;
  }

  get status(): VersionStatus {
    return this.#status.now;
  }

  ready(): LoadedModel {
    const { state } = this.status;
    if (this.#model === undefined || (state !== 'ready' && !this.#isLeaving)) throw this.#notReady();
    return this.#model;
  }

  setPolicy(policy: ModelPolicy): void {
    this.#policy = policy;
    this.#model?.lane.setPolicy(policy);
    this.#copies.follow();
  }

  note(about: string, text: string): void {
    this.#status.note(about, text);
  }

  async start(signal: AbortSignal): Promise<void> {
    try {
      // What is wrong with the files is said before a process is started for them.
      this.#prepared = await readVersion(this.#folder, this.#status, this.#d.derived);
      this.#isSingle = this.#prepared.single;
      if (!this.#isStopped) await this.#copies.start(signal);
    } catch (reason) {
      this.#fail(reason);
    }
  }

  recheck(): Promise<boolean> {
    const { passportSha256 } = this.status;
    const loaded = { passportSha256, modelSha256: this.#model?.modelSha256 ?? '' };
    return recheck(this.#status, () => checkUnchanged(this.#folder, loaded), this.#d.logger);
  }

  async retire(signal: AbortSignal): Promise<void> {
    this.#isLeaving = this.status.state === 'ready';
    this.#status.set({ state: 'draining' });
    this.#d.logger.info('it is taken out of service: it answers what it has and ends');
    if (this.#isLeaving) await wait(this.#pace.graceMs, this.#d.clock, signal).catch(() => {});
    this.#isLeaving = false;
    await drain(this.#model?.lane, this.#d.clock, signal);
    await this.stop();
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#prepared = undefined;
    const { name, version } = this;
    this.#model?.lane.close(new BrinkError('E_MODEL_NOT_READY', `${name} ${version} is being stopped`));
    await this.#copies.stop();
    if (this.#model !== undefined) this.#d.scheduler.removeLane(this.#model.lane);
  }

  /** A runner is there: it gets what was verified just now, and is warm when it takes units. */
  async #bringUp(process: RunnerProcess): Promise<BatchRunner> {
    const ready = this.#prepared ?? (await readVersion(this.#folder, this.#status, this.#d.derived));
    this.#prepared = undefined;
    const { session, bytes } = ready.graph;
    const { provider, fallback } = await process.load(bytes, session);
    if (fallback !== '' && fallback !== this.status.fallback) {
      this.#d.logger.warn({ provider, fallback }, 'not the preferred execution provider');
    }
    this.#status.set({ provider, fallback });
    const runMsMax = this.#policy.run_ms_max;
    const firstRunMsMax = Math.max(runMsMax, this.#pace.firstRunMsMax);
    if (this.#model === undefined) {
      const batchBest = await this.#d.measuring(() =>
        proveModel(this.#folder, ready, process, { ...this.#d, runMsMax, firstRunMsMax }),
      );
      this.#status.set({ batchBest });
      // Not the files and the graph's bytes, which are not needed any more.
      this.#model = { ...ready.knowledge, lane: this.#addLane() };
    } else if (session === '') {
      await warmUp(process, ready.knowledge.heads, this.status.batchBest, firstRunMsMax);
    }
    return withNative(process, () => this.#readGraph(), session === 'native');
  }

  #addLane(): Lane {
    const { name, version } = this;
    const metrics = metricsOf(this.#d.metrics, name, version);
    return this.#d.scheduler.addLane({ name: `${name} ${version}` }, { metrics, policy: this.#policy });
  }

  #readGraph(): Promise<Uint8Array> {
    return readNative(this.#folder, this.#model?.modelSha256 ?? '');
  }

  #opened(runner: BatchRunner, { pid }: RunnerProcess): void {
    const { provider, fallback, batchBest, state } = this.status;
    this.#model?.lane.open(runner, batchBest, { pid, provider, fallback });
    this.#status.set({ copies: this.#copies.open });
    if (state !== 'loading') return;
    this.#status.set({ state: 'ready' });
    this.#d.logger.info({ batch_best: batchBest, provider }, 'model ready');
  }

  #closed(runner: BatchRunner, lost: boolean): void {
    this.#model?.lane.pause(runner, lost);
    this.#status.set({ copies: this.#copies.open });
  }

  #trouble({ code, detail, message }: BrinkError): void {
    this.#d.logger.error({ code, detail }, 'a runner could not be started; the others go on');
    this.#status.note('runners', `a runner could not be started: ${message}`);
  }

  #fail(reason: unknown): void {
    const failure = BrinkError.from(reason);
    if (this.status.state === 'failed' || this.#isStopped || failure.code === 'E_CANCELLED') return;
    const { code, detail } = failure;
    this.#d.logger.error({ code, detail }, 'model failed');
    this.#d.metrics.loadFailures.inc({ model: this.name, version: String(this.version), code });
    this.#status.set({ state: 'failed', error: failure });
    this.#model?.lane.close(this.#notReady());
    // The children would be started again otherwise; nobody waits for their end.
    this.#copies.stop().catch((problem: unknown) => this.#d.logger.error({ err: problem }, 'runners did not stop'));
  }

  #notReady(): BrinkError {
    const { state, error } = this.status;
    const why = error === undefined ? '' : `: ${error.message}`;
    return new BrinkError('E_MODEL_NOT_READY', `${this.name} ${this.version} is ${state}${why}`);
  }
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

/** Waits until everything that it was given is answered. */
async function drain(lane: Lane | undefined, clock: Clock, signal: AbortSignal): Promise<void> {
  const limit = clock.monotonic() + RETIRE_MS_MAX;
  while (lane !== undefined && (lane.inFlight > 0 || lane.waiting > 0) && clock.monotonic() < limit) {
    if (signal.aborted) return;
    await wait(RETIRE_LOOK_MS, clock, signal).catch(() => {});
  }
}

/** Its passport's hash stays what it was when it was first read. */
async function readVersion(folder: VersionFolder, status: Status, derived: DerivedGraphs): Promise<Preparation> {
  const { passportSha256 } = status.now;
  if (passportSha256 === '' && isBare(await stampOf(folder))) {
    const ready = await prepareBare(folder, derived);
    status.bare();
    return ready;
  }
  const read = await readPassport(folder);
  if (status.now.isBare || (passportSha256 !== '' && read.sha256 !== passportSha256)) throw changedMeanwhile(folder);
  status.set({ passportSha256: read.sha256 });
  return prepare(folder, read, derived);
}

/** Measures, decodes once, and runs the golden test. @returns the largest useful batch */
async function proveModel(
  folder: VersionFolder,
  ready: Preparation,
  process: RunnerProcess,
  d: Pick<VersionDependencies, 'clock' | 'othersServe'> & { runMsMax: number; firstRunMsMax: number },
): Promise<number> {
  const { knowledge, files } = ready;
  const { passport, heads, decode } = knowledge;
  if (passport === undefined || decode === undefined) {
    // How a graph without a passport is asked for tensors is not known before it is.
    if (ready.graph.session === '') await warmUp(process, heads, 1, d.firstRunMsMax);
    return 1;
  }
  const warm = await measureBatches(process, heads, ready.batchMax, d.firstRunMsMax, d);
  decodable(decode, warm.run.outputs);
  await testGolden(folder, passport, { runner: process, knowledge, decode, files, runMsMax: d.runMsMax });
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
