// The thread of a runner that computes. Everything that ONNX Runtime does, it does here: its calls block their thread.

import { parentPort } from 'node:worker_threads';
import { BrinkError } from '@brink/protocol/link';
import { createSession, type Session } from './session.ts';
import type { Finished, Work } from './thread.ts';

const port = parentPort;
if (port === null) throw new BrinkError('E_INTERNAL', 'worker.ts is started by thread.ts');
const sessions = new Map<string, Session>();
let last: Promise<void> = Promise.resolve();

/** In the order in which it comes. */
port.on('message', (work: Work) => {
  last = last.then(async () => {
    const { finished, transfer } = await workOff(work).catch((reason: unknown) => refused(work, reason));
    port.postMessage(finished, transfer);
  });
});

const ready: Finished = { kind: 'ready' };
port.postMessage(ready);

interface Answer {
  readonly finished: Finished;
  readonly transfer: ArrayBuffer[];
}

async function workOff(work: Work): Promise<Answer> {
  const { id, session: name } = work;
  if (work.kind === 'load') {
    const session = await createSession(work.graph, work.providers);
    sessions.set(name, session);
    const { inputs, outputs, provider, fallback } = session;
    return { finished: { kind: 'loaded', id, inputs, outputs, provider, fallback }, transfer: [] };
  }
  const session = sessions.get(name);
  if (session === undefined) throw new BrinkError('E_MODEL_NOT_READY', `no graph "${name}" was loaded`);
  const { memory } = work;
  const fed = work.inputs.map(({ head, offset, bytes }) => ({ head, bytes: new Uint8Array(memory, offset, bytes) }));
  const { outputs, runMs } = await session.run(fed);
  // ONNX Runtime gives each output memory of its own, unless an output is an input.
  const own = new Set(outputs.map(({ bytes }) => bytes.buffer as ArrayBuffer));
  own.add(memory);
  return { finished: { kind: 'ran', id, outputs, runMs, memory }, transfer: [...own] };
}

function refused(work: Work, reason: unknown): Answer {
  const { code, detail } = BrinkError.from(reason);
  const memory = work.kind === 'run' ? [work.memory] : [];
  return { finished: { kind: 'refused', id: work.id, code, detail, memory: memory[0] }, transfer: memory };
}
