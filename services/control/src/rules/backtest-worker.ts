import { setPriority } from 'node:os';
import { parentPort, workerData } from 'node:worker_threads';
import { type Backtest, BrinkError } from '@brink/protocol';
import { openStoreForReading, storageError } from '../ledger/store.ts';
import { type BacktestLimits, type BacktestOrder, runBacktest } from './backtest.ts';

// A thread for one backtest: whatever it takes, commits, reads and HTTP go on beside it.

export interface BacktestData {
  readonly folder: string;
  readonly order: BacktestOrder;
  readonly limits: BacktestLimits;
}

export type BacktestAnswer =
  | { readonly value: Backtest }
  | { readonly failure: { readonly code: string; readonly detail: string } };

/** Of this thread alone, on Linux: setpriority(2) with 0 means the caller, which is a thread there and a process elsewhere. */
const NICE = 10;

if (parentPort !== null) {
  if (process.platform === 'linux') {
    try {
      setPriority(NICE);
    } catch {
      // A sandbox that does not let it: then it runs as everybody else does.
    }
  }
  parentPort.postMessage(answer(workerData as BacktestData));
}

function answer({ folder, order, limits }: BacktestData): BacktestAnswer {
  try {
    const store = openStoreForReading(folder);
    try {
      return { value: runBacktest(store, order, limits) };
    } finally {
      store.close();
    }
  } catch (reason) {
    const error = reason instanceof BrinkError ? reason : storageError(reason, 'ledger.db');
    return { failure: { code: error.code, detail: error.detail } };
  }
}
