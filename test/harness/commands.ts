import { spawn, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import type { Fleet } from './fleet.ts';
import { repository } from './fleet.ts';

/** Why commands that need a program are skipped; undefined where it is there. */
export function noProgram(...names: string[]): string | undefined {
  const missing = names.filter((name) => spawnSync('sh', ['-c', `command -v ${name}`]).status !== 0);
  return missing.length === 0 ? undefined : `there is no ${missing.join(', no ')} on the PATH`;
}

export interface Ran {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** A shell line as people type it, in the repository; `brink` and `npx brink` are the command line, the fleet is where it looks. */
export function shell(
  line: string,
  fleet: Fleet,
  o: { env?: Record<string, string>; msMax?: number } = {},
): Promise<Ran> {
  const brink = `${process.execPath} ${join(repository, 'packages/cli/bin/brink.js')}`;
  const port = new URL(fleet.mqttUrl).port;
  const script = [
    `brink() { ${brink} "$@"; }`,
    'npx() { "$@"; }',
    `mosquitto_pub() { command mosquitto_pub -p ${port} "$@"; }`,
    line.replaceAll('http://127.0.0.1:8080', fleet.api.base),
  ].join('\n');
  const env = { ...process.env, BRINK_URL: fleet.api.base, BRINK_MQTT_URL: fleet.mqttUrl, ...o.env };
  // A group of its own, so that what hangs in a pipe ends with it.
  const child = spawn('bash', ['-c', script], {
    cwd: repository,
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  const [out, err]: [Buffer[], Buffer[]] = [[], []];
  child.stdout.on('data', (part: Buffer) => out.push(part));
  child.stderr.on('data', (part: Buffer) => err.push(part));
  const timer = setTimeout(() => child.pid !== undefined && process.kill(-child.pid, 'SIGKILL'), o.msMax ?? 60_000);
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => {
      clearTimeout(timer);
      resolve({ code, out: Buffer.concat(out).toString(), err: Buffer.concat(err).toString() });
    });
  });
}

/** What `brink send --json` says, decisions and at the end what was sent. */
export function events(out: string): Record<string, unknown>[] {
  return out
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}
