import { BrinkError } from '@brink/protocol';
import { type Command, Option } from 'commander';
import { queryText } from '../api.ts';
import { followEvents, type LiveEvent } from '../follow.ts';
import { actionLine, decisionLine } from '../show.ts';
import { type Context, type Edge, usingApi, type VerbOptions, verb, wholeNumber, withApi } from '../verb.ts';

interface WatchOptions extends VerbOptions {
  device?: string;
  stream?: string;
  pipeline?: string;
  label?: string;
  scoreMin?: string;
  outcome?: string;
  after?: number;
}

/** `brink watch`: every decision and action as it is committed, until Ctrl-C. */
export function addWatch(program: Command, edge: Edge): void {
  const command = withApi(program.command('watch'))
    .description('follow decisions and actions as they are committed')
    .option('--device <name>')
    .option('--stream <name>')
    .option('--pipeline <name>')
    .option('--label <label>')
    .option('--score-min <number>', '0 to 1')
    .addOption(new Option('--outcome <outcome>').choices(['decided', 'expired', 'dead']))
    .option('--after <n>', 'first what was committed after this running number', wholeNumber(0, 1e12));
  const example = ['brink watch', 'brink watch --device cam-9', 'brink watch --label cat --json | jq .id'];
  verb<WatchOptions>(edge, command, example, async (context, options) =>
    usingApi(context, options, async (api) => {
      const { device, stream, pipeline, label, scoreMin, outcome, after } = options;
      const filter = { device, stream, pipeline, label, score_min: scoreMin, outcome };
      await followEvents(api, {
        signal: context.signal,
        path: `/v1/events${queryText(filter)}`,
        ...(after === undefined ? {} : { after }),
        seen: (event) => showEvent(context, event),
        lost(error, everConnected) {
          if (!everConnected) throw BrinkError.from(error);
          if (!context.json) context.terminal.note('brink watch: the connection was lost; trying again');
        },
      });
      return 0;
    }),
  );
}

function showEvent({ show, paint }: Context, { decision, action }: LiveEvent): void {
  if (action !== undefined) show({ event: 'action', ...action }, [actionLine(action, paint)]);
  else show({ event: 'decision', ...decision }, [decisionLine(decision, paint)]);
}
