import type { ModelPolicy } from '@brink/protocol';
import type { VersionStatus } from './status.ts';

/** What somebody asked for through the Open Inference Protocol goes before the policy. */
export type Asked = 'policy' | 'load' | 'unload';

/** One version of a model, loaded or not. */
export interface Candidate {
  readonly version: number;
  readonly asked: Asked;
  /** undefined: not loaded */
  readonly state: VersionStatus['state'] | undefined;
}

/**
 * Which versions of one model are to be loaded. `latest` is the highest, and below a failed one the next; the configured `serve` is
 * always among them. A version that is wanted no more stays while none of those that are is ready: what served goes on.
 */
export function selectVersions(
  all: readonly Candidate[],
  policy: Pick<ModelPolicy, 'versions' | 'serve'>,
): Set<number> {
  const byPolicy = policy.versions === 'latest' ? latest(all) : all.filter(({ version }) => isListed(version, policy));
  const wanted = new Set(
    [...byPolicy, ...all.filter(({ version }) => version === policy.serve)]
      .filter(({ asked }) => asked === 'policy')
      .concat(all.filter(({ asked }) => asked === 'load'))
      .map(({ version }) => version),
  );
  const isReady = all.some(({ version, state }) => wanted.has(version) && state === 'ready');
  const still = isReady ? [] : all.filter(({ asked, state }) => asked !== 'unload' && state === 'ready');
  return new Set([...wanted, ...still.map(({ version }) => version)]);
}

/** The highest one, and below those that failed the next. */
function latest(all: readonly Candidate[]): Candidate[] {
  const descending = [...all].sort((a, b) => b.version - a.version);
  const sound = descending.findIndex(({ state }) => state !== 'failed');
  return sound < 0 ? descending : descending.slice(0, sound + 1);
}

const isListed = (version: number, { versions }: Pick<ModelPolicy, 'versions'>) =>
  versions === 'all' || (versions !== 'latest' && versions.includes(version));
