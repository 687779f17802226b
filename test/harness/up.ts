import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const READY_MS_MAX = 90_000;
const repository = join(import.meta.dirname, '../..');

/** What `brink up --json` says when every service is ready. */
export interface Ready {
  readonly event: 'ready';
  readonly http: string;
  readonly mqtt: string;
  readonly oip: string;
  readonly ops: Record<string, string>;
  readonly pids: Record<string, number>;
}

export interface UpOptions {
  /** A folder of its own: data go to <folder>/data. */
  readonly folder: string;
  readonly config?: string;
  readonly models?: string;
  readonly demo?: boolean;
  readonly env?: Record<string, string>;
  /** More of the command line; the last word wins. */
  readonly args?: readonly string[];
}

/** The fleet as users start it: `brink up`, its services in processes of their own, on ports nobody uses. */
export async function startUp(options: UpOptions) {
  const { child, output } = await spawnUp(options);
  const lines = createInterface({ input: child.stdout as NonNullable<ChildProcess['stdout']> });
  const events: Array<Record<string, unknown>> = [];
  const waiting = new Set<() => void>();
  const ready = new Promise<Ready>((resolve, reject) => {
    const timer = setTimeout(() => child.kill('SIGKILL'), READY_MS_MAX);
    lines.on('line', (line) => {
      const event = JSON.parse(line) as Record<string, unknown>;
      events.push(event);
      for (const look of waiting) look();
      if (event.event === 'ready') {
        clearTimeout(timer);
        resolve(event as unknown as Ready);
      }
    });
    child.once('exit', (code, signal) => {
      clearTimeout(timer);
      reject(new Error(`brink up ended (${code ?? signal}) before it was ready:\n${output()}`));
    });
  });
  const addresses = await ready;

  return {
    ...addresses,
    child,
    /** stderr so far */
    output,
    events,
    /** Waits until an event that matches has been printed. */
    async event(matches: (event: Record<string, unknown>) => boolean, ms = 30_000): Promise<Record<string, unknown>> {
      const found = () => events.find(matches);
      return new Promise((resolve, reject) => {
        const timer = setTimeout(() => settle(undefined), ms);
        const settle = (event: Record<string, unknown> | undefined) => {
          clearTimeout(timer);
          waiting.delete(look);
          if (event === undefined) reject(new Error(`no such event in ${ms} ms; there were ${JSON.stringify(events)}`));
          else resolve(event);
        };
        const look = () => {
          const event = found();
          if (event !== undefined) settle(event);
        };
        waiting.add(look);
        look();
      });
    },
    async [Symbol.asyncDispose]() {
      await end(child);
    },
  };
}

/** Starts `brink up` without waiting for it: for the tests in which it must refuse. */
export async function spawnUp(options: UpOptions) {
  const ports = await freePorts(8);
  const args = [
    ...[join(repository, 'packages/cli/bin/brink.js'), 'up', '--json'],
    ...(options.demo === true ? [] : ['--no-demo']),
    ...['--data', join(options.folder, 'data')],
    ...['--config', options.config ?? join(repository, 'config')],
    ...['--models', options.models ?? join(repository, 'models')],
    ...['--port', ports[0], '--mqtt-port', ports[1], '--oip-port', ports[2], '--ops-port', ports[4]].map(String),
    ...(options.args ?? []),
  ];
  const env = { ...process.env, ...options.env };
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'], env });
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => {
    stderr = (stderr + chunk.toString()).slice(-64 * 1024);
  });
  return { child, output: () => stderr };
}

/** SIGTERM, then waits; SIGKILL after 15 s. @returns its exit code */
export async function end(child: ChildProcess): Promise<number | null> {
  if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
  const timer = setTimeout(() => child.kill('SIGKILL'), 15_000);
  child.kill('SIGTERM');
  await once(child, 'exit');
  clearTimeout(timer);
  return child.exitCode;
}

/** Until its `/readyz` says so. */
export async function untilReady(url: string, msMax = READY_MS_MAX): Promise<void> {
  const late = performance.now() + msMax;
  for (;;) {
    const answer = await fetch(url).catch(() => undefined);
    if (answer?.ok === true) return;
    const why = await answer?.text();
    if (performance.now() > late) throw new Error(`not ready in ${msMax} ms: ${why ?? 'nobody listens'}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Consecutive ports that were free a moment ago. */
export async function freePorts(count: number): Promise<number[]> {
  for (;;) {
    const first = 20_000 + Math.floor(Math.random() * 10_000);
    const ports = Array.from({ length: count }, (_, i) => first + i);
    const free = await Promise.all(ports.map(isFree));
    if (free.every(Boolean)) return ports;
  }
}

function isFree(port: number): Promise<boolean> {
  const server = createServer();
  return new Promise((resolve) => {
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}
