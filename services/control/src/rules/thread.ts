import { Worker } from 'node:worker_threads';
import {
  type Backtest,
  BrinkError,
  isErrorCode,
  type PublishedConfiguration,
  type RuleTestReport,
} from '@brink/protocol';
import { type Clock, onlyCompileCache } from '@brink/runtime';
import type { ModelsOnDisk } from '../configuration/crosschecks.ts';
import { type ConfigProblem, configError } from '../configuration/problems.ts';
import type { SourceFile } from '../configuration/sources.ts';
import type { BacktestLimits } from './backtest.ts';
import type { BacktestOrder } from './order.ts';

// Rules that somebody sends, and runs over all that is stored, get a thread for themselves: whatever they take, commits, reads and
// HTTP go on beside it, and what does not end is ended.

export interface TrialOrder {
  readonly job: 'try';
  /** Undefined: the active configuration as it is. */
  readonly files: readonly SourceFile[] | undefined;
  readonly active: PublishedConfiguration;
  readonly models: ModelsOnDisk;
  /** Rules whose tests are run; undefined: all. */
  readonly names: readonly string[] | undefined;
}
export interface Tried {
  readonly published: PublishedConfiguration;
  readonly tests: RuleTestReport['tests'];
}

export interface RunOrder {
  readonly job: 'backtest';
  readonly folder: string;
  readonly order: BacktestOrder;
  readonly limits: BacktestLimits;
}

export type ThreadOrder = TrialOrder | RunOrder;
type ValueOf<O extends ThreadOrder> = O extends TrialOrder ? Tried : Backtest;

export type ThreadAnswer =
  | { readonly value: Tried | Backtest }
  | { readonly failure: { readonly code: string; readonly detail: string } }
  | { readonly problems: readonly ConfigProblem[] };

const MEMORY_MB_MAX = 512;

/** Rejects as the work does, E_CANCELLED, and `late()` where it takes longer than `msMax`. The thread is gone afterwards. */
export async function inThread<O extends ThreadOrder>(
  order: O,
  o: { readonly msMax: number; readonly late: () => BrinkError; readonly signal?: AbortSignal | undefined },
  d: { readonly clock: Clock },
): Promise<ValueOf<O>> {
  const worker = new Worker(new URL('./thread-worker.ts', import.meta.url), {
    workerData: order,
    name: order.job,
    env: onlyCompileCache(),
    execArgv: ['--disable-warning=ExperimentalWarning'],
    resourceLimits: { maxOldGenerationSizeMb: MEMORY_MB_MAX },
  });
  const ended = new Promise<void>((resolve) => worker.once('exit', () => resolve()));
  // Stays: an error that nobody listens to would end the process.
  worker.on('error', () => {});
  let timer: ReturnType<Clock['setTimeout']> | undefined;
  let stop: (() => void) | undefined;
  try {
    return await new Promise((resolve, reject) => {
      timer = d.clock.setTimeout(() => reject(o.late()), o.msMax);
      stop = () => reject(new BrinkError('E_CANCELLED', 'nobody waits for it any more'));
      o.signal?.addEventListener('abort', stop, { once: true });
      worker.once('message', (answer: ThreadAnswer) => {
        if ('value' in answer) resolve(answer.value as ValueOf<O>);
        else reject(errorIn(answer));
      });
      worker.once('error', (cause) => reject(crashed(order, cause)));
      worker.once('exit', () => reject(crashed(order)));
    });
  } finally {
    if (timer !== undefined) d.clock.clearTimeout(timer);
    if (stop !== undefined) o.signal?.removeEventListener('abort', stop);
    await worker.terminate();
    await ended;
  }
}

function errorIn(answer: Exclude<ThreadAnswer, { value: unknown }>): BrinkError {
  if ('problems' in answer) return configError(answer.problems);
  const { code, detail } = answer.failure;
  return new BrinkError(isErrorCode(code) ? code : 'E_INTERNAL', detail);
}

function crashed({ job }: ThreadOrder, cause?: NodeJS.ErrnoException): BrinkError {
  if (cause?.code === 'ERR_WORKER_OUT_OF_MEMORY') {
    return new BrinkError('E_TOO_LARGE', `the rules took more than ${MEMORY_MB_MAX} MB (${job})`, { cause });
  }
  return new BrinkError('E_CRASHED', `the thread of the ${job} ended: ${cause?.message ?? 'without a word'}`, {
    cause,
  });
}
