import { fileURLToPath } from 'node:url';
import type { BatchOutputs, BatchTensor } from '@brink/decoders';
import { BrinkError, type link } from '@brink/protocol';
import {
  type ChildExit,
  type ChildMetrics,
  type Clock,
  createChild,
  type LinkMetrics,
  type LinkPeer,
  type LinkReply,
  type Logger,
  type RequestBody,
} from '@brink/runtime';
import type { Head } from '../scheduler/job.ts';
import type { BatchRunner, RunEnd, RunRequest } from '../scheduler/lane.ts';
import { type Answer, createOperationLine, type Loss } from './line.ts';
import { RUNNER_LINK } from './link.ts';
import { NO_MEMORY } from './refusals.ts';

export interface RunnerProcess extends BatchRunner {
  start(signal: AbortSignal): Promise<void>;
  stop(): Promise<void>;
  readonly pid: number | undefined;
  /** What it holds of its own, in bytes; undefined where that cannot be seen. */
  readonly memoryBytes: number | undefined;
  /**
   * Gives the runner a graph. "" is the one that units run on.
   * @throws BrinkError E_MODEL_PARSE, E_MODEL_OP, E_MODEL_PROVIDER, E_UNSUPPORTED; E_MODEL_OOM, E_MODEL_TIMEOUT, E_MODEL_CRASH
   */
  load(graph: Uint8Array, session: '' | 'native'): Promise<Loaded>;
}

export interface RunnerOptions {
  readonly name: string;
  /** An empty folder, since ONNX Runtime lets a graph refer to files under the working directory. */
  readonly cwd: string;
  /** as ONNX Runtime calls them, the preferred one first */
  readonly providers: readonly string[];
  /** Rather none than another than the first provider. */
  readonly strict: boolean;
  /** Beyond what the process takes without a model. */
  readonly memoryBytesMax: number;
}

export interface Loaded {
  /** in use */
  readonly provider: string;
  /** Why it is not the preferred one, or not for every node; '' where it is. */
  readonly fallback: string;
  readonly inputs: readonly Head[];
  readonly outputs: readonly Head[];
}

interface RunnerEvents {
  /** A runner is there, without any graph. If it rejects, the runner counts as crashed. */
  onUp(): Promise<void>;
  /**
   * It is gone; another one will come. Called before what it was working on is answered.
   * @param recycled it did nothing wrong: a fresh one takes over after a run that had too little memory
   */
  onDown(recycled: boolean): void;
  /** No other one will come. */
  onGiveUp(): void;
}

/**
 * Five crashes in a minute are too many: four restarts, and the fifth end is the last. The waits before them stay below 50, 100, 200
 * and 400 ms, so that a runner is there again within 2 s.
 */
const RESTART = { max: 4, withinMs: 60_000, baseMs: 50, capMs: 1000 };
const LOAD_MS_MAX = 60_000;
const ENVIRONMENT = {
  // From 1.29 on ONNX Runtime's own binaries tell Microsoft about machine and models unless this is set before they are loaded:
  // nothing leaves the site. https://github.com/microsoft/onnxruntime/pull/27379
  ORT_DISABLE_TELEMETRY: '1',
  // ONNX Runtime has an arena of its own; those that glibc makes for each thread cost 10 MB and no time was seen to be saved.
  MALLOC_ARENA_MAX: '1',
};
const MODULE = fileURLToPath(new URL('./main.ts', import.meta.url));

interface RunnerDependencies {
  readonly logger: Logger;
  readonly clock: Clock;
  readonly random: () => number;
  readonly childMetrics: ChildMetrics;
  readonly linkMetrics: LinkMetrics;
  readonly events: RunnerEvents;
}

