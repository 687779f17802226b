import type { ModelPolicy } from '@brink/protocol';
import type { Shelf } from './shelf.ts';
import { reasonOf } from './status.ts';
import type { ModelVersion } from './version.ts';

const isReady = ({ status }: ModelVersion) => status.state === 'ready';

/**
 * The configured version, then the others from the highest, those without a passport last: they take no units. The first that has
 * not failed, once it is ready. Until then the one that serves goes on.
 * @param versions of one name, ascending
 * @param o starting: nothing has served yet, so that a lower version does not serve for the second that a higher one still loads
 */
export function chooseServing(
  versions: readonly ModelVersion[],
  o: { wanted: number | undefined; current: ModelVersion | undefined; starting: boolean },
): ModelVersion | undefined {
  const descending = versions.filter(({ status }) => status.state !== 'draining').reverse();
  const bare = descending.filter(({ status }) => status.isBare);
  const full = descending.filter(({ status }) => !status.isBare);
  const order = [...descending.filter(({ version }) => version === o.wanted), ...full, ...bare];
  const first = order.find(({ status }) => status.state !== 'failed');
  if (first !== undefined && isReady(first)) return first;
  if (o.current !== undefined && isReady(o.current)) return o.current;
  return o.starting ? undefined : order.find(isReady);
}

/** Configured versions that do not serve, and what serves instead. */
export function askedProblems(
  policies: Readonly<Record<string, ModelPolicy>>,
  shelf: Pick<Shelf, 'versions' | 'index'>,
  serving: ReadonlyMap<string, ModelVersion>,
): string[] {
  return Object.entries(policies).flatMap(([name, { serve }]) => {
    if (serve === undefined) return [];
    const isAsked = (one: { name: string; version: number }) => one.name === name && one.version === serve;
    const asked = shelf.versions.find(isAsked);
    const current = serving.get(name);
    if (asked !== undefined && asked === current) return [];
    const instead = current === undefined ? 'none serves' : `serving ${current.version}`;
    return [
      `${name}: version ${serve} is asked for but ${stateText(asked, shelf.index.find(isAsked)?.reason)}; ${instead}`,
    ];
  });
}

function stateText(asked: ModelVersion | undefined, whyNot: string | undefined): string {
  if (asked === undefined) return whyNot === undefined ? 'is not in the models folder' : `is not loaded: ${whyNot}`;
  const { state } = asked.status;
  const reason = reasonOf(asked.status);
  return `${state === 'failed' ? 'failed' : `is ${state}`}${reason === '' ? '' : `: ${reason}`}`;
}
