import { spawnSync } from 'node:child_process';

/** Why container tests cannot run here; undefined where they can. @param images that are needed, pulled where absent */
export function noEngine(...images: string[]): string | undefined {
  if (docker('--version') === undefined) return 'there is no docker command';
  if (docker('info') === undefined) return 'no Docker engine answers';
  if (docker('compose', 'version') === undefined) return 'docker has no compose plugin';
  const missing = images.find(
    (image) => docker('image', 'inspect', image) === undefined && docker('pull', '--quiet', image) === undefined,
  );
  return missing === undefined ? undefined : `the image ${missing} is not here and cannot be pulled`;
}

/** @returns what it printed, undefined where it failed */
function docker(...args: string[]): string | undefined {
  const { status, stdout } = spawnSync('docker', args, { encoding: 'utf8', timeout: 120_000 });
  return status === 0 ? stdout : undefined;
}

/** Title of a suite that needs an engine; says why where it is skipped. */
export function titled(title: string, reason: string | undefined): string {
  return reason === undefined ? title : `${title} (skipped: ${reason})`;
}
