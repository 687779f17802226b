import { BrinkError } from '@brink/protocol';
import { type Command, InvalidArgumentError } from 'commander';
import type { Api } from '../api.ts';
import { type Paint, printable, table } from '../terminal.ts';
import { type Context, type Edge, usingApi, type VerbOptions, verb, wholeNumber, withApi } from '../verb.ts';
import { yamlFiles } from './check.ts';

/** `brink config diff|apply|revisions|rollback`. Without a word: revisions. */
export function addConfig(program: Command, edge: Edge): void {
  const config = program
    .command('config')
    .description('the configuration of a running Brink: compare it, replace it, go back')
    .addHelpText('after', '\nExamples:\n  $ brink config\n  $ brink config diff ./config\n  $ brink config rollback');
  addDiff(config, edge);
  addApply(config, edge);
  addRevisions(config, edge);
  addRollback(config, edge);
}

interface Change {
  path: string;
  before?: unknown;
  after?: unknown;
}
/** As POST /v1/config/validate says it. */
interface Verdict {
  valid: boolean;
  revision?: string;
  problems: { text: string }[];
  changes?: Change[];
}
interface Revision {
  revision: string;
  activated_at: string;
  how: 'files' | 'http' | 'rollback';
  by: string | null;
  previous: string | null;
}
interface Edited {
  revision: string;
  changed: boolean;
  files?: boolean;
}

function addDiff(config: Command, edge: Edge): void {
  const command = withApi(config.command('diff'))
    .description('in what the files of a folder differ from what is active. Exit 1 where they do, or are wrong')
    .argument('[folder]', 'default ./config')
    .option('--revision <revision>', 'instead of a folder: what that revision changed', revisionName)
    .option('--against <revision>', 'with --revision: in what it differs from this one', revisionName);
  const example = [
    'brink config diff',
    'brink config diff ./config --json',
    'brink config diff --revision 0a1b2c3d4e5f',
  ];
  verb<VerbOptions & { revision?: string; against?: string }>(edge, command, example, (context, options, folder) =>
    usingApi(context, options, async (api) => {
      const { revision, against } = options;
      if (revision === undefined) return diffFolder(context, api, folder ?? 'config');
      const diff = await api.get<{ against: string | null; changes: Change[] }>(
        `/v1/config/revisions/${revision}/diff`,
        {
          against,
        },
      );
      const head = diff.against === null ? `${revision} was the first` : `${diff.against} → ${revision}`;
      context.show(diff, [head, ...changeLines(diff.changes, context.paint)]);
      return diff.changes.length === 0 ? 0 : 1;
    }),
  );
}

async function diffFolder(context: Context, api: Api, folder: string): Promise<number> {
  const verdict = await judge(api, await filesOf(folder));
  const changes = verdict.changes ?? [];
  const same = `${folder} says what is active: revision ${verdict.revision}`;
  const lines = changes.length === 0 ? [same] : changeLines(changes, context.paint);
  context.show(verdict, verdict.valid ? lines : verdict.problems.map(({ text }) => printable(text)));
  return verdict.valid && changes.length === 0 ? 0 : 1;
}

interface ApplyOptions extends VerbOptions {
  expect?: string;
}

function addApply(config: Command, edge: Edge): void {
  const command = withApi(config.command('apply'))
    .description('replace the files of a running Brink by those of a folder: checked, all or nothing')
    .argument('[folder]', 'default ./config')
    .option(
      '--expect <revision>',
      'only if this one is still active; default: the one that is compared with',
      revisionName,
    );
  const example = ['brink config apply ./config', 'brink config apply ./config --expect 0a1b2c3d4e5f'];
  verb<ApplyOptions>(edge, command, example, (context, options, folder = 'config') =>
    usingApi(context, options, async (api) => {
      const files = await filesOf(folder);
      const { revision: active } = await api.get<{ revision: string }>('/v1/config');
      const verdict = await judge(api, files);
      if (!verdict.valid) {
        context.show(
          verdict,
          verdict.problems.map(({ text }) => printable(text)),
        );
        return 1;
      }
      const edited = await api.send<Edited>('PUT', '/v1/config', { files }, ifMatch(options.expect ?? active));
      const { changes = [] } = verdict;
      context.show({ ...edited, changes }, [...changeLines(changes, context.paint), editedLine(edited)]);
      return 0;
    }),
  );
}

function addRevisions(config: Command, edge: Edge): void {
  const command = withApi(config.command('revisions', { isDefault: true }))
    .description('which configurations were active: since when, by whom')
    .option('--limit <number>', 'how many', wholeNumber(1, 500), 20);
  const example = ['brink config revisions', 'brink config revisions --limit 5 --json'];
  verb<VerbOptions & { limit: number }>(edge, command, example, (context, options) =>
    usingApi(context, options, async (api) => {
      const page = await api.get<{ items: Revision[] }>('/v1/config/revisions', { limit: options.limit });
      const rows = page.items.map(({ revision, activated_at: at, how, by }, index) => [
        revision,
        index === 0 ? context.paint('green', 'active') : '',
        at,
        how,
        by === null ? '' : printable(by),
      ]);
      context.show(page, table(rows));
      return 0;
    }),
  );
}

function addRollback(config: Command, edge: Edge): void {
  const command = withApi(config.command('rollback'))
    .description('activate an earlier configuration again: its files come back as they were')
    .argument('[revision]', 'default: the one before the active one', revisionName);
  const example = ['brink config rollback', 'brink config rollback 0a1b2c3d4e5f'];
  verb<VerbOptions>(edge, command, example, (context, options, wanted) =>
    usingApi(context, options, async (api) => {
      const { items } = await api.get<{ items: Revision[] }>('/v1/config/revisions', { limit: 1 });
      const to = wanted ?? items[0]?.previous ?? undefined;
      if (to === undefined) throw new BrinkError('E_NOT_FOUND', 'there is no earlier configuration');
      const active = items[0]?.revision;
      const edited = await api.send<Edited>(
        'POST',
        `/v1/config/revisions/${to}/activate`,
        undefined,
        active === undefined ? {} : ifMatch(active),
      );
      const lines = [editedLine(edited)];
      if (edited.files === false) lines.push('its files were not kept: its values stand in those that there are');
      context.show(edited, lines);
      return 0;
    }),
  );
}

const ifMatch = (revision: string) => ({ 'if-match': `"${revision}"` });

/** Names without their folder: that of the server is another one. */
async function filesOf(folder: string): Promise<{ name: string; text: string }[]> {
  const files = (await yamlFiles(folder)).filter(({ name }) => !name.startsWith('.'));
  if (files.length === 0) throw new BrinkError('E_NOT_FOUND', `${folder} has no *.yaml file`);
  return files;
}

const judge = (api: Api, files: readonly { name: string; text: string }[]) =>
  api.send<Verdict>('POST', '/v1/config/validate', { files });

function editedLine({ revision, changed }: Edited): string {
  return changed ? `active: revision ${revision}` : `nothing to change: revision ${revision}`;
}

function changeLines(changes: readonly Change[], paint: Paint): string[] {
  return changes.flatMap(({ path, before, after }) => [
    printable(path === '' ? '(everything)' : path),
    ...(before === undefined ? [] : [paint('red', `  - ${printable(JSON.stringify(before))}`)]),
    ...(after === undefined ? [] : [paint('green', `  + ${printable(JSON.stringify(after))}`)]),
  ]);
}

function revisionName(text: string): string {
  if (!/^[0-9a-f]{12}$/.test(text)) throw new InvalidArgumentError('expected twelve hex digits, as 0a1b2c3d4e5f');
  return text;
}
