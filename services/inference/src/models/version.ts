import type { Decode, Labels } from '@brink/decoders';
import type { ModelInfo } from '@brink/onnx';
import { BrinkError, type InputSpec, type ModelPolicy, type Passport } from '@brink/protocol';
import { type ChildMetrics, type Clock, type LinkMetrics, type Logger, wait } from '@brink/runtime';
import { type Metrics, metricsOf } from '../metrics.ts';
import { createRunnerProcess, type RunnerProcess } from '../runner/process.ts';
import type { Head } from '../scheduler/job.ts';
import type { BatchRunner, Lane } from '../scheduler/lane.ts';
import type { Scheduler } from '../scheduler/scheduler.ts';
import { readPassport, type VersionFolder } from './folder.ts';
import { testGolden } from './golden.ts';
import { withNative } from './native.ts';
import { changedMeanwhile, type Preparation, prepare, readNative } from './preparation.ts';
import { measureBatches, warmUp } from './warmup.ts';

type VersionState = 'loading' | 'ready' | 'failed' | 'draining';

/** A version that takes units. */
export interface LoadedModel {
  /** As the file has it, not as it is prepared for units. */
  readonly native: ModelInfo;
  /** What a unit brings, as the derived graph calls it: prepared inputs in the order of the passport, then states. */
  readonly heads: readonly Head[];
  /** Outputs of the derived graph that carry the next state, whole batch, in the order of the passport; bytes of one unit. */
  readonly states: readonly { readonly name: string; readonly bytes: number }[];
  /** undefined: a folder without model.json. It takes requests of the Open Inference Protocol and no units. */
  readonly passport: Passport | undefined;
  /** What is known of its inputs: those of the passport, or what the file says about itself; empty where nothing is. */
  readonly inputs: readonly InputSpec[];
  /** Names of its classes. */
  readonly labels: Labels | undefined;
  /** undefined where there is no passport. */
  readonly decode: Decode | undefined;
  readonly modelSha256: string;
  readonly lane: Lane;
}

interface VersionStatus {
  readonly state: VersionState;
  /** Why it failed. */
  readonly error: BrinkError | undefined;
  /** What is to be known about it although it serves; '' where there is nothing. */
  readonly note: string;
  /** Empty until the passport was read. */
  readonly passportSha256: string;
  /** The largest useful batch; 0 until measured. */
  readonly batchBest: number;
  /** What really computes it. */
  readonly provider: string;
}

type Mutable<T> = { -readonly [Key in keyof T]: T[Key] };

/** How long a version that is retired may take to answer what waits for it, and how often that is looked at. */
const RETIRE_MS_MAX = 30_000;
const RETIRE_LOOK_MS = 20;

const UNREAD: VersionStatus = {
  state: 'loading',
  error: undefined,
  note: '',
  passportSha256: '',
  batchBest: 0,
  provider: '',
};

/** One version of a model, from its folder to its runner. */
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
  /** Its files were written again. It serves what it loaded; where that is not what is there now, its note says so. */
  recheck(): Promise<void>;
  /** Takes no more units, answers those that it has, and stops. @param signal: stops at once */
  retire(signal: AbortSignal): Promise<void>;
  stop(): Promise<void>;
}

/** For a status: why it is as it is; '' where there is nothing to say. */
export const reasonOf = ({ error, note }: VersionStatus) => (error?.message ?? note).slice(0, 500);

export interface VersionDependencies {
  readonly logger: Logger;
  readonly clock: Clock;
  readonly random: () => number;
  readonly metrics: Metrics;
  readonly childMetrics: ChildMetrics;
  readonly linkMetrics: LinkMetrics;
  readonly scheduler: Scheduler;
  /** Runs it when nobody else measures: two on the same cores would both look slow. */
  readonly measuring: <T>(work: () => Promise<T>) => Promise<T>;
  /** The state changed. */
  readonly changed: () => void;
}

