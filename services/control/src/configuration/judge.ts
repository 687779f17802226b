import { Worker } from 'node:worker_threads';
import { BrinkError } from '@brink/protocol';
import { checkRules } from '@brink/rules';
import type { Clock, Timer } from '@brink/runtime';
import type { ModelsOnDisk } from './crosschecks.ts';
import type { SourceFile } from './sources.ts';
import { type Validation, validateConfiguration } from './validate.ts';

// Files come from outside. A YAML bomb, a rule with conditions without end or tests that never stop must hold up nobody but who wrote
// them: they are judged in a thread, which is ended where it takes too long or too much memory.

const JUDGE_MS_MAX = 8000;
const HEAP_MB_MAX = 256;
/** The files that control starts with are judged here where they are small: no start should wait for a thread. */
const FIRST_CHARACTERS_MAX = 64 * 1024;
/** The thread waits so long for more; then its memory is given back. */
const IDLE_MS = 20_000;

export interface Judgement {
  readonly files: readonly SourceFile[];
  readonly models: ModelsOnDisk;
}

export interface Judge {
  /** What takes too long is a problem of the files. Rejects E_CRASHED where the thread could not be had. */
  judge(of: Judgement): Promise<Validation>;
  stop(): Promise<void>;
}

/** One question at a time: whoever asks waits for those before. */
export function createJudge(o: { readonly msMax?: number }, d: { readonly clock: Clock }): Judge {
  const msMax = o.msMax ?? JUDGE_MS_MAX;
  let worker: Worker | undefined;
  let idle: Timer | undefined;
  let last: Promise<unknown> = Promise.resolve();
  let isFirst = true;

  function start(): Worker {
    const started = new Worker(new URL('./judge-worker.ts', import.meta.url), {
      name: 'configuration',
      env: {},
      execArgv: ['--disable-warning=ExperimentalWarning'],
      resourceLimits: { maxOldGenerationSizeMb: HEAP_MB_MAX },
    });
    // Keeps no process alive by itself.
    started.unref();
    return started;
  }

  async function end(): Promise<void> {
    const ended = worker;
    worker = undefined;
    await ended?.terminate();
  }

  function ask(of: Judgement): Promise<Validation> {
    const asked = worker ?? start();
    worker = asked;
    return new Promise((resolve, reject) => {
      const settle = () => {
        d.clock.clearTimeout(timer);
        asked.off('message', judged).off('error', failed);
      };
      const endless = (found: string) => {
        settle();
        void end();
        resolve({ ok: false, problems: [tooMuch(of, found)] });
      };
      const judged = (validation: Validation) => {
        settle();
        resolve(validation);
      };
      const failed = (error: NodeJS.ErrnoException) => {
        if (error.code === 'ERR_WORKER_OUT_OF_MEMORY') {
          return endless(`files that take more than ${HEAP_MB_MAX} MB to check`);
        }
        settle();
        void end();
        return reject(
          new BrinkError('E_CRASHED', `checking the configuration failed: ${error.message}`, { cause: error }),
        );
      };
      const timer = d.clock.setTimeout(() => endless(`files that take longer than ${msMax} ms to check`), msMax);
      asked.on('message', judged).on('error', failed);
      asked.postMessage(of);
    });
  }

  return {
    judge(of) {
      const here = isFirst && sizeOf(of) <= FIRST_CHARACTERS_MAX;
      isFirst = false;
      if (here) return Promise.resolve(validateConfiguration(of.files, of.models, checkRules));
      if (idle !== undefined) d.clock.clearTimeout(idle);
      const turn = last.then(() => ask(of));
      last = turn
        .catch(() => {})
        .then(() => {
          idle = d.clock.setTimeout(() => void end(), IDLE_MS);
        });
      return turn;
    },
    async stop() {
      await last;
      if (idle !== undefined) d.clock.clearTimeout(idle);
      await end();
    },
  };
}

const sizeOf = ({ files }: Judgement) => files.reduce((sum, { text }) => sum + text.length, 0);

function tooMuch({ files }: Judgement, found: string) {
  const [largest] = [...files].sort((a, b) => b.text.length - a.text.length);
  return {
    ...{ file: largest?.name ?? 'config', line: 1, column: 1, path: '', found },
    expected: 'a configuration that a person could have written',
  };
}
