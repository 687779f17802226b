// The child process of one loaded model version: takes graphs (Load) and batches (Run) over the link, in the order in which they
// come. It has no settings and no files; its working directory is empty. It ends by SIGKILL or when its link closes.
import { BrinkError } from '@brink/protocol';
import { serveParent } from '@brink/runtime';
import { RUNNER_LINK } from './link.ts';
import { createSession, type Session } from './session.ts';

const sessions = new Map<string, Session>();
let last: Promise<unknown> = Promise.resolve();

/** One after the other: ONNX Runtime blocks the thread anyway, and the parent counts on answers in order. */
function inOrder<T>(work: () => Promise<T>): Promise<T> {
  const result = last.then(work);
  last = result.catch(() => {});
  return result;
}

await serveParent(RUNNER_LINK, {
  handlers: {
    load: (value, payloads) =>
      inOrder(async () => {
        const [graph] = payloads;
        if (graph === undefined) throw new BrinkError('E_MODEL_PARSE', 'no graph came with Load');
        const session = await createSession(graph, value.providers);
        sessions.set(value.session, session);
        const heads = { inputs: session.inputs.map(sent), outputs: session.outputs.map(sent) };
        return { body: { case: 'loaded', value: { provider: value.providers[0] ?? 'cpu', ...heads } } };
      }),
    run: (value, payloads, context) =>
      inOrder(async () => {
        const session = sessions.get(value.session);
        if (session === undefined) throw new BrinkError('E_MODEL_NOT_READY', `no graph "${value.session}" was loaded`);
        const { heads, payloads: outputs, runMs } = await session.run(value.batch, value.inputs, payloads);
        // ONNX Runtime allocates every output anew, so nobody looks at the inputs any more.
        context.release();
        return { body: { case: 'ran', value: { outputs: heads.map(sent), runMs } }, payloads: [...outputs] };
      }),
  },
});

function sent(head: Session['inputs'][number]) {
  return { ...head, shape: [...head.shape] };
}
