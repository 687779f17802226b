import { basename, dirname, resolve } from 'node:path';
import { BrinkError, isName } from '@brink/protocol';
import { type Command, InvalidArgumentError } from 'commander';
import { checkModel } from '../models/check.ts';
import { installModel } from '../models/install.ts';
import type { ModelProblem } from '../models/passport.ts';
import { removeModel } from '../models/remove.ts';
import { repairModel } from '../models/repair.ts';
import { checkLines, installedLines } from '../models/report.ts';
import { lowerVersion, type ModelItem, modelRows, servesLine, serveVersion, servingVersion } from '../models/served.ts';
import { belongs, withoutVersion } from '../models/store.ts';
import { table } from '../terminal.ts';
import { type Context, type Edge, filled, usingApi, type VerbOptions, verb, wholeNumber, withApi } from '../verb.ts';

/** `brink models list|check|add|remove|serve|rollback`. Without a word: list. */
export function addModels(program: Command, edge: Edge): void {
  const models = program
    .command('models')
    .description('which models there are, which versions serve, and is a folder one that can be')
    .addHelpText(
      'after',
      '\nExamples:\n  $ brink models\n  $ brink models check models/cifar-net/1\n  $ brink models add yolo11n.onnx',
    );
  addList(models, edge);
  addCheck(models, edge);
  addAdd(models, edge);
  addRemove(models, edge);
  addServe(models, edge);
  addRollback(models, edge);
}

function addList(models: Command, edge: Edge): void {
  const list = withApi(models.command('list', { isDefault: true })).description(
    'the models of a running Brink: state, which version serves, what computes it',
  );
  verb<FolderOptions>(edge, withFolder(list), ['brink models', 'brink models list --json'], async (context, options) =>
    usingApi(context, options, async (api) => {
      const page = await api.get<{ items: ModelItem[] }>('/v1/models');
      context.show(page, page.items.length === 0 ? ['no models'] : table(page.items.flatMap(modelRows)));
      const dir = modelsDir(context, options);
      for (const name of await withoutVersion(dir)) context.terminal.note(belongs(dir, name));
      return 0;
    }),
  );
}

function addCheck(models: Command, edge: Edge): void {
  const command = models
    .command('check')
    .description('passport, hashes and the ONNX file against each other; runs nothing. Exit 1 when something is wrong')
    .argument('<model>', 'models/<name>/<version>, or an .onnx file')
    .option('--write', 'put into model.json what is beyond doubt: hashes, sizes, name, version, what the graph fixes');
  withFolder(command);
  const examples = ['brink models check models/cifar-net/1', 'brink models check models/cats/2 --write'];
  verb<FolderOptions & { write?: boolean }>(edge, command, examples, async (context, options, given = '.') => {
    const { check: checked, written } =
      options.write === true ? await repairModel(given) : { check: await checkModel(given), written: [] };
    const result = {
      ...checked,
      problems: [...checked.problems, ...misplaced(checked.folder, modelsDir(context, options))],
    };
    const lines = written.map((path) => `written  ${path}`);
    context.show({ ok: result.problems.length === 0, ...result, ...(options.write === true ? { written } : {}) }, [
      ...lines,
      ...checkLines(result, context.paint),
    ]);
    return result.problems.length === 0 ? 0 : 1;
  });
}

/** A folder of the models folder itself, not of one version: no service would see it. */
function misplaced(folder: string, dir: string): ModelProblem[] {
  if (dirname(folder) !== dir) return [];
  return [{ path: 'folder', given: folder, expected: `models/<name>/<version>/: ${belongs(dir, basename(folder))}` }];
}

interface FolderOptions extends VerbOptions {
  modelsDir?: string;
}
interface AddOptions extends FolderOptions {
  name?: string;
  version?: number;
  quotaMb: number;
}

const QUOTA_MB = 4096;

function addAdd(models: Command, edge: Edge): void {
  const command = withFolder(models.command('add'))
    .description(
      'check a model and put it into the models folder as its next version; a running Brink loads it by itself',
    )
    .argument('<model>', 'a folder with model.onnx, or an .onnx file')
    .option('--name <name>', "default: the passport's, else the file's", modelName)
    .option('--version <version>', 'default: the next one', wholeNumber(1, 999_999_999))
    .option('--quota-mb <megabytes>', 'of the whole models folder', wholeNumber(1, 10_000_000), QUOTA_MB);
  const examples = ['brink models add yolo11n.onnx', 'brink models add ./trained/cats --name cats --version 3'];
  verb<AddOptions>(edge, command, examples, async (context, options, given = '.') => {
    const { name, version } = options;
    const { check, installed } = await installModel(given, {
      modelsDir: modelsDir(context, options),
      ...(name === undefined ? {} : { name }),
      ...(version === undefined ? {} : { version }),
      quotaBytes: options.quotaMb * 2 ** 20,
      nowMs: Date.now(),
    });
    if (installed === undefined) context.show({ ok: false, ...check }, checkLines(check, context.paint));
    else context.show({ ok: true, ...installed }, installedLines(installed, context.paint));
    return installed === undefined ? 1 : 0;
  });
}

