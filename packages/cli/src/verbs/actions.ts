import { ACTION_KINDS, type ActionRecord, ActionStateSchema } from '@brink/protocol';
import { type Command, Option } from 'commander';
import type { Api } from '../api.ts';
import { sinceTime } from '../rules/since.ts';
import { actionLine } from '../show.ts';
import { type Context, type Edge, errorCode, usingApi, type VerbOptions, verb, wholeNumber, withApi } from '../verb.ts';

interface Filter {
  rule?: string;
  kind?: string;
  target?: string;
  code?: string;
  since?: string;
  until?: string;
}

interface ListOptions extends VerbOptions, Filter {
  state?: string;
  limit: number;
  ids?: boolean;
}

interface RetryOptions extends VerbOptions, Filter {
  state?: string;
}

const filtered = (command: Command): Command =>
  command
    .option('--rule <name>')
    .addOption(new Option('--kind <kind>').choices(ACTION_KINDS))
    .option('--target <name>', 'the device of a command, the topic of a publish, a name of `targets`')
    .option('--code <code>', 'of the error, as E_TIMEOUT', errorCode)
    .option('--since <time>', 'made since then, as 24h, 7d or 2026-11-22T16:00:00Z', sinceTime)
    .option('--until <time>', 'made before, ISO 8601');

/** `brink actions [list]`: newest first; exit 1 where there is none. `brink actions cancel <id>`. */
export function addActions(program: Command, edge: Edge): void {
  const actions = program
    .command('actions')
    .description('what was ordered by rules and people, and what became of it')
    .addHelpText('after', '\nExamples:\n  $ brink actions\n  $ brink actions --state dead --target duty');
  const list = filtered(withApi(actions.command('list', { isDefault: true })))
    .description('list them, newest first')
    .addOption(new Option('--state <state>').choices(ActionStateSchema.options))
    .option('--limit <n>', 'at most 500', wholeNumber(1, 500), 20)
    .option('--ids', 'print the ids too, for `brink explain` and `brink dead retry`');
  const example = ['brink actions', 'brink actions list --state expired --since 24h --ids'];
  verb<ListOptions>(edge, list, example, async (context, options) =>
    usingApi(context, options, async (api) => {
      const { state, limit } = options;
      const page = await api.get<{ items: ActionRecord[] }>('/v1/actions', { state, limit, ...filterOf(options) });
      const lines = page.items.map((action) => {
        const line = actionLine(action, context.paint);
        return options.ids === true ? `${line}  ${context.paint('dim', action.id)}` : line;
      });
      context.show(page, lines.length === 0 ? ['no actions'] : lines);
      return page.items.length === 0 ? 1 : 0;
    }),
  );
  const cancel = withApi(actions.command('cancel'))
    .description('do not send it any more')
    .argument('<id>', 'of an action that has not ended');
  verb<VerbOptions>(
    edge,
    cancel,
    ['brink actions cancel cam-1.front.k3v9x2.1042.0.pets~cat-at-the-flap~0'],
    async (context, options, id = '') =>
      usingApi(context, options, async (api) => {
        const action = await api.send<ActionRecord>('POST', `/v1/actions/${encodeURIComponent(id)}/cancel`);
        context.show(action, [actionLine(action, context.paint)]);
        return 0;
      }),
  );
}

/**
 * `brink dead retry`: sends actions again that ended without success, by id or all that a filter finds. Exit 1 where there was
 * none.
 */
export function addRetry(dead: Command, edge: Edge): void {
  const command = filtered(withApi(dead.command('retry')))
    .description('send actions again that are dead, each under its key: by id, or all that the options say')
    .argument('[ids...]', 'of actions; refused frames cannot be sent again, for nothing of them is kept')
    .addOption(
      new Option('--state <state>', 'how they ended').choices(['dead', 'expired', 'cancelled', 'suppressed', 'sent']),
    );
  const example = [
    'brink dead retry cam-1.front.k3v9x2.1042.0.pets~cat-at-the-flap~1',
    'brink dead retry --target duty --since 24h',
    'brink dead retry --state expired --kind webhook',
  ];
  verb<RetryOptions>(edge, command, example, async (context, options, ...ids) =>
    usingApi(context, options, async (api) => {
      const given = ids.filter((id) => id !== undefined && id !== '');
      return given.length > 0 ? retryEach(context, api, given) : retryAll(context, api, options);
    }),
  );
}

async function retryEach(context: Context, api: Api, ids: readonly string[]): Promise<number> {
  const items: ActionRecord[] = [];
  for (const id of ids) items.push(await api.send<ActionRecord>('POST', `/v1/dead/${encodeURIComponent(id)}/retry`));
  context.show(
    { items },
    items.map((action) => actionLine(action, context.paint)),
  );
  return 0;
}

/** Page by page: nobody else waits behind a thousand of them. */
async function retryAll(context: Context, api: Api, options: RetryOptions): Promise<number> {
  const { state = 'dead' } = options;
  const ids: string[] = [];
  for (let before: number | undefined; ; ) {
    const body = { state, ...filterOf(options), ...(before === undefined ? {} : { before }) };
    const page = await api.send<{ ids: string[]; next?: number }>('POST', '/v1/actions/retry', body);
    ids.push(...page.ids);
    if (page.next === undefined) break;
    before = page.next;
  }
  const what = ids.length === 1 ? 'action is' : 'actions are';
  context.show({ retried: ids.length, ids }, [
    ids.length === 0 ? `no action is ${state}, or none that this finds` : `${ids.length} ${what} sent again`,
  ]);
  return ids.length === 0 ? 1 : 0;
}

function filterOf({ rule, kind, target, code, since, until }: Filter): Record<string, string> {
  const given = Object.entries({ rule, kind, target, code, since, until });
  return Object.fromEntries(given.filter((entry): entry is [string, string] => entry[1] !== undefined));
}