/** @param o emptyFolder: where the runner runs */
export function createModelVersion(
  o: { folder: VersionFolder; policy: ModelPolicy; emptyFolder: string },
  d: VersionDependencies,
): ModelVersion {
  const { folder } = o;
  const { name, version } = folder;
  const title = `${name} ${version}`;
  const logger = d.logger.child({ model: name, model_version: version });
  let policy = o.policy;
  const status: Mutable<VersionStatus> = { ...UNREAD };
  let model: LoadedModel | undefined;
  let runner: RunnerProcess | undefined;
  let runsOn: BatchRunner | undefined;
  let prepared: Preparation | undefined;
  let stopped = false;

  function fail(reason: unknown): void {
    const failure = BrinkError.from(reason);
    if (status.state === 'failed' || stopped || failure.code === 'E_CANCELLED') return;
    status.error = failure;
    status.state = 'failed';
    logger.error({ code: failure.code, detail: failure.detail }, 'model failed');
    model?.lane.close(notReady(title, status));
    d.changed();
    // The child would be started again otherwise; nobody waits for its end.
    runner?.stop().catch((problem: unknown) => logger.error({ err: problem }, 'runner did not stop'));
  }

  /** Out here, since a closure keeps everything alive that its scope has: in there, the graph. */
  const readGraph = () => readNative(folder, status.passportSha256);

  /** A runner is there: it gets what was verified just now, and takes units when it is warm. */
  async function bringUp(process: RunnerProcess): Promise<void> {
    const ready = prepared ?? (await readVersion(folder, status));
    prepared = undefined;
    status.provider = (await process.load(ready.derived, '')).provider;
    const runMsMax = policy.run_ms_max;
    if (model === undefined) {
      status.batchBest = await d.measuring(() => proveModel(folder, ready, process, runMsMax));
      const metrics = metricsOf(d.metrics, name, version);
      const lane = d.scheduler.addLane({ name: title }, { metrics, policy });
      // By name: the files and the graph's bytes are not needed any more.
      const { native, heads, passport, labels, decode, modelSha256 } = ready;
      model = { native, heads, states: [], passport, inputs: passport.inputs, labels, decode, modelSha256, lane };
    } else {
      await warmUp(process, ready.heads, status.batchBest, runMsMax);
    }
    runsOn = withNative(process, readGraph);
    model.lane.open(runsOn, status.batchBest, { pid: process.pid, provider: status.provider });
    if (status.state !== 'loading') return;
    status.state = 'ready';
    logger.info({ batch_best: status.batchBest, provider: status.provider }, 'model ready');
    d.changed();
  }

  /** A crash is the supervisor's business: it starts the runner again, or gives up. */
  const onUp = (process: RunnerProcess) =>
    bringUp(process).catch((reason: unknown) => {
      if (BrinkError.from(reason).code === 'E_MODEL_CRASH') throw reason;
      fail(reason);
    });

  const onDown = () => runsOn !== undefined && model?.lane.pause(runsOn);
  const onGiveUp = () => fail(new BrinkError('E_MODEL_CRASH', 'its runner crashed five times in a minute'));

  async function start(signal: AbortSignal): Promise<void> {
    try {
      // What is wrong with the files is said before a process is started for them.
      prepared = await readVersion(folder, status);
      if (stopped) return;
      const process: RunnerProcess = createRunnerProcess(
        { name: `runner-${name}-${version}`, cwd: o.emptyFolder },
        { ...d, logger, events: { onUp: () => onUp(process), onDown, onGiveUp } },
      );
      runner = process;
      await process.start(signal);
    } catch (reason) {
      fail(reason);
    }
  }

  async function stop(): Promise<void> {
    stopped = true;
    model?.lane.close(new BrinkError('E_MODEL_NOT_READY', `${title} is being stopped`));
    await runner?.stop();
    if (model !== undefined) d.scheduler.removeLane(model.lane);
  }

  return {
    name,
    version,
    status,
    start,
    recheck: () => recheck(status, readGraph, { ...d, logger }),
    retire: (signal) => drain(status, model?.lane, { ...d, logger }, signal).then(stop),
    stop,
    ready() {
      if (model === undefined || status.state !== 'ready') throw notReady(title, status);
      return model;
    },
    setPolicy(next) {
      policy = next;
      model?.lane.setPolicy(next);
    },
  };
}

type Said = Pick<VersionDependencies, 'logger' | 'clock' | 'changed'>;

/** Is what was loaded still what is there? */
async function recheck(status: Mutable<VersionStatus>, read: () => Promise<unknown>, d: Said): Promise<void> {
  const note = await read().then(
    () => '',
    () => 'changed on disk, and a version does not change: it serves what it loaded; add a new version',
  );
  if (note === status.note) return;
  status.note = note;
  if (note !== '') d.logger.warn(note);
  d.changed();
}

/** Takes no more units, and waits until those that it has are answered. */
async function drain(
  status: Mutable<VersionStatus>,
  lane: Lane | undefined,
  d: Said,
  signal: AbortSignal,
): Promise<void> {
  status.state = 'draining';
  d.logger.info('its folder is gone: it answers what it has and ends');
  d.changed();
  const limit = d.clock.monotonic() + RETIRE_MS_MAX;
  while (lane !== undefined && (lane.inFlight > 0 || lane.waiting > 0) && d.clock.monotonic() < limit) {
    if (signal.aborted) return;
    await wait(RETIRE_LOOK_MS, d.clock, signal).catch(() => {});
  }
}

/** Its passport's hash stays what it was when it was first read. */
async function readVersion(folder: VersionFolder, status: Mutable<VersionStatus>): Promise<Preparation> {
  const read = await readPassport(folder);
  status.passportSha256 ||= read.sha256;
  if (read.sha256 !== status.passportSha256) throw changedMeanwhile(folder);
  return prepare(folder, read);
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
  const { passport, heads, decode, files } = ready;
  const warm = await measureBatches(process, heads, ready.batchMax, runMsMax);
  decodable(decode, warm.run.outputs);
  await testGolden(folder, passport, { runner: process, heads, decode, files, runMsMax });
  return warm.batchBest;
}

/** Labels, shapes and decoder must go together before the first frame. NaN on zeros alone is no reason to refuse a model. */
function decodable(decode: Decode, outputs: Parameters<Decode>[0]): void {
  try {
    decode(outputs, 0, '');
  } catch (reason) {
    if (BrinkError.from(reason).code !== 'E_MODEL_OUTPUT') throw reason;
  }
}
