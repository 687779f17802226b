import { fileURLToPath } from 'node:url';
import type { BatchOutputs, BatchTensor } from '@brink/decoders';
import { BrinkError, type link } from '@brink/protocol';
import {
  type ChildMetrics,
  type Clock,
  createChild,
  type LinkMetrics,
  type LinkPeer,
  type LinkReply,
  type Logger,
  type RequestBody,
  type Timer,
} from '@brink/runtime';
import type { Head } from '../scheduler/job.ts';
import type { BatchRunner, RunEnd, RunRequest } from '../scheduler/lane.ts';
import { RUNNER_LINK } from './link.ts';

export interface RunnerProcess extends BatchRunner {
  start(signal: AbortSignal): Promise<void>;
  stop(): Promise<void>;
  readonly pid: number | undefined;
  /**
   * Gives the runner a graph. "" is the one that units run on.
   * @throws BrinkError E_MODEL_PARSE and the like; E_MODEL_TIMEOUT, E_MODEL_CRASH
   */
  load(graph: Uint8Array, session: '' | 'native'): Promise<Loaded>;
}

export interface Loaded {
  readonly provider: string;
  readonly inputs: readonly Head[];
  readonly outputs: readonly Head[];
}

export interface RunnerEvents {
  /** A runner is there, without any graph. If it rejects, the runner counts as crashed. */
  onUp(): Promise<void>;
  /** It is gone; another one will come. Called before what it was working on is answered. */
  onDown(): void;
  /** No other one will come. */
  onGiveUp(): void;
}

interface Operation {
  readonly limitMs: number;
  readonly peer: LinkPeer;
  timedOut: boolean;
  fate: 'attempt' | 'again' | undefined;
}

type Answer = { reply: LinkReply } | { error: BrinkError; fate: 'attempt' | 'again' | 'final' };

/** Five crashes in a minute are too many: four restarts, and the fifth end is the last. */
const RESTART = { max: 4, withinMs: 60_000, baseMs: 50, capMs: 1000 };
const LOAD_MS_MAX = 60_000;
const MODULE = fileURLToPath(new URL('./main.ts', import.meta.url));

/**
 * The parent's side of one runner. The runner works in order, so only the oldest operation is running: its time counts from when it
 * became the oldest, and it alone is to blame for a crash.
 * @param o cwd: an empty folder, since ONNX Runtime lets a graph refer to files under the working directory
 */
export function createRunnerProcess(
  o: { name: string; cwd: string },
  d: {
    logger: Logger;
    clock: Clock;
    random: () => number;
    childMetrics: ChildMetrics;
    linkMetrics: LinkMetrics;
    events: RunnerEvents;
  },
): RunnerProcess {
  const { clock, events } = d;
  const line: Operation[] = [];
  let timer: Timer | undefined;
  let up: LinkPeer | undefined;

  const child = createChild(
    { name: o.name, module: MODULE, cwd: o.cwd, stopMs: 2000, restart: RESTART, link: RUNNER_LINK },
    {
      logger: d.logger,
      clock,
      random: d.random,
      metrics: d.childMetrics,
      linkMetrics: d.linkMetrics,
      onUp(peer) {
        up = peer;
        return events.onUp();
      },
      onExit: down,
      onGiveUp: events.onGiveUp,
    },
  );

  function down(): void {
    if (up === undefined) return;
    up = undefined;
    events.onDown();
  }

  /** The limit of the oldest operation begins now. */
  function watch(): void {
    if (timer !== undefined) clock.clearTimeout(timer);
    timer = undefined;
    const [oldest] = line;
    if (oldest === undefined) return;
    timer = clock.setTimeout(() => {
      oldest.timedOut = true;
      child.kill('deadline');
    }, oldest.limitMs);
  }

  function leave(operation: Operation): void {
    const at = line.indexOf(operation);
    line.splice(at, 1);
    if (at === 0) watch();
  }

  /** The first to hear that the link is gone says what becomes of all. */
  function blame(peer: LinkPeer): void {
    let oldest = true;
    for (const operation of line) {
      if (operation.peer !== peer || operation.fate !== undefined) continue;
      operation.fate = oldest ? 'attempt' : 'again';
      oldest = false;
    }
    if (up === peer) down();
  }

  async function ask(body: RequestBody, payloads: readonly Uint8Array[], limitMs: number): Promise<Answer> {
    const peer = up;
    if (peer === undefined)
      return { error: new BrinkError('E_MODEL_CRASH', `${o.name} is not running`), fate: 'again' };
    const operation: Operation = { limitMs, peer, timedOut: false, fate: undefined };
    line.push(operation);
    if (line.length === 1) watch();
    try {
      return { reply: await peer.request(body, [...payloads]) };
    } catch (reason) {
      const error = BrinkError.from(reason);
      if (error.code !== 'E_LINK_CLOSED') return { error, fate: 'final' };
      if (operation.fate === undefined) blame(peer);
      return { error: endOf(operation, limitMs), fate: operation.fate ?? 'again' };
    } finally {
      leave(operation);
    }
  }

  function endOf(operation: Operation, limitMs: number): BrinkError {
    return operation.timedOut
      ? new BrinkError('E_MODEL_TIMEOUT', `${o.name} took longer than ${limitMs} ms and was ended`)
      : new BrinkError('E_MODEL_CRASH', `${o.name} ended unexpectedly`);
  }

  return {
    start: (signal) => child.start(signal),
    async stop() {
      await child.stop();
      if (timer !== undefined) clock.clearTimeout(timer);
    },
    get pid() {
      return child.pid;
    },
    async load(graph, session) {
      const answer = await ask({ case: 'load', value: { providers: ['cpu'], session } }, [graph], LOAD_MS_MAX);
      if ('error' in answer) throw answer.error;
      if (answer.reply.body.case !== 'loaded') throw unexpected(o.name, answer.reply);
      return answer.reply.body.value;
    },
    async run(request, runMsMax): Promise<RunEnd> {
      const answer = await ask(runBody(request), request.payloads, runMsMax);
      if ('error' in answer) return { kind: 'failed', ...answer };
      if (answer.reply.body.case === 'ran') return ranOf(request, answer.reply.body.value, answer.reply.payloads);
      return { kind: 'failed', error: unexpected(o.name, answer.reply), fate: 'final' };
    },
  };
}

function runBody(request: RunRequest): RequestBody {
  const inputs = request.heads.map((head) => ({ ...head, shape: [...head.shape] }));
  return { case: 'run', value: { batch: request.batch, inputs, session: request.batch === 0 ? 'native' : '' } };
}

function ranOf(request: RunRequest, ran: link.Ran, payloads: readonly Uint8Array[]): RunEnd {
  const tensors = new Map<string, BatchTensor>();
  ran.outputs.forEach((head, at) => {
    const data = payloads[at];
    if (data !== undefined) tensors.set(head.name, { dtype: head.dtype, data });
  });
  const outputs: BatchOutputs = { batch: Math.max(1, request.batch), tensors };
  return { kind: 'ran', run: { outputs, heads: ran.outputs, runMs: ran.runMs } };
}

const unexpected = (name: string, reply: LinkReply) =>
  new BrinkError('E_LINK_PROTOCOL', `${name} answered with "${reply.body.case}"`);
