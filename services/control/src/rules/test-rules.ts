import { readFile, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { BrinkError } from '@brink/protocol';
import { compileProblems } from '@brink/rules';
import { readConfigFolder, readModels } from '../configuration/folder.ts';
import { configError } from '../configuration/problems.ts';
import { mergeSources, type SourceFile } from '../configuration/sources.ts';
import { type Validation, validateConfiguration } from '../configuration/validate.ts';
import { candidateOf } from './candidate.ts';
import { testsOf } from './carried-tests.ts';

// node services/control/src/rules/test-rules.ts [file or folder] [--rule name]... [--config folder] [--models folder]
// Runs the tests that rules carry, without control running, and prints them as JSON. Exit 0: all hold, 1: not, 2: called wrongly.

const { values, positionals } = (() => {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        rule: { type: 'string', multiple: true },
        config: { type: 'string' },
        models: { type: 'string' },
      },
    });
  } catch (error) {
    console.error(BrinkError.from(error).detail);
    process.exit(2);
  }
})();

try {
  const { files, candidate, only } = await tried(positionals[0]);
  if (!candidate.ok) throw configError(candidate.problems);
  const { rules } = candidate.published.configuration;
  const unknown = values.rule?.find((name) => !Object.hasOwn(rules, name));
  if (unknown !== undefined) throw new BrinkError('E_NOT_FOUND', `there is no rule "${unknown}"`);
  const tests = testsOf(candidate.published, values.rule ?? only, files);
  const ok = tests.every((test) => test.ok);
  console.log(JSON.stringify({ ok, tests, backtest: null }));
  process.exitCode = ok ? 0 : 1;
} catch (reason) {
  const error = BrinkError.from(reason);
  if (error.code === 'E_INTERNAL') throw reason;
  console.error(error.detail);
  process.exitCode = 1;
}

interface Tried {
  readonly files: readonly SourceFile[];
  readonly candidate: Validation;
  /** Rules whose tests are asked for; undefined: all. */
  readonly only?: readonly string[];
}

/** A folder is a configuration; so is a file's own folder where it is the configuration's; any other file is laid over it. */
async function tried(path: string | undefined): Promise<Tried> {
  const models = await readModels(values.models ?? './models');
  const folder = values.config ?? './config';
  const isFolder = path === undefined || (await isDirectory(path));
  const files = await readConfigFolder(isFolder && path !== undefined ? path : folder);
  const validated = validateConfiguration(files, models, compileProblems);
  if (isFolder) return { files, candidate: validated };
  const file: SourceFile = { name: path, text: await readFile(path, 'utf8') };
  const only = Object.keys((mergeSources([file]).value['rules'] ?? {}) as object);
  if (resolve(dirname(path)) === resolve(folder)) return { files, candidate: validated, only };
  if (!validated.ok) return { files, candidate: validated };
  return { files: [file], candidate: candidateOf([file], validated.published, models), only };
}

async function isDirectory(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (error) {
    throw new BrinkError('E_NOT_FOUND', `${path} cannot be read: ${BrinkError.from(error).detail}`, { cause: error });
  }
}
