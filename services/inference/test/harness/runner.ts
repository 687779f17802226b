import { createChildMetrics, createLinkMetrics, Registry, silentLogger, systemClock } from '@brink/runtime';
import { createRunnerProcess, type Loaded, type RunnerOptions, type RunnerProcess } from '../../src/runner/process.ts';
import type { RunEnd } from '../../src/scheduler/lane.ts';
import { temporaryFolder } from './inference.ts';

export interface Runner {
  readonly process: RunnerProcess;
  readonly loaded: Loaded;
  /** Ends, and starts after the first. */
  readonly downs: readonly { recycled: boolean; at: number }[];
  readonly ups: readonly number[];
  readonly givenUp: boolean;
  metrics(): Promise<string>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** One runner without the rest of the service, with the graph as '' after each start. @throws BrinkError of the load */
export async function startRunner(graph: Uint8Array, o: Partial<RunnerOptions> = {}): Promise<Runner> {
  const folder = await temporaryFolder();
  const registry = new Registry();
  const loads: (Loaded | Error)[] = [];
  const downs: { recycled: boolean; at: number }[] = [];
  const ups: number[] = [];
  let givenUp = false;
  const process: RunnerProcess = createRunnerProcess(
    { name: 'runner-it', cwd: folder.path, providers: ['cpu'], strict: false, memoryBytesMax: 2 ** 31, ...o },
    {
      logger: silentLogger,
      clock: systemClock,
      random: Math.random,
      childMetrics: createChildMetrics(registry),
      linkMetrics: createLinkMetrics(registry),
      events: {
        async onUp() {
          loads.push(await process.load(graph.slice(), '').catch((error: Error) => error));
          ups.push(performance.now());
        },
        onDown: (recycled) => void downs.push({ recycled, at: performance.now() }),
        onGiveUp: () => {
          givenUp = true;
        },
      },
    },
  );
  await process.start(AbortSignal.timeout(30_000));
  const stop = async () => {
    await process.stop();
    await folder[Symbol.asyncDispose]();
  };
  const [loaded] = loads;
  if (loaded === undefined || loaded instanceof Error) {
    await stop();
    throw loaded;
  }
  return {
    process,
    loaded,
    downs,
    ups,
    get givenUp() {
      return givenUp;
    },
    metrics: () => registry.metrics(),
    [Symbol.asyncDispose]: stop,
  };
}

export const bytesOf = (array: ArrayBufferView) => new Uint8Array(array.buffer, array.byteOffset, array.byteLength);

/** What failed, as one line; undefined where it ran. */
export const failure = (end: RunEnd) => (end.kind === 'failed' ? `${end.error.code} ${end.fate}` : undefined);
