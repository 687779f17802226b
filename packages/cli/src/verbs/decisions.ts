import type { Decision, DecisionSummary } from '@brink/protocol';
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { Api, Query } from '../api.ts';
import { sinceTime, span } from '../rules/since.ts';
import { decisionLine } from '../show.ts';
import { printable, table } from '../terminal.ts';
import { type Context, type Edge, usingApi, type VerbOptions, verb, wholeNumber, withApi } from '../verb.ts';

interface DecisionsOptions extends VerbOptions {
  device?: string;
  stream?: string;
  pipeline?: string;
  label?: string;
  scoreMin?: string;
  outcome?: string;
  since?: string;
  until?: string;
  after?: number;
  limit: number;
  ids?: boolean;
  by?: number;
}

/** `brink decisions`: newest first; with --after oldest first, from there on. Exit 1 when there is none. */
export function addDecisions(program: Command, edge: Edge): void {
  const command = withApi(program.command('decisions'))
    .description('list decisions, newest first')
    .option('--device <name>')
    .option('--stream <name>')
    .option('--pipeline <name>')
    .option('--label <label>')
    .option('--score-min <number>', '0 to 1')
    .addOption(new Option('--outcome <outcome>').choices(['decided', 'expired', 'dead']))
    .option('--since <time>', 'as 24h, 7d or 2026-11-22T16:00:00Z', sinceTime)
    .option('--until <time>', 'ISO 8601')
    .option('--after <n>', 'those after this running number, oldest first', wholeNumber(0, 1e12))
    .option('--limit <n>', 'at most 500', wholeNumber(1, 500), 20)
    .option('--ids', 'print the ids too, for `brink explain`')
    .option('--by <time>', 'sums instead of decisions, as 5m, 1h, 1d', bucketSeconds);
  const example = [
    'brink decisions --device cam-9 --limit 1',
    'brink decisions --label cat --score-min 0.6 --ids',
    'brink decisions --by 1h --since 24h',
  ];
  verb<DecisionsOptions>(edge, command, example, async (context, options) =>
    usingApi(context, options, async (api) => {
      if (options.by !== undefined) return showSums(context, options, options.by, api);
      const { device, stream, pipeline, label, outcome, since, until, after, limit } = options;
      const filter: Query = {
        device,
        stream,
        pipeline,
        label,
        score_min: options.scoreMin,
        outcome,
        since,
        until,
        after,
        limit,
      };
      const page = await api.get<{ items: Decision[]; next?: number | null }>('/v1/decisions', filter);
      const lines = page.items.map((decision) => {
        const line = decisionLine(decision, context.paint);
        return options.ids === true ? `${line}  ${context.paint('dim', decision.id)}` : line;
      });
      context.show(page, lines.length === 0 ? ['no decisions'] : lines);
      return page.items.length === 0 ? 1 : 0;
    }),
  );
}

const DAY_S = 86_400;

/** For commander: a whole number of minutes, as seconds, else exit 2. */
function bucketSeconds(text: string): number {
  const seconds = span(text) / 1000;
  if (seconds % 60 !== 0) throw new InvalidArgumentError('expected whole minutes, hours or days, as 5m, 1h, 1d');
  return seconds;
}

/** Counted of every decision, also of those that `keep` left out. */
async function showSums(context: Context, options: DecisionsOptions, bucket_s: number, api: Api): Promise<number> {
  const { device, stream, pipeline, since, until } = options;
  const query: Query = { device, stream, pipeline, since, until, bucket_s };
  const sums = await api.get<DecisionSummary>('/v1/decisions/summary', query);
  const rows = sums.items.map(({ at, decided, expired, dead, labels, score, latency_ms }) => [
    context.paint('dim', localTime(at).slice(0, bucket_s >= DAY_S ? 10 : 16)),
    `${decided} decided`,
    ...(expired + dead === 0 ? [''] : [context.paint('yellow', `${expired} expired, ${dead} dead`)]),
    score === null ? '' : `score ${score.mean.toFixed(2)}`,
    `${latency_ms.mean.toFixed(1)} ms`,
    labels
      .slice(0, 5)
      .map(({ label, count }) => `${count} ${printable(label)}`)
      .join(', '),
  ]);
  context.show(sums, rows.length === 0 ? ['no decisions'] : table(rows));
  return rows.length === 0 ? 1 : 0;
}

/** `2026-11-23 04:00:00`, as clocks here show it. */
const localTime = (iso: string) => new Date(iso).toLocaleString('sv-SE');
