import type { DeadRecord, Discovered, Status } from '@brink/protocol';
import { BrinkError } from '@brink/protocol';
import { type Clock, wait } from '@brink/runtime';
import type { Api } from '../api.ts';
import { clockTime, near, type Paint, printable } from '../terminal.ts';

/** What happens beside decisions and actions: a new configuration, refused frames, streams nobody asked for. */
export interface News {
  /** Every second. The first one is how things stand, and says nothing. @returns lines, and codes of which something new was refused */
  status(status: Status): { lines: string[]; refused: string[] };
  /** The newest frame that was refused with a code. */
  dead(letter: DeadRecord): string[];
  discovered(items: readonly Discovered[]): string[];
  /** For the summary: refusals since the last one that had no line of their own. */
  refused(): string[];
}

const POLL_MS = 1000;
/** The same refusal of the same stream has a line of its own again after this time. */
const REPEAT_MS = 10_000;
/** So long the services may take to apply a configuration. */
const APPLY_MS = 5000;
const KEPT_MAX = 1000;
const DISCOVERED_LINES_MAX = 5;

/** @param now epoch ms */
export function createNews(paint: Paint, now: () => number): News {
  const configuration = createConfigurationNews(paint, now);
  const at = () => paint('dim', clockTime(now()));
  const shownAt = new Map<string, number>();
  const known = new Set<string>();
  let counts: Map<string, number> | undefined;
  let hidden = new Map<string, number>();

  return {
    status(status) {
      const last = counts;
      counts = new Map(status.dead.map(({ code, count }) => [code, count]));
      const refused: string[] = [];
      for (const [code, count] of last === undefined ? [] : counts) {
        const more = count - (last?.get(code) ?? 0);
        if (more <= 0) continue;
        refused.push(code);
        hidden.set(code, (hidden.get(code) ?? 0) + more);
      }
      return { lines: configuration(status.configuration, status.services), refused };
    },
    dead({ device, stream, error }) {
      const key = `${device}/${stream} ${error.code}`;
      if (now() - (shownAt.get(key) ?? Number.NEGATIVE_INFINITY) < REPEAT_MS) return [];
      if (shownAt.size >= KEPT_MAX) shownAt.clear();
      shownAt.set(key, now());
      const left = (hidden.get(error.code) ?? 1) - 1;
      if (left > 0) hidden.set(error.code, left);
      else hidden.delete(error.code);
      const what = `${printable(`${device}/${stream}`)} refused ${error.code}: ${printable(error.detail).slice(0, 300)}`;
      return [`${at()} ${paint('yellow', `! ${what}`)}  ${paint('dim', '(brink dead)')}`];
    },
    discovered(items) {
      const fresh = items.filter(({ device, stream }) => !known.has(`${device}/${stream}`));
      if (known.size + fresh.length > KEPT_MAX) known.clear();
      for (const { device, stream } of fresh) known.add(`${device}/${stream}`);
      const lines = fresh
        .slice(0, DISCOVERED_LINES_MAX)
        .map(({ device, stream }) => `${device}/${stream} is no stream of the configuration`);
      if (fresh.length > lines.length) lines.push(`${fresh.length - lines.length} more are no streams either`);
      return lines.map(
        (text) => `${at()} ${paint('yellow', `? ${printable(text)}`)}  ${paint('dim', '(brink discovered)')}`,
      );
    },
    refused() {
      const texts = [...hidden].map(([code, count]) => `${count} more refused ${code}`);
      hidden = new Map();
      return texts;
    },
  };
}

/** Says when a configuration is in force, and when an edit was refused and why. */
function createConfigurationNews(paint: Paint, now: () => number) {
  let inForce: string | undefined;
  let wrong: string | undefined;
  let newSince: number | undefined;
  const say = (colour: 'green' | 'red', text: string) => `${paint('dim', clockTime(now()))} ${paint(colour, text)}`;

  function revisionLines(revision: string, applied: boolean, services: Status['services']): string[] {
    if (revision === inForce) return [];
    newSince ??= now();
    if (!applied && now() - newSince < APPLY_MS) return [];
    newSince = undefined;
    inForce = revision;
    if (applied) return [say('green', `configuration ${revision} in force`)];
    const why = services.flatMap(({ service, revision_error: error }) =>
      error === undefined ? [] : [`  ${service}: ${printable(error)}`],
    );
    return [say('red', `configuration ${revision} is active, but not every service has applied it`), ...why];
  }

  return ({ revision, applied, error }: Status['configuration'], services: Status['services']): string[] => {
    const first = inForce === undefined;
    if (first) inForce = revision;
    const lines = first ? [] : revisionLines(revision, applied, services);
    const detail = error?.detail;
    if (detail === wrong) return lines;
    const before = wrong;
    wrong = detail;
    if (detail === undefined) {
      // Unless a new one came into force, which says the same.
      if (before !== undefined && revision === inForce && lines.length === 0)
        lines.push(say('green', `configuration ${revision} in force, the files are right again`));
      return lines;
    }
    lines.push(say('red', `configuration refused, ${revision} stays in force:`));
    for (const line of detail.split('\n')) lines.push(`  ${printable(near(line))}`);
    return lines;
  };
}

/** Asks every second until the signal aborts. What cannot be had now is asked again. */
export async function pollNews(
  api: Pick<Api, 'get'>,
  o: { news: News; clock: Clock; signal: AbortSignal; show: (lines: readonly string[]) => void },
): Promise<void> {
  while (!o.signal.aborted) {
    try {
      await ask(api, o);
    } catch (error) {
      // Control is being restarted, which was told already.
      if (BrinkError.from(error).code === 'E_CANCELLED') return;
    }
    await wait(POLL_MS, o.clock, o.signal).catch(() => {});
  }
}

async function ask(api: Pick<Api, 'get'>, o: { news: News; show: (lines: readonly string[]) => void }): Promise<void> {
  const [status, discovered] = await Promise.all([
    api.get<Status>('/v1/status'),
    api.get<{ items: Discovered[] }>('/v1/discovered'),
  ]);
  const { lines, refused } = o.news.status(status);
  o.show([...lines, ...o.news.discovered(discovered.items)]);
  for (const code of refused) {
    const { items } = await api.get<{ items: DeadRecord[] }>('/v1/dead', { code, limit: 1 });
    for (const letter of items) o.show(o.news.dead(letter));
  }
}
