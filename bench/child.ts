import { fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';

const ANSWER_MS_MAX = 60_000;

/** A process of its own that answers each message with one. Its lines on stderr are shown. */
export function startChild<Reply>(module: string) {
  const child = fork(join(import.meta.dirname, module), { env: { ...process.env, ORT_DISABLE_TELEMETRY: '1' } });
  const ended = once(child, 'exit').then(([code]) => {
    throw new Error(`${module} ended with ${code}; its lines above say why`);
  });
  ended.catch(() => {});
  return {
    async ask(request: object | boolean): Promise<Reply> {
      const message = once(child, 'message', { signal: AbortSignal.timeout(ANSWER_MS_MAX) });
      child.send(request);
      const [reply] = (await Promise.race([message, ended])) as [Reply];
      return reply;
    },
    async [Symbol.asyncDispose]() {
      if (child.connected) child.disconnect();
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    },
  };
}
