import { Worker } from 'node:worker_threads';
import { type Backtest, BrinkError, isErrorCode } from '@brink/protocol';
import type { Clock } from '@brink/runtime';
import type { BacktestLimits, BacktestOrder } from './backtest.ts';
import type { BacktestAnswer, BacktestData } from './backtest-worker.ts';

/** Beyond its own limit of time: a condition hangs. */
const HANGS_MS = 60_000;
const TIME_MS_MAX = 600_000;
const MEMORY_MB_MAX = 512;

/** Backtests, one at a time, each in a thread of its own that ends with it. */
export function createBacktests(o: { readonly folder: string; readonly limits?: BacktestLimits }, d: { clock: Clock }) {
  const limits: BacktestLimits = { timeMsMax: TIME_MS_MAX, ...o.limits };
  let running = false;

  return {
    /** @throws BrinkError E_BUSY where one runs already: to be asked before an answer is begun */
    admit(): void {
      if (running) throw new BrinkError('E_BUSY', 'a backtest runs already; one at a time');
    },

    /** Rejects E_BUSY, E_CANCELLED, E_TIMEOUT, and as runBacktest does. */
    async run(order: BacktestOrder, signal: AbortSignal): Promise<Backtest> {
      this.admit();
      signal.throwIfAborted();
      running = true;
      const data: BacktestData = { folder: o.folder, order, limits };
      const worker = new Worker(new URL('./backtest-worker.ts', import.meta.url), {
        workerData: data,
        name: 'backtest',
        env: {},
        execArgv: ['--disable-warning=ExperimentalWarning'],
        resourceLimits: { maxOldGenerationSizeMb: MEMORY_MB_MAX },
      });
      const hangsMs = (limits.timeMsMax ?? TIME_MS_MAX) + HANGS_MS;
      const ended = new Promise<void>((resolve) => worker.once('exit', () => resolve()));
      try {
        return await answerOf(worker, { signal, hangsMs, clock: d.clock });
      } finally {
        await worker.terminate();
        await ended;
        running = false;
      }
    },
  };
}
export type Backtests = ReturnType<typeof createBacktests>;

function answerOf(
  worker: Worker,
  { signal, hangsMs, clock }: { signal: AbortSignal; hangsMs: number; clock: Clock },
): Promise<Backtest> {
  return new Promise((resolve, reject) => {
    const late = clock.setTimeout(() => {
      reject(new BrinkError('E_TIMEOUT', `the backtest did not end within ${hangsMs} ms`));
    }, hangsMs);
    const stop = () => reject(new BrinkError('E_CANCELLED', 'nobody waits for the backtest any more'));
    signal.addEventListener('abort', stop, { once: true });
    const over = () => {
      clock.clearTimeout(late);
      signal.removeEventListener('abort', stop);
    };
    worker.once('message', (answer: BacktestAnswer) => {
      over();
      if ('value' in answer) return resolve(answer.value);
      const { code, detail } = answer.failure;
      reject(new BrinkError(isErrorCode(code) ? code : 'E_INTERNAL', detail));
    });
    worker.once('error', (error) => {
      over();
      reject(new BrinkError('E_INTERNAL', `the backtest: ${error.message}`, { cause: error }));
    });
    worker.once('exit', () => {
      over();
      reject(new BrinkError('E_INTERNAL', 'the backtest ended without an answer'));
    });
  });
}
