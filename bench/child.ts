import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';

const ANSWER_MS_MAX = 60_000;

/** A process of its own that answers each message with one. Its lines on stderr are shown. */
export function startChild<Reply>(module: string) {
  const [command, args] = withOpenFiles(process.execPath, [join(import.meta.dirname, module)]);
  const child = spawn(command, args, {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    env: { ...process.env, ORT_DISABLE_TELEMETRY: '1' },
  });
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

/** The same command with as many open files as it may have; a shell often starts with 1024. The shell is replaced, so the pid stays. */
export function withOpenFiles(command: string, args: readonly string[]): [string, string[]] {
  return ['/bin/sh', ['-c', 'ulimit -n "$(ulimit -H -n)"; exec "$@"', 'sh', command, ...args]];
}
