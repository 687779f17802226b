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
  const wanted = new Set<number>();
  for (const { version, asked } of all) {
    if (asked === 'load' || (asked === 'policy' && (version === policy.serve || listed(version, policy)))) {
      wanted.add(version);
    }
  }
  if (policy.versions === 'latest') {
    for (const { version, asked, state } of [...all].sort((a, b) => b.version - a.version)) {
      if (asked === 'policy') wanted.add(version);
      if (state !== 'failed') break;
    }
  }
  if (!all.some(({ version, state }) => wanted.has(version) && state === 'ready')) {
    for (const { version, asked, state } of all) if (asked !== 'unload' && state === 'ready') wanted.add(version);
  }
  return wanted;
}

function listed(version: number, { versions }: Pick<ModelPolicy, 'versions'>): boolean {
  return versions === 'all' || (versions !== 'latest' && versions.includes(version));
}
