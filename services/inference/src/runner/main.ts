// The child process of one loaded model version: takes graphs (Load) and batches (Run) over the link, in the order in which they
// come. This thread reads and writes the link, another one runs the sessions. It has no settings and no files; its working
// directory is empty. It ends by SIGKILL: Node's own ways to exit wait for the other thread, or abort where that is in a run.

import { flushCompileCache } from 'node:module';
import { BrinkError } from '@brink/protocol/link';
import { serveParent } from '@brink/runtime/child';
import type { Head } from '../scheduler/job.ts';
import { RUNNER_LINK } from './link.ts';
import { startSessionThread } from './thread.ts';

const thread = await startSessionThread({
  lost(reason) {
    const said = reason instanceof Error ? reason.stack : String(reason);
    process.stderr.write(`${said}\n`, () => process.kill(process.pid, 'SIGABRT'));
  },
});

await serveParent(RUNNER_LINK, {
  onEnd: () => process.kill(process.pid, 'SIGKILL'),
  // This thread never computes, so it hears at once when the parent is gone.
  watchParent: false,
  handlers: {
    load: async ({ session, providers, strict }, payloads) => {
      const [graph] = payloads;
      if (graph === undefined) throw new BrinkError('E_MODEL_PARSE', 'no graph came with Load');
      const { provider, fallback, inputs, outputs } = await thread.load(session, graph, { wanted: providers, strict });
      const value = { provider, fallback, inputs: inputs.map(sent), outputs: outputs.map(sent) };
      return { body: { case: 'loaded', value } };
    },
    run: async ({ session, batch, inputs }, payloads, context) => {
      const running = thread.run(session, batch, inputs, payloads);
      // They are copied: their memory carries the next batch while this one is computed.
      context.release();
      const { outputs, runMs } = await running;
      return {
        body: { case: 'ran', value: { outputs: outputs.map(({ head }) => sent(head)), runMs } },
        payloads: outputs.map(({ bytes }) => bytes),
      };
    },
  },
});

// Node does it when a process exits, which this one never does. Without NODE_COMPILE_CACHE it is nothing.
flushCompileCache();

function sent(head: Head) {
  return { ...head, shape: [...head.shape] };
}
