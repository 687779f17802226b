import { BrinkError } from '@brink/protocol';
import type { Api } from '../api.ts';
import { printable } from '../terminal.ts';

/** As /v1/models lists them. */
export interface ModelItem {
  readonly name: string;
  /** in the models folder */
  readonly versions: readonly number[];
  /** what the configuration asks for */
  readonly serve?: number;
  /** what inference says */
  readonly running: readonly Running[];
}

interface Running {
  readonly version: number;
  readonly state: string;
  readonly reason?: string;
  readonly instance: string;
  readonly serving?: boolean;
  readonly provider?: string;
}

/** The version that the bare name means: what inference says, else what it would choose. */
export function servingVersion({ serve, running }: ModelItem): number | undefined {
  const said = running.find(({ serving }) => serving === true)?.version;
  const ready = running.filter(({ state }) => state === 'ready').map(({ version }) => version);
  return said ?? (serve !== undefined && ready.includes(serve) ? serve : ready.sort((a, b) => b - a)[0]);
}

/** name, version, state, serves, provider. */
export function modelRows(item: ModelItem): string[][] {
  const serving = servingVersion(item);
  const all = [...new Set([...item.versions, ...item.running.map(({ version }) => version)])].sort((a, b) => a - b);
  return all.map((version) => {
    const at = item.running.filter((one) => one.version === version);
    const states = at.map((one) =>
      one.reason === undefined || one.reason === '' ? one.state : `${one.state}: ${one.reason}`,
    );
    const providers = [...new Set(at.flatMap(({ provider }) => provider ?? []))].join(', ');
    const state = states.length === 0 ? 'not loaded' : [...new Set(states)].join(', ');
    return [item.name, String(version), version === serving ? 'serves' : '', providers, printable(state)];
  });
}

/** @throws BrinkError E_NOT_FOUND, E_CONFIG, E_UNAVAILABLE @returns the configuration's revision with it */
export async function serveVersion(
  api: Api,
  name: string,
  version: number,
): Promise<{ revision: string; item: ModelItem }> {
  const { revision } = await api.send<{ revision: string }>('PATCH', `/v1/models/${name}`, { serve: version });
  return { revision, item: await api.get<ModelItem>(`/v1/models/${name}`) };
}

/** The next version below the one that serves. @throws BrinkError E_CONFLICT where there is none */
export function lowerVersion(item: ModelItem): { from: number | undefined; to: number } {
  const from = servingVersion(item) ?? item.serve ?? item.versions.at(-1);
  const to = item.versions.filter((version) => from === undefined || version < from).at(-1);
  if (to === undefined) {
    const there = item.versions.join(', ');
    throw new BrinkError(
      'E_CONFLICT',
      `${item.name} has no version below ${from ?? 'the one that serves'}; there is ${there}`,
    );
  }
  return { from, to };
}

export function servesLine(item: ModelItem, version: number, revision: string): string {
  const serving = servingVersion(item);
  const at = item.running.find((one) => one.version === version);
  const state = at === undefined ? 'not loaded yet' : at.state;
  const until = serving === version || serving === undefined ? '' : `; version ${serving} serves until it is ready`;
  return `${item.name}: version ${version} is to serve (${state}${until}), configuration ${revision}`;
}
