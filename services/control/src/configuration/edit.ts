import { randomBytes } from 'node:crypto';
import { open, readFile, realpath, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { BrinkError } from '@brink/protocol';
import { type Document, isAlias, isMap, isScalar, parseDocument } from 'yaml';
import type { ConfigurationKeeper } from './active.ts';
import { readConfigFolder } from './folder.ts';
import { configError } from './problems.ts';
import type { SourceFile } from './sources.ts';

/** Where a model is written that no file speaks of yet. */
const NEW_FILE = 'models.yaml';

export interface ConfigurationEditor {
  /**
   * Sets or, with `null`, takes away which version of a model serves. All or nothing: the files with the change are validated like any
   * edit, one file is replaced by rename, and the configuration is active when this resolves.
   * @returns the revision that is active
   * @throws BrinkError E_CONFIG (every problem, nothing is written), E_CONFLICT (the file changed meanwhile, or says it in a way that
   * a program should not touch), E_STORAGE_READONLY, E_UNAVAILABLE (written, but it could not be made active)
   */
  setServe(model: string, version: number | null): Promise<string>;
}

export function createConfigurationEditor(
  o: { readonly dir: string },
  d: { readonly configuration: Pick<ConfigurationKeeper, 'validate' | 'reload' | 'active' | 'problem'> },
): ConfigurationEditor {
  let last: Promise<unknown> = Promise.resolve();

  async function setServe(model: string, version: number | null): Promise<string> {
    const files = await readConfigFolder(o.dir);
    const changed = withServe(files, o.dir, model, version);
    if (changed === undefined) return d.configuration.active.revision;
    const others = files.filter(({ name }) => name !== changed.name);
    const validation = await d.configuration.validate([...others, changed]);
    if (!validation.ok) throw configError(validation.problems);
    const before = files.find(({ name }) => name === changed.name);
    await replace(changed, before?.text);
    await d.configuration.reload();
    const { active, problem } = d.configuration;
    if (active.revision === validation.published.revision) return active.revision;
    throw new BrinkError(
      'E_UNAVAILABLE',
      `written, but not active yet: ${problem?.detail ?? 'the files changed again'}`,
    );
  }

  return {
    setServe(model, version) {
      // One after the other: each begins with what the one before wrote.
      const edit = last.then(() => setServe(model, version));
      last = edit.catch(() => {});
      return edit;
    },
  };
}

/** The one file that changes, comments and order kept; undefined where it says so already. @throws BrinkError E_CONFLICT */
function withServe(
  files: readonly SourceFile[],
  dir: string,
  model: string,
  version: number | null,
): SourceFile | undefined {
  const parsed = files.map((file) => ({ file, document: parseDocument(file.text) }));
  const home =
    parsed.find(({ document }) => hasIn(document, ['models', model])) ??
    parsed.find(({ document }) => hasIn(document, ['models']));
  if (home === undefined) {
    if (version === null) return undefined;
    return { name: join(dir, NEW_FILE), text: `version: 1\nmodels:\n  ${model}:\n    serve: ${version}\n` };
  }
  const { file, document } = home;
  makeMapping(document, ['models'], file.name);
  makeMapping(document, ['models', model], file.name);
  const path = ['models', model, 'serve'];
  if ((document.getIn(path) ?? null) === version) return undefined;
  if (version === null) document.deleteIn(path);
  else document.setIn(path, version);
  return { name: file.name, text: document.toString({ lineWidth: 0 }) };
}

/** @throws BrinkError E_CONFLICT where there is something else */
function makeMapping(document: Document.Parsed, path: string[], file: string): void {
  const node = document.getIn(path, true);
  if (isMap(node)) return;
  const byHand = (what: string) =>
    new BrinkError('E_CONFLICT', `${file}: ${path.join('.')} is ${what}; change it by hand`);
  if (isAlias(node)) throw byHand('an alias');
  // Nothing behind the key counts as nothing.
  if (node !== undefined && !(isScalar(node) && node.value === null)) throw byHand('no mapping');
  document.setIn(path, document.createNode({}));
}

const hasIn = (document: Document.Parsed, path: string[]) => isMap(document.contents) && document.hasIn(path);

/** @param expected what the file held when it was read; undefined: it was not there */
async function replace({ name, text }: SourceFile, expected: string | undefined): Promise<void> {
  // A link stays a link.
  const target = expected === undefined ? name : await realpath(name);
  const temporary = join(dirname(target), `.${randomBytes(6).toString('hex')}.tmp`);
  try {
    const mode = expected === undefined ? 0o644 : (await stat(target)).mode;
    const file = await open(temporary, 'wx', mode);
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    const now = await readFile(target, 'utf8').catch(() => undefined);
    if (now !== expected)
      throw new BrinkError('E_CONFLICT', `${name} was changed by somebody else meanwhile; try again`);
    await rename(temporary, target);
  } catch (reason) {
    await rm(temporary, { force: true });
    if (reason instanceof BrinkError) throw reason;
    const error = BrinkError.from(reason);
    const code = (reason as NodeJS.ErrnoException).code === 'ENOSPC' ? 'E_STORAGE_FULL' : 'E_STORAGE_READONLY';
    throw new BrinkError(code, `${name} cannot be written: ${error.detail}`, { cause: reason });
  }
}