function addRemove(models: Command, edge: Edge): void {
  const command = withApi(withFolder(models.command('remove')))
    .description('take a version, or all of them, out of the models folder. Exit 1 for one that serves')
    .argument('<name[@version]>', 'cats@2; without a version all of them', nameAndVersion)
    .option('--force', 'also the one that serves');
  const examples = ['brink models remove cats@2', 'brink models remove cats --force'];
  verb<FolderOptions & { force?: boolean }>(edge, command, examples, async (context, options, given = '') => {
    const [name = '', at] = given.split('@');
    const version = at === undefined ? undefined : Number(at);
    if (options.force !== true) await refuseServing(context, options, name, version);
    const removed = await removeModel(modelsDir(context, options), name, version);
    const lines = [`removed  ${name} ${removed.length === 1 ? 'version' : 'versions'} ${removed.join(', ')}`];
    if (options.force === true) {
      lines.push(
        `where the configuration names it, "brink check" says so: change models.${name}.serve and the pipelines`,
      );
    }
    context.show({ name, removed }, lines);
    return 0;
  });
}

/** Where no Brink runs, none serves. @throws BrinkError E_CONFLICT */
async function refuseServing(
  context: Context,
  options: VerbOptions,
  name: string,
  version: number | undefined,
): Promise<void> {
  const item = await usingApi(context, options, (api) => api.get<ModelItem>(`/v1/models/${name}`)).catch(
    (reason: unknown) => {
      const error = BrinkError.from(reason);
      const nobody = error.code === 'E_UNAVAILABLE' && options.url === undefined;
      if (nobody || error.code === 'E_NOT_FOUND') return undefined;
      throw error;
    },
  );
  const serving = item === undefined ? undefined : servingVersion(item);
  if (serving === undefined || (version !== undefined && version !== serving)) return;
  const way =
    item?.versions.length === 1
      ? 'it is the only one: --force removes it (`brink check` says whether the configuration still names it)'
      : '`brink models serve` another one first, or use --force';
  throw new BrinkError('E_CONFLICT', `version ${serving} of ${name} serves; ${way}`);
}

function addServe(models: Command, edge: Edge): void {
  const command = withApi(models.command('serve'))
    .description(
      'choose the version that the bare name means; writes `serve` into the configuration of a running Brink',
    )
    .argument('<name>', 'as models/<name>', modelName)
    .argument('<version>', 'one that is there', wholeNumber(1, 999_999_999));
  verb<VerbOptions>(edge, command, ['brink models serve cats 2'], async (context, options, name = '', version = '') =>
    usingApi(context, options, async (api) => {
      const { revision, item } = await serveVersion(api, name, Number(version));
      context.show({ name, serve: Number(version), revision }, [servesLine(item, Number(version), revision)]);
      return 0;
    }),
  );
}

function addRollback(models: Command, edge: Edge): void {
  const command = withApi(models.command('rollback'))
    .description('serve the next version below the one that serves; writes the configuration of a running Brink')
    .argument('<name>', 'as models/<name>', modelName);
  verb<VerbOptions>(edge, command, ['brink models rollback cats'], async (context, options, name = '') =>
    usingApi(context, options, async (api) => {
      const { from, to } = lowerVersion(await api.get<ModelItem>(`/v1/models/${name}`));
      const { revision, item } = await serveVersion(api, name, to);
      context.show({ name, from, serve: to, revision }, [servesLine(item, to, revision)]);
      return 0;
    }),
  );
}

const withFolder = (command: Command) =>
  command.option('--models-dir <folder>', '(BRINK_MODELS_DIR, else models/ of the project)');

const modelsDir = ({ env, root }: Context, options: FolderOptions) =>
  resolve(options.modelsDir ?? filled(env['BRINK_MODELS_DIR']) ?? resolve(root, 'models'));

function modelName(text: string): string {
  if (!isName(text)) throw new InvalidArgumentError('expected a name of a-z, 0-9 and -');
  return text;
}

function nameAndVersion(text: string): string {
  const [name = '', version, ...more] = text.split('@');
  if (isName(name) && more.length === 0 && (version === undefined || /^[1-9]\d{0,8}$/.test(version))) return text;
  throw new InvalidArgumentError('expected <name> or <name>@<version>');
}
