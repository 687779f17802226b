import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { BrinkError } from '@brink/protocol';
import { near } from '../terminal.ts';

interface Verdict {
  valid: boolean;
  problems: { text: string; absent?: true }[];
}

/**
 * Asks control's own checker, as `brink check` does, before anything is started: control itself would go on with the
 * configuration of an earlier run, and whoever starts Brink with a typo should be told instead.
 * A model that has gone is another matter: after a power cut the rest of the box must come up all the same.
 * @param o ranBefore: there is a configuration of an earlier run to go on with
 * @returns what is wrong and does not keep it from starting
 * @throws BrinkError E_CONFIG with one line per problem
 */
export async function checkConfiguration(
  o: { root: string; config: string; models: string; ranBefore: boolean },
  signal: AbortSignal,
): Promise<string[]> {
  const { valid, problems } = await askChecker(o, signal);
  if (valid) return [];
  if (o.ranBefore && problems.every(({ absent }) => absent === true)) return problems.map(({ text }) => near(text));
  const lines = problems.map(({ text }) => near(text));
  const head = lines.length > 1 ? [`${lines.length} problems in ${near(o.config)}:`] : [];
  throw new BrinkError('E_CONFIG', [...head, ...lines].join('\n'));
}

function askChecker(o: { root: string; config: string; models: string }, signal: AbortSignal): Promise<Verdict> {
  const script = join(o.root, 'services/control/src/check.ts');
  const args = ['--disable-warning=ExperimentalWarning', script, o.config, '--models', o.models, '--json'];
  return new Promise((resolve, reject) => {
    execFile(process.execPath, args, { signal, maxBuffer: 8 * 1024 * 1024 }, (error, stdout) => {
      if (signal.aborted) return reject(BrinkError.from(error ?? signal.reason, 'E_CANCELLED'));
      try {
        resolve(JSON.parse(stdout) as Verdict);
      } catch {
        // It could not say: control will.
        resolve({ valid: true, problems: [] });
      }
    });
  });
}
