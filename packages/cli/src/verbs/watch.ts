import { BrinkError, type Decision } from '@brink/protocol';
import type { Command } from 'commander';
import { followEvents, type LiveEvent } from '../follow.ts';
import { actionLine, decisionLine } from '../show.ts';
import { type Context, type Edge, usingApi, type VerbOptions, verb, withApi } from '../verb.ts';

interface WatchOptions extends VerbOptions {
  device?: string;
  pipeline?: string;
  label?: string;
}

/** `brink watch`: every decision and action as it is committed, until Ctrl-C. */
export function addWatch(program: Command, edge: Edge): void {
  const command = withApi(program.command('watch'))
    .description('follow decisions and actions as they are committed')
    .option('--device <name>')
    .option('--pipeline <name>')
    .option('--label <label>');
  const example = ['brink watch', 'brink watch --device cam-9', 'brink watch --label cat --json | jq .id'];
  verb<WatchOptions>(edge, command, example, async (context, options) =>
    usingApi(context, options, async (api) => {
      await followEvents(api, {
        signal: context.signal,
        seen: (event) => showEvent(context, options, event),
        lost(error, everConnected) {
          if (!everConnected) throw BrinkError.from(error);
          if (!context.json) context.terminal.note('brink watch: the connection was lost; trying again');
        },
      });
      return 0;
    }),
  );
}

function wanted(options: WatchOptions, decision: Decision): boolean {
  const { device, pipeline, label } = options;
  return (
    (device === undefined || decision.device === device) &&
    (pipeline === undefined || decision.pipeline === pipeline) &&
    (label === undefined || decision.label === label)
  );
}

function showEvent(context: Context, options: WatchOptions, { decision, action }: LiveEvent): void {
  const { show, paint } = context;
  if (action !== undefined) show({ event: 'action', ...action }, [actionLine(action, paint)]);
  else if (wanted(options, decision)) show({ event: 'decision', ...decision }, [decisionLine(decision, paint)]);
}
