import { setPriority } from 'node:os';
import { parentPort, workerData } from 'node:worker_threads';
import { BrinkError } from '@brink/protocol';
import { openStoreForReading, storageError } from '../ledger/store.ts';
import { runBacktest } from './backtest.ts';
import { candidateOf } from './candidate.ts';
import { testsOf } from './carried-tests.ts';
import type { RunOrder, ThreadAnswer, ThreadOrder, TrialOrder } from './thread.ts';

// One piece of work, then it ends: see thread.ts.

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
  parentPort.postMessage(answer(workerData as ThreadOrder));
}

function answer(order: ThreadOrder): ThreadAnswer {
  try {
    return order.job === 'try' ? tryRules(order) : backtest(order);
  } catch (reason) {
    const error = reason instanceof BrinkError ? reason : storageError(reason, 'ledger.db');
    return { failure: { code: error.code, detail: error.detail } };
  }
}

function tryRules({ files, active, models, names }: TrialOrder): ThreadAnswer {
  const candidate =
    files === undefined ? ({ ok: true, published: active } as const) : candidateOf(files, active, models);
  if (!candidate.ok) return { problems: candidate.problems };
  const { published } = candidate;
  return { value: { published, tests: testsOf(published, names, files) } };
}

function backtest({ folder, order, limits }: RunOrder): ThreadAnswer {
  const store = openStoreForReading(folder);
  try {
    return { value: runBacktest(store, order, limits) };
  } finally {
    store.close();
  }
}
