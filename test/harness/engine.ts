import { spawnSync } from 'node:child_process';

/** Why container tests cannot run here; undefined where they can. */
export function noEngine(): string | undefined {
  const { status, error } = spawnSync('docker', ['info'], { encoding: 'utf8', timeout: 20_000 });
  if (error !== undefined) return 'there is no docker command';
  if (status !== 0) return 'no Docker engine answers';
  const compose = spawnSync('docker', ['compose', 'version'], { encoding: 'utf8', timeout: 20_000 });
  return compose.status === 0 ? undefined : 'docker has no compose plugin';
}

/** Title of a suite that needs an engine; says why where it is skipped. */
export function titled(title: string, reason: string | undefined): string {
  return reason === undefined ? title : `${title} (skipped: ${reason})`;
}
