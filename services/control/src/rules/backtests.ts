import { type Backtest, BrinkError } from '@brink/protocol';
import type { Clock } from '@brink/runtime';
import type { BacktestLimits } from './backtest.ts';
import type { BacktestOrder } from './order.ts';
import { inThread } from './thread.ts';

/** Beyond its own limit of time: a condition hangs. */
const HANGS_MS = 60_000;
const TIME_MS_MAX = 600_000;

/** Backtests, one at a time, each in a thread of its own that ends with it. */
export function createBacktests(o: { readonly folder: string; readonly limits?: BacktestLimits }, d: { clock: Clock }) {
  const limits: BacktestLimits = { timeMsMax: TIME_MS_MAX, ...o.limits };
  const msMax = (limits.timeMsMax ?? TIME_MS_MAX) + HANGS_MS;
  const late = () => new BrinkError('E_TIMEOUT', `the backtest did not end within ${msMax} ms`);
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
      try {
        return await inThread({ job: 'backtest', folder: o.folder, order, limits }, { msMax, late, signal }, d);
      } finally {
        running = false;
      }
    },
  };
}
export type Backtests = ReturnType<typeof createBacktests>;
