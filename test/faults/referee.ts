import type { Decision, Status } from '@brink/protocol';
import type { Api, List } from '../harness/api.ts';

export interface Verdict {
  /** Sent, and without an outcome. */
  readonly lost: string[];
  /** With more than one. */
  readonly twice: string[];
  /** Outcomes of what nobody says to have sent. */
  readonly foreign: string[];
  readonly laws: { readonly streams: boolean; readonly pipelines: boolean };
  /** For people. */
  readonly report: string;
}

/** Set arithmetic over what the devices say and what control says. */
export function compare(
  sent: readonly string[],
  outcomes: readonly { readonly id: string; readonly outcome: string }[],
  laws: Status['laws'],
): Verdict {
  const [wanted, there, twice] = [new Set(sent), new Set<string>(), [] as string[]];
  const fates = new Map<string, number>();
  for (const { id, outcome } of outcomes) {
    if (there.has(id)) twice.push(id);
    there.add(id);
    fates.set(outcome, (fates.get(outcome) ?? 0) + 1);
  }
  const lost = [...wanted].filter((id) => !there.has(id));
  const foreign = [...there].filter((id) => !wanted.has(id));
  const row = (of: object) => Object.entries(of).map(([key, value]) => `${key} ${value}`);
  return {
    ...{ lost, twice, foreign },
    laws: { streams: laws.streams.holds, pipelines: laws.pipelines.holds },
    report: [
      `sent ${wanted.size}, outcomes ${outcomes.length} (${row(Object.fromEntries(fates)).join(', ')}): ` +
        `${lost.length} lost, ${twice.length} twice, ${foreign.length} that nobody sent`,
      ...laws.streams.items.map((one) => `stream ${row(one).join(', ')}`),
      ...laws.pipelines.items.map((one) => `pipeline ${row(one).join(', ')}`),
      `laws hold: streams ${laws.streams.holds}, pipelines ${laws.pipelines.holds}`,
    ].join('\n'),
  };
}

/** Every outcome that control has, page by page. */
export async function outcomesOf(http: Api): Promise<Decision[]> {
  const all: Decision[] = [];
  for (let after = 0; ; ) {
    const { items, next } = await http.get<List<Decision>>(`/v1/decisions?after=${after}&limit=500`);
    all.push(...items);
    if (items.length === 0 || next === undefined || next === null) return all;
    after = next;
  }
}
