import type { DeadRecord, Discovered } from '@brink/protocol';
import { type Command, InvalidArgumentError } from 'commander';
import { deadLine, discoveredLine } from '../show.ts';
import { printable } from '../terminal.ts';
import { type Edge, usingApi, type VerbOptions, verb, wholeNumber, withApi } from '../verb.ts';

interface DeadOptions extends VerbOptions {
  device?: string;
  stream?: string;
  code?: string;
  limit: number;
}

/** `brink dead [list]`: frames that were refused by name, newest first. Exit 1 when there is none. */
export function addDead(program: Command, edge: Edge): void {
  const dead = program
    .command('dead')
    .description('frames that were refused, and why')
    .addHelpText('after', '\nExamples:\n  $ brink dead\n  $ brink dead --device cam-9');
  const command = withApi(dead.command('list', { isDefault: true }))
    .description('list them, newest first')
    .option('--device <name>')
    .option('--stream <name>')
    .option('--code <code>', 'as E_IMAGE_TYPE', errorCode)
    .option('--limit <n>', 'at most 500', wholeNumber(1, 500), 20);
  const example = ['brink dead', 'brink dead list --device cam-9 --code E_IMAGE_TYPE --limit 1'];
  verb<DeadOptions>(edge, command, example, async (context, options) =>
    usingApi(context, options, async (api) => {
      const { device, stream, code, limit } = options;
      const page = await api.get<{ items: DeadRecord[] }>('/v1/dead', { device, stream, code, limit });
      const lines = page.items.map((letter) => deadLine(letter, context.paint));
      context.show(page, lines.length === 0 ? ['no dead letters'] : lines);
      return page.items.length === 0 ? 1 : 0;
    }),
  );
}

/** `brink discovered`: frames that no stream takes, as YAML to paste. Exit 1 when there is none. */
export function addDiscovered(program: Command, edge: Edge): void {
  const command = withApi(program.command('discovered')).description(
    'frames that no stream of the configuration takes, each with the YAML to paste into config/streams.yaml',
  );
  verb<VerbOptions>(edge, command, ['brink discovered', 'brink discovered --json'], async (context, options) =>
    usingApi(context, options, async (api) => {
      const list = await api.get<{ items: Discovered[] }>('/v1/discovered');
      context.show(list, list.items.length === 0 ? ['no undeclared streams'] : list.items.flatMap(discoveredLines));
      return list.items.length === 0 ? 1 : 0;
    }),
  );
}

/** What it is as a comment, so that all of it can be pasted. */
const discoveredLines = (found: Discovered) => [
  discoveredLine(found),
  ...found.paste.trimEnd().split('\n').map(printable),
];

function errorCode(text: string): string {
  if (!/^E_[A-Z_]{1,40}$/.test(text)) throw new InvalidArgumentError('expected a code, as E_IMAGE_TYPE');
  return text;
}
