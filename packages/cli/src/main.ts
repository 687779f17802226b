import { Socket } from 'node:net';
import { resolve } from 'node:path';
import { run } from './program.ts';
import { createTerminal } from './terminal.ts';

/** The edge of the process: the only file here that reads process.env and ends the process. */
export async function main(): Promise<void> {
  const stop = new AbortController();
  const root = resolve(import.meta.dirname, '../../..');
  const { stdout, stderr, env } = process;
  // `brink decisions | head` closes the pipe.
  stdout.on('error', () => process.exit(0));
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => stop.abort());
  followLauncher(() => stop.abort());
  const code = await run(process.argv.slice(2), {
    terminal: createTerminal({ stdout, stderr }, env),
    env,
    signal: stop.signal,
    root,
    stdin: () => process.stdin,
  });
  process.exit(code);
}

/** bin/brink.js under an older Node holds the other end: when it is gone, even by kill -9, so are we. */
function followLauncher(gone: () => void): void {
  const descriptor = Number(process.env['BRINK_LAUNCHER_PIPE']);
  delete process.env['BRINK_LAUNCHER_PIPE'];
  if (!Number.isInteger(descriptor) || descriptor < 3) return;
  const pipe = new Socket({ fd: descriptor });
  pipe.on('end', gone).on('close', gone).on('error', gone);
  pipe.resume();
  pipe.unref();
}
