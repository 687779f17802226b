import type { DeadRecord, Discovered } from '@brink/protocol';
import type { Command } from 'commander';
import { deadLine, discoveredLine } from '../show.ts';
import { printable } from '../terminal.ts';
import { type Edge, errorCode, usingApi, type VerbOptions, verb, wholeNumber, withApi } from '../verb.ts';
import { addRetry } from './actions.ts';

interface DeadOptions extends VerbOptions {
  device?: string;
  stream?: string;
  code?: string;
  limit: number;
}

/** `brink dead [list]`: frames that were refused by name, newest first; exit 1 when there is none. `brink dead retry`: of actions. */
export function addDead(program: Command, edge: Edge): void {
  const dead = program
    .command('dead')
    .description('frames that were refused, and why; actions that are dead, to send them again')
    .addHelpText(
      'after',
      '\nExamples:\n  $ brink dead\n  $ brink dead --device cam-9\n  $ brink dead retry --target duty',
    );
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
  addRetry(dead, edge);
}

/** `brink discovered`: frames that no stream takes, as YAML to paste. Exit 1 when there is none. */
export function addDiscovered(program: Command, edge: Edge): void {
  const command = withApi(program.command('discovered')).description(
    'frames that no stream of the configuration takes, with the YAML to paste into the configuration',
  );
  verb<VerbOptions>(edge, command, ['brink discovered', 'brink discovered --json'], async (context, options) =>
    usingApi(context, options, async (api) => {
      const list = await api.get<{ items: Discovered[] }>('/v1/discovered');
      context.show(list, list.items.length === 0 ? ['no undeclared streams'] : discoveredLines(list.items));
      return list.items.length === 0 ? 1 : 0;
    }),
  );
}

const HEAD = 'streams:';

/**
 * What there is as comments, then one block for all of it, that can be pasted as it is. Of the entries of one stream each has the same
 * to paste.
 */
function discoveredLines(items: readonly Discovered[]): string[] {
  const pastes = [...new Set(items.map(({ paste }) => paste))].map((paste) => paste.trimEnd().split('\n'));
  const streams = pastes.filter(([first]) => first === HEAD).flatMap(([, ...lines]) => lines);
  const others = pastes.filter(([first]) => first !== HEAD).flat();
  const how = [
    '# to paste as a file of its own, as config/discovered.yaml;',
    '# or below the line streams: of config/streams.yaml, without the first line',
  ];
  const block = streams.length === 0 ? [] : [...how, HEAD, ...streams];
  return [...items.map(discoveredLine), ...[...others, ...block].map(printable)];
}
