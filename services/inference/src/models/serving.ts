import type { ModelPolicy } from '@brink/protocol';
import { type ModelVersion, reasonOf } from './version.ts';

const isReady = ({ status }: ModelVersion) => status.state === 'ready';

/**
 * The configured version, then the others from the highest; the first that has not failed, once it is ready. Until then the one
 * that serves goes on.
 * @param versions of one name, ascending
 * @param o starting: nothing has served yet, so that a lower version does not serve for the second that a higher one still loads
 */
export function chooseServing(
  versions: readonly ModelVersion[],
  o: { wanted: number | undefined; current: ModelVersion | undefined; starting: boolean },
): ModelVersion | undefined {
  const descending = versions.filter(({ status }) => status.state !== 'draining').reverse();
  const order = [...descending.filter(({ version }) => version === o.wanted), ...descending];
  const first = order.find(({ status }) => status.state !== 'failed');
  if (first !== undefined && isReady(first)) return first;
  if (o.current !== undefined && isReady(o.current)) return o.current;
  return o.starting ? undefined : order.find(isReady);
}

/** Configured versions that do not serve, and what serves instead. */
export function askedProblems(
  policies: Readonly<Record<string, ModelPolicy>>,
  versions: readonly ModelVersion[],
  serving: ReadonlyMap<string, ModelVersion>,
): string[] {
  return Object.entries(policies).flatMap(([name, { serve }]) => {
    if (serve === undefined) return [];
    const asked = versions.find((one) => one.name === name && one.version === serve);
    const current = serving.get(name);
    if (asked !== undefined && asked === current) return [];
    const instead = current === undefined ? 'none serves' : `serving ${current.version}`;
    return [`${name}: version ${serve} is asked for but ${stateText(asked)}; ${instead}`];
  });
}

function stateText(asked: ModelVersion | undefined): string {
  if (asked === undefined) return 'is not in the models folder';
  const { state } = asked.status;
  const reason = reasonOf(asked.status);
  return `${state === 'failed' ? 'failed' : `is ${state}`}${reason === '' ? '' : `: ${reason}`}`;
}
