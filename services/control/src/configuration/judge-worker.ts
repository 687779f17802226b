import { parentPort } from 'node:worker_threads';
import { checkRules } from '@brink/rules';
import type { Judgement } from './judge.ts';
import { validateConfiguration } from './validate.ts';

// The thread that reads what others wrote: see judge.ts.

parentPort?.on('message', ({ files, models }: Judgement) => {
  parentPort?.postMessage(validateConfiguration(files, models, checkRules));
});
parentPort?.postMessage('ready');
