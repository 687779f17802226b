import { createDecoder, type Decode, type Labels, parseLabels } from '@brink/decoders';
import { type ModelInfo, PICTURE_INPUT, prependPictureInput, readModel } from '@brink/onnx';
import { BrinkError, type ModelPolicy, type Passport } from '@brink/protocol';
import type { ChildMetrics, Clock, LinkMetrics, Logger } from '@brink/runtime';
import { type Metrics, metricsOf } from '../metrics.ts';
import { createRunnerProcess, type RunnerProcess } from '../runner/process.ts';
import type { Head } from '../scheduler/job.ts';
import type { BatchRunner, Lane } from '../scheduler/lane.ts';
import type { Scheduler } from '../scheduler/scheduler.ts';
import { agree } from './agreement.ts';
import { readFiles, readPassport, type VersionFolder } from './folder.ts';
import { testGolden } from './golden.ts';
import { measureBatches, warmUp } from './warmup.ts';

export type VersionState = 'loading' | 'ready' | 'failed' | 'draining';

/** What is known of a version once its files were read. */
export interface LoadedModel {
  readonly passport: Passport;
  /** As the file has it, not as it is prepared for pictures. */
  readonly native: ModelInfo;
  /** What a unit brings. */
  readonly heads: readonly Head[];
  readonly decode: Decode;
  readonly modelSha256: string;
  readonly lane: Lane;
}

/** One version of a model, from its folder to its runner. */
export interface ModelVersion {
  readonly name: string;
  readonly version: number;
  readonly state: VersionState;
  /** Why it failed. */
  readonly error: BrinkError | undefined;
  /** Empty until the passport was read. */
  readonly passportSha256: string;
  /** The largest useful batch; 0 until measured. */
  readonly batchBest: number;
  readonly provider: string;
  readonly pid: number | undefined;
  /** @throws BrinkError E_MODEL_NOT_READY, saying in which state it is and why */
  ready(): LoadedModel;
  setPolicy(policy: ModelPolicy): void;
  /** Loads, warms up, tests. Resolves when it is ready or failed; never rejects for what is wrong with the model. */
  start(signal: AbortSignal): Promise<void>;
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
  let state: VersionState = 'loading';
  let error: BrinkError | undefined;
  let passportSha256 = '';
  let batchBest = 0;
  let provider = '';
  let model: LoadedModel | undefined;
  let runner: RunnerProcess | undefined;
  let prepared: Awaited<ReturnType<typeof readAll>> | undefined;
  let stopped = false;

  function fail(reason: unknown): void {
    if (state === 'failed' || stopped) return;
    error = BrinkError.from(reason);
    state = 'failed';
    logger.error({ code: error.code, detail: error.detail }, 'model failed');
    model?.lane.close(notReady());
    d.changed();
    // The child would be started again otherwise; nobody waits for its end.
    runner?.stop().catch((failure: unknown) => logger.error({ err: failure }, 'runner did not stop'));
  }

  function notReady(): BrinkError {
    const why = error === undefined ? '' : `: ${error.message}`;
    return new BrinkError('E_MODEL_NOT_READY', `${title} is ${state}${why}`);
  }

  /** Files are read once per start of a runner, and what was verified is what the runner gets. */
  async function readAll() {
    const read = await readPassport(folder);
    const { passport } = read;
    passportSha256 ||= read.sha256;
    if (read.sha256 !== passportSha256) {
      throw new BrinkError('E_PASSPORT', `${folder.path}/model.json was changed while the model was loaded`);
    }
    const files = await readFiles(folder, passport);
    const graph = files.get('model.onnx') as Buffer;
    const native = readModel(graph);
    const agreement = agree(passport, native);
    const [input] = passport.inputs;
    if (input === undefined) throw new BrinkError('E_PASSPORT', 'inputs is empty');
    const derived = prependPictureInput(graph, input.tensor, input.image);
    // Units name no tensor; the derived graph's input has a name of its own.
    const heads = agreement.heads.map((head) => ({ ...head, name: PICTURE_INPUT }));
    return { passport, files, native, derived, heads, batchMax: agreement.batchMax };
  }

  async function onUp(process: RunnerProcess): Promise<void> {
    try {
      const read = prepared ?? (await readAll());
      prepared = undefined;
      const loaded = await process.load(read.derived, '');
      provider = loaded.provider;
      if (model === undefined) model = await introduce(read, process);
      else await warmUp(process, read.heads, batchBest, policy.run_ms_max);
      model.lane.open(withNative(process, folder), batchBest);
      if (state === 'loading') {
        state = 'ready';
        logger.info({ batch_best: batchBest, provider }, 'model ready');
        d.changed();
      }
    } catch (reason) {
      const failure = BrinkError.from(reason);
      // A crash is the supervisor's business: it starts the runner again, or gives up.
      if (failure.code === 'E_MODEL_CRASH') throw failure;
      fail(failure);
    }
  }

