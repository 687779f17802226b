import { spawn } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { BrinkError } from '@brink/protocol';
import type { Command } from 'commander';
import { printable } from '../terminal.ts';
import { type Context, type Edge, usingApi, type VerbOptions, verb, withApi } from '../verb.ts';

interface CheckOptions extends VerbOptions {
  models?: string;
}

/** As `check.ts` of control and POST /v1/config/validate say it. */
interface Verdict {
  valid: boolean;
  revision?: string;
  problems: { text: string }[];
}

/** `brink check [dir]`: is this configuration valid? Exit 1 when not. Needs nothing that runs; --url asks a running control. */
export function addCheck(program: Command, edge: Edge): void {
  const command = withApi(program.command('check'))
    .description(
      'check a configuration folder: every error with file, line, column, what was found and what was expected',
    )
    .argument('[folder]', 'default ./config')
    .option('--models <folder>', 'whose models it may name (BRINK_MODELS_DIR, else ./models)');
  const example = ['brink check', 'brink check ./config', 'brink check ./config --url http://127.0.0.1:8080'];
  verb<CheckOptions>(edge, command, example, async (context, options, folder = 'config') =>
    options.url === undefined ? checkHere(context, options, folder) : checkThere(context, options, folder),
  );
}

/** Runs control's own checker, so that there is one opinion. Its lines and its exit code are the answer. */
function checkHere(context: Context, options: CheckOptions, folder: string): Promise<number> {
  const script = join(context.root, 'services/control/src/check.ts');
  const models = options.models === undefined ? [] : ['--models', options.models];
  const args = [
    '--disable-warning=ExperimentalWarning',
    script,
    folder,
    ...models,
    ...(context.json ? ['--json'] : []),
  ];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'inherit', 'inherit'], signal: context.signal });
  return new Promise((done, reject) => {
    child.on('error', (error) => reject(BrinkError.from(error)));
    child.on('exit', (code) => done(code === 0 ? 0 : 1));
  });
}

async function checkThere(context: Context, options: CheckOptions, folder: string): Promise<number> {
  const files = await yamlFiles(folder);
  return usingApi(context, options, async (api) => {
    const verdict = await api.send<Verdict>('POST', '/v1/config/validate', { files });
    const lines = verdict.valid
      ? [`${folder} is valid, revision ${verdict.revision}`]
      : verdict.problems.map(({ text }) => printable(text));
    context.show(verdict, lines);
    return verdict.valid ? 0 : 1;
  });
}

export async function yamlFiles(folder: string): Promise<{ name: string; text: string }[]> {
  let names: string[];
  try {
    names = (await readdir(folder)).filter((name) => /\.ya?ml$/.test(name)).sort();
  } catch (error) {
    throw new BrinkError('E_NOT_FOUND', `${folder} cannot be read: ${BrinkError.from(error).detail}`, { cause: error });
  }
  return Promise.all(names.map(async (name) => ({ name, text: await readFile(join(folder, name), 'utf8') })));
}
