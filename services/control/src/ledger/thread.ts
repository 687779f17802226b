import { Worker } from 'node:worker_threads';
import { BrinkError, isErrorCode } from '@brink/protocol';
import { onlyCompileCache } from '@brink/runtime';
import type { Failure, NotReady, Ready, WorkerData } from './messages.ts';

/** One of the ledger's worker threads. */
export interface Thread<In, Out> {
  /** It loads its modules; `start` goes on from there. */
  prepare(): void;
  /** @throws BrinkError what kept it from opening the store */
  start(onMessage: (message: Out) => void, onGone: (error: BrinkError) => void): Promise<Ready>;
  post(message: In): void;
  /** At once, whatever it does; `onGone` hears the reason. */
  end(reason: BrinkError): void;
  /** Lets it finish what was posted. */
  stop(): Promise<void>;
}

export function createThread<In, Out>(config: () => WorkerData): Thread<In, Out> {
  let worker: Worker | undefined;
  let gone: Promise<void> = Promise.resolve();
  let stopping = false;
  let ended: BrinkError | undefined;
  let failure: BrinkError | undefined;
  let tellGone: (error: BrinkError) => void = () => {};

  function spawn(): Worker {
    stopping = false;
    ended = undefined;
    failure = undefined;
    // One that ends before it is started is nobody's loss: another one is.
    tellGone = () => {};
    const spawned = new Worker(new URL('./worker.ts', import.meta.url), {
      workerData: config(),
      name: `ledger-${config().role}`,
      env: onlyCompileCache(),
      // node:sqlite is a release candidate in Node 24 and says so on stderr at every start.
      execArgv: ['--disable-warning=ExperimentalWarning'],
    });
    gone = new Promise((resolve) => {
      spawned.once('exit', () => {
        worker = undefined;
        if (!stopping)
          tellGone(ended ?? failure ?? new BrinkError('E_UNAVAILABLE', `the ledger's ${config().role} thread ended`));
        resolve();
      });
    });
    spawned.on('error', (error) => {
      failure = new BrinkError('E_INTERNAL', `the ledger's ${config().role} thread: ${error.message}`, {
        cause: error,
      });
    });
    return spawned;
  }

  return {
    prepare() {
      worker ??= spawn();
    },
    start(onMessage, onGone) {
      worker ??= spawn();
      const started = worker;
      tellGone = onGone;
      return new Promise((resolve, reject) => {
        started.once('exit', () => reject(failure ?? new BrinkError('E_INTERNAL', 'the thread ended while starting')));
        started.once('message', (message: Ready | NotReady) => {
          if (!message.ready) {
            stopping = true;
            reject(errorOf(message.failure));
            return;
          }
          started.on('message', onMessage);
          resolve(message);
        });
      });
    },
    post(message) {
      worker?.postMessage(message);
    },
    end(reason) {
      ended = reason;
      void worker?.terminate();
    },
    async stop() {
      stopping = true;
      worker?.postMessage('stop');
      await gone;
    },
  };
}

export function errorOf({ code, detail }: Failure): BrinkError {
  return new BrinkError(isErrorCode(code) ? code : 'E_INTERNAL', detail);
}
