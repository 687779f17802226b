import type { Decision } from '@brink/protocol';
import { type Command, Option } from 'commander';
import type { Query } from '../api.ts';
import { decisionLine } from '../show.ts';
import { type Edge, usingApi, type VerbOptions, verb, wholeNumber, withApi } from '../verb.ts';

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
    .option('--since <time>', 'ISO 8601')
    .option('--until <time>', 'ISO 8601')
    .option('--after <n>', 'those after this running number, oldest first', wholeNumber(0, 1e12))
    .option('--limit <n>', 'at most 500', wholeNumber(1, 500), 20)
    .option('--ids', 'print the ids too, for `brink explain`');
  const example = ['brink decisions --device cam-9 --limit 1', 'brink decisions --label cat --score-min 0.6 --ids'];
  verb<DecisionsOptions>(edge, command, example, async (context, options) =>
    usingApi(context, options, async (api) => {
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
