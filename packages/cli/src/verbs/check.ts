import { spawn } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { BrinkError } from '@brink/protocol';
import type { Command } from 'commander';
import { printable } from '../terminal.ts';
import { type Context, type Edge, usingApi, type VerbOptions, verb, withApi } from '../verb.ts';

/** `brink check [dir]`: is this configuration valid? Exit 1 when not. Needs nothing that runs; --url asks a running control. */
export function addCheck(program: Command, edge: Edge): void {
  const command = withApi(program.command('check'))
    .description(
      'check a configuration folder: every error with file, line, column, what was found and what was expected',
    )
    .argument('[folder]', 'default ./config');
  const example = ['brink check', 'brink check ./config', 'brink check ./config --url http://127.0.0.1:8080'];
  verb<VerbOptions>(edge, command, example, async (context, options, folder = 'config') =>
    options.url === undefined ? checkHere(context, resolve(folder)) : checkThere(context, options, resolve(folder)),
  );
}

/** Runs control's own checker, so that there is one opinion. Its lines and its exit code are the answer. */
function checkHere(context: Context, folder: string): Promise<number> {
  const script = join(context.root, 'services/control/src/check.ts');
  const args = ['--disable-warning=ExperimentalWarning', script, folder, ...(context.json ? ['--json'] : [])];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'inherit', 'inherit'], signal: context.signal });
  return new Promise((done, reject) => {
    child.on('error', (error) => reject(BrinkError.from(error)));
    child.on('exit', (code) => done(code === 0 ? 0 : 1));
  });
}

async function checkThere(context: Context, options: VerbOptions, folder: string): Promise<number> {
  const files = await yamlFiles(folder);
  return usingApi(context, options, async (api) => {
    try {
      const answer = await api.send<{ revision?: string }>('POST', '/v1/config/validate', { files });
      const revision = answer.revision === undefined ? '' : `, revision ${answer.revision}`;
      context.show(answer, [`${folder} is valid${revision}`]);
      return 0;
    } catch (error) {
      if (!(error instanceof BrinkError) || error.code !== 'E_CONFIG') throw error;
      context.show(
        { error: { code: error.code, detail: error.detail, errors: error.cause } },
        error.detail.split('\n').map(printable),
      );
      return 1;
    }
  });
}

async function yamlFiles(folder: string): Promise<Record<string, string>> {
  let names: string[];
  try {
    names = (await readdir(folder)).filter((name) => /\.ya?ml$/.test(name)).sort();
  } catch (error) {
    throw new BrinkError('E_NOT_FOUND', `${folder} cannot be read: ${BrinkError.from(error).detail}`, { cause: error });
  }
  const files: Record<string, string> = {};
  for (const name of names) files[name] = await readFile(join(folder, name), 'utf8');
  return files;
}
