import { Worker } from 'node:worker_threads';
import { BrinkError } from '@brink/protocol';
import { checkRules } from '@brink/rules';
import { type Clock, onlyCompileCache, type Timer } from '@brink/runtime';
import type { ModelsOnDisk } from './crosschecks.ts';
import type { SourceFile } from './sources.ts';
import { type Validation, validateConfiguration } from './validate.ts';

// Files come from outside. A YAML bomb, a rule with conditions without end or tests that never stop must hold up nobody but who wrote
// them: they are judged in a thread, which is ended where it takes too long or too much memory.

const JUDGE_MS_MAX = 8000;
const HEAP_MB_MAX = 256;
/** What is no larger is read in no time, whatever is in it, and most sites are: they need not wait for a thread to start. */
const HERE_CHARACTERS_MAX = 16 * 1024;
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
  let thread: Thread | undefined;
  let idle: Timer | undefined;
  let last: Promise<unknown> = Promise.resolve();

  async function end(): Promise<void> {
    const ended = thread;
    thread = undefined;
    await ended?.worker.terminate();
  }

  async function ask(of: Judgement): Promise<Validation> {
    thread ??= startThread();
    const { worker: asked, ready } = thread;
    try {
      // Its start is none of the files' time.
      await ready;
    } catch (cause) {
      await end();
      throw new BrinkError('E_CRASHED', `no thread to check the configuration in: ${BrinkError.from(cause).detail}`, {
        cause,
      });
    }
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
    async judge(of) {
      if (sizeOf(of) <= HERE_CHARACTERS_MAX && !mayHaveTests(of)) {
        return validateConfiguration(of.files, of.models, checkRules);
      }
      if (idle !== undefined) d.clock.clearTimeout(idle);
      const turn = last.then(() => ask(of));
      last = turn
        .catch(() => {})
        .then(() => {
          idle = d.clock.setTimeout(() => void end(), IDLE_MS);
        });
      return await turn;
    },
    async stop() {
      await last;
      if (idle !== undefined) d.clock.clearTimeout(idle);
      await end();
    },
  };
}

/** Tests of rules are run, and a few lines of them can be work for minutes. In YAML the word can be written with a backslash only. */
const mayHaveTests = ({ files }: Judgement) => files.some(({ text }) => /tests|\\/.test(text));
const sizeOf = ({ files }: Judgement) => files.reduce((sum, { text }) => sum + text.length, 0);

interface Thread {
  readonly worker: Worker;
  readonly ready: Promise<void>;
}

function startThread(): Thread {
  const worker = new Worker(new URL('./judge-worker.ts', import.meta.url), {
    name: 'configuration',
    env: onlyCompileCache(),
    execArgv: ['--disable-warning=ExperimentalWarning'],
    resourceLimits: { maxOldGenerationSizeMb: HEAP_MB_MAX },
  });
  // Keeps no process alive by itself.
  worker.unref();
  const ready = new Promise<void>((resolve, reject) => {
    worker.once('message', () => resolve());
    worker.once('exit', (code) => reject(new Error(`it ended with ${code}`)));
    // Stays: an error that nobody listens to would end the process.
    worker.on('error', reject);
  });
  ready.catch(() => {});
  return { worker, ready };
}

function tooMuch({ files }: Judgement, found: string) {
  const [largest] = [...files].sort((a, b) => b.text.length - a.text.length);
  return {
    ...{ file: largest?.name ?? 'config', line: 1, column: 1, path: '', found },
    expected: 'a configuration that a person could have written',
  };
}