  /** The first time: measure, test, and only then take units. */
  async function introduce(read: Awaited<ReturnType<typeof readAll>>, process: RunnerProcess): Promise<LoadedModel> {
    const { passport, files, heads } = read;
    const labels = labelsOf(passport, files);
    const decode = createDecoder({ task: passport.task, output: passport.output, labels });
    const warm = await measureBatches(process, heads, read.batchMax, policy.run_ms_max);
    decodable(decode, warm.run.outputs);
    await testGolden(folder, passport, { runner: process, heads, decode, files, runMsMax: policy.run_ms_max });
    batchBest = warm.batchBest;
    const metrics = metricsOf(d.metrics, name, version);
    const lane = d.scheduler.addLane({ name: title, heads }, { metrics, policy });
    const modelSha256 = passport.files.find(({ path }) => path === 'model.onnx')?.sha256 ?? '';
    return { passport, native: read.native, heads, decode, modelSha256, lane };
  }

  return {
    name,
    version,
    get state() {
      return state;
    },
    get error() {
      return error;
    },
    get passportSha256() {
      return passportSha256;
    },
    get batchBest() {
      return batchBest;
    },
    get provider() {
      return provider;
    },
    get pid() {
      return runner?.pid;
    },
    ready() {
      if (model === undefined || state !== 'ready') throw notReady();
      return model;
    },
    setPolicy(next) {
      policy = next;
      model?.lane.setPolicy(next);
    },
    async start(signal) {
      // What is wrong with the files is said before a process is started for them.
      try {
        prepared = await readAll();
      } catch (reason) {
        fail(reason);
        return;
      }
      const process: RunnerProcess = createRunnerProcess(
        { name: `runner-${name}-${version}`, cwd: o.emptyFolder },
        {
          ...d,
          logger,
          events: {
            onUp: () => onUp(process),
            onDown: () => model?.lane.pause(),
            onGiveUp: () => fail(new BrinkError('E_MODEL_CRASH', 'its runner crashed five times in a minute')),
          },
        },
      );
      runner = process;
      await process.start(signal).catch((reason: unknown) => fail(reason));
    },
    async stop() {
      stopped = true;
      model?.lane.close(new BrinkError('E_MODEL_NOT_READY', `${title} is being stopped`));
      await runner?.stop();
      if (model !== undefined) d.scheduler.removeLane(model.lane);
    },
  };
}

/**
 * The runner, with the native graph for the Open Inference Protocol: a second session in the same process, made at the first
 * request, so that those who never ask pay nothing for it.
 */
function withNative(process: RunnerProcess, folder: VersionFolder): BatchRunner {
  let native: Promise<unknown> | undefined;
  return {
    async run(request, runMsMax) {
      if (request.batch > 0) return process.run(request, runMsMax);
      native ??= readPassport(folder)
        .then(({ passport }) => readFiles(folder, passport))
        .then((files) => process.load(files.get('model.onnx') as Buffer, 'native'));
      try {
        await native;
      } catch (reason) {
        native = undefined;
        return { kind: 'failed', error: BrinkError.from(reason), fate: 'final' };
      }
      return process.run(request, runMsMax);
    },
  };
}

/** Labels, shapes and decoder must go together before the first frame. NaN on zeros alone is no reason to refuse a model. */
function decodable(decode: Decode, outputs: Parameters<Decode>[0]): void {
  try {
    decode(outputs, 0, '');
  } catch (reason) {
    if (BrinkError.from(reason).code !== 'E_MODEL_OUTPUT') throw reason;
  }
}

function labelsOf(passport: Passport, files: ReadonlyMap<string, Buffer>): Labels | undefined {
  const { labels } = passport.output;
  if (labels === undefined) return undefined;
  const read = (key: string, path: string) => {
    const file = files.get(path);
    if (file === undefined)
      throw new BrinkError('E_PASSPORT', `output.labels.${key} is "${path}", which files does not list`);
    return parseLabels(file.toString('utf8'));
  };
  const { file, ...languages } = labels;
  const names = read('file', file);
  const texts = Object.fromEntries(
    Object.entries(languages).map(([language, path]) => [language, read(language, String(path))]),
  );
  for (const [language, lines] of Object.entries(texts)) {
    if (lines.length !== names.length) {
      throw new BrinkError(
        'E_PASSPORT',
        `output.labels.${language} has ${lines.length} lines; expected ${names.length}, as output.labels.file`,
      );
    }
  }
  return { names, texts };
}