/** The parent's side of one runner. */
export function createRunnerProcess(o: RunnerOptions, d: RunnerDependencies): RunnerProcess {
  const { clock, events } = d;
  const { providers, strict, memoryBytesMax } = o;
  const line = createOperationLine(o, { clock, overdue: () => child.kill('deadline'), lost: down });
  let up: LinkPeer | undefined;
  /** It was up with everything that belongs to it. */
  let served = false;
  let recycled = false;
  let exit = Promise.withResolvers<ChildExit>();

  const child = createChild(
    {
      name: o.name,
      module: MODULE,
      env: ENVIRONMENT,
      cwd: o.cwd,
      stopMs: 2000,
      restart: RESTART,
      link: RUNNER_LINK,
      memoryBytesMax,
    },
    {
      logger: d.logger,
      clock,
      random: d.random,
      metrics: d.childMetrics,
      linkMetrics: d.linkMetrics,
      async onUp(peer) {
        up = peer;
        served = false;
        recycled = false;
        exit = Promise.withResolvers();
        await events.onUp();
        served = true;
      },
      onExit(end) {
        exit.resolve(end);
        down();
      },
      onGiveUp: events.onGiveUp,
    },
  );

  /** Heard from the link or from the process, whichever comes first. */
  function down(): Loss {
    const loss = { blameless: recycled, exit: exit.promise };
    if (up === undefined) return loss;
    up = undefined;
    events.onDown(recycled);
    return loss;
  }

  function ask(body: RequestBody, payloads: readonly Uint8Array[], limitMs: number): Promise<Answer> {
    if (up !== undefined) return line.ask(up, body, payloads, limitMs);
    return Promise.resolve({ error: new BrinkError('E_MODEL_CRASH', `${o.name} is not running`), fate: 'again' });
  }

  /**
   * After an allocation that failed, ONNX Runtime's arena remembers its size and takes all that is left the next time it grows, which
   * then would end the run of somebody else. Nothing but another process helps.
   */
  function recycle(): void {
    if (!served || recycled) return;
    recycled = true;
    d.logger.warn({ runner: o.name }, 'out of memory in a run; a fresh runner takes over');
    child.kill('recycled');
  }

  return {
    start: (signal) => child.start(signal),
    stop: () => child.stop(),
    get pid() {
      return child.pid;
    },
    get memoryBytes() {
      return child.memoryBytes;
    },
    async load(graph, session) {
      const value = { providers: [...providers], strict, session };
      const answer = await ask({ case: 'load', value }, [graph], LOAD_MS_MAX);
      if ('error' in answer) throw limited(answer.error, memoryBytesMax);
      if (answer.reply.body.case !== 'loaded') throw unexpected(o.name, answer.reply);
      return answer.reply.body.value;
    },
    async run(request, runMsMax): Promise<RunEnd> {
      const answer = await ask(runBody(request), request.payloads, runMsMax);
      if ('error' in answer) {
        if (answer.fate === 'final' && answer.error.code === 'E_MODEL_OOM') recycle();
        return { kind: 'failed', ...answer, error: limited(answer.error, memoryBytesMax) };
      }
      if (answer.reply.body.case === 'ran') return ranOf(request, answer.reply.body.value, answer.reply.payloads);
      return { kind: 'failed', error: unexpected(o.name, answer.reply), fate: 'final' };
    },
  };
}

/** Whoever reads that memory is not enough must read what the limit is, and where it stands. */
function limited(error: BrinkError, memoryBytesMax: number): BrinkError {
  const isMemory = error.code === 'E_MODEL_OOM' || (error.code === 'E_INTERNAL' && NO_MEMORY.test(error.detail));
  if (!isMemory) return error;
  const limit = `memory_mb_max of the model is ${Math.round(memoryBytesMax / 2 ** 20)} (MB)`;
  return new BrinkError('E_MODEL_OOM', `${error.detail}; ${limit}`, { cause: error });
}

function runBody(request: RunRequest): RequestBody {
  const inputs = request.heads.map((head) => ({ ...head, shape: [...head.shape] }));
  return { case: 'run', value: { batch: request.batch, inputs, session: request.session } };
}

function ranOf(request: RunRequest, ran: link.Ran, payloads: readonly Uint8Array[]): RunEnd {
  const tensors = new Map<string, BatchTensor>();
  ran.outputs.forEach((head, at) => {
    const data = payloads[at];
    if (data !== undefined) tensors.set(head.name, { dtype: head.dtype, data, shape: head.shape });
  });
  const outputs: BatchOutputs = { batch: Math.max(1, request.batch), tensors };
  return { kind: 'ran', run: { outputs, heads: ran.outputs, runMs: ran.runMs } };
}

const unexpected = (name: string, reply: LinkReply) =>
  new BrinkError('E_LINK_PROTOCOL', `${name} answered with "${reply.body.case}"`);
