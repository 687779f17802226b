import { BrinkError } from '@brink/protocol';
import type { RunnerProcess } from '../runner/process.ts';
import type { BatchRunner } from '../scheduler/lane.ts';

/**
 * A runner that also takes tensors for the native graph, for the Open Inference Protocol: a second session in the same
 * process, made at the first request, so that those who never ask pay nothing for it. Good for one start of the process.
 * @param readGraph the bytes of the file
 * @param isLoaded it has that session already
 */
export function withNative(
  process: RunnerProcess,
  readGraph: () => Promise<Uint8Array>,
  isLoaded: boolean,
): BatchRunner {
  let loaded: Promise<unknown> | undefined = isLoaded ? Promise.resolve() : undefined;
  return {
    async run(request, runMsMax) {
      if (request.session === '') return process.run(request, runMsMax);
      loaded ??= readGraph().then((graph) => process.load(graph, 'native'));
      try {
        await loaded;
      } catch (reason) {
        loaded = undefined;
        return { kind: 'failed', error: BrinkError.from(reason), fate: 'final' };
      }
      return process.run(request, runMsMax);
    },
  };
}
