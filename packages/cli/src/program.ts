import { BrinkError } from '@brink/protocol';
import { Command, CommanderError } from 'commander';
import { versionOf } from './up/version.ts';
import type { Edge, ExitCode } from './verb.ts';
import { addActions } from './verbs/actions.ts';
import { addBackup } from './verbs/backup.ts';
import { addCheck } from './verbs/check.ts';
import { addCompletion } from './verbs/completion.ts';
import { addConfig } from './verbs/config.ts';
import { addDead, addDiscovered } from './verbs/dead.ts';
import { addDecisions } from './verbs/decisions.ts';
import { addDevices } from './verbs/devices.ts';
import { addDoctor } from './verbs/doctor.ts';
import { addExplain } from './verbs/explain.ts';
import { addInit, addToken } from './verbs/init.ts';
import { addModels } from './verbs/models.ts';
import { addRules } from './verbs/rules.ts';
import { addSchema } from './verbs/schema.ts';
import { addSend } from './verbs/send.ts';
import { addStatus } from './verbs/status.ts';
import { addAudit, addTokens } from './verbs/tokens.ts';
import { addUp } from './verbs/up.ts';
import { addWatch } from './verbs/watch.ts';

const VERBS = [
  addUp,
  addSend,
  addWatch,
  addStatus,
  addDoctor,
  addDevices,
  addModels,
  addRules,
  addDecisions,
  addActions,
  addExplain,
  addDead,
  addDiscovered,
  addBackup,
  addCheck,
  addConfig,
  addSchema,
  addToken,
  addTokens,
  addAudit,
  addInit,
  addCompletion,
];

/** `brink rules states`: commander takes the word for an argument of what `brink rules` does by itself. */
const unknownWord = (text: string): string =>
  text.replace(
    /^error: too many arguments for '(?:list|revisions)'\. Expected 0 arguments but got \d+: ([^,]*?)(?:, .*)?\.$/m,
    "error: unknown command '$1'",
  );

/**
 * Runs one command line.
 * @param argv without `node` and the script
 * @returns 0 yes, 1 it ran and the answer is no, 2 called wrongly; `up` also 69, 70, 75, 78 (sysexits.h)
 */
export async function run(argv: readonly string[], edge: Omit<Edge, 'exit'>): Promise<ExitCode> {
  let code: ExitCode = 0;
  const program = new Command('brink')
    .description('Decisions at the edge: frames over MQTT, a model, a rule, an action, all on one box.')
    .version(versionOf(edge.root), '-V, --version', 'print the version')
    // `--version` behind a verb is that verb's: of a model.
    .enablePositionalOptions()
    .helpCommand(false)
    .showHelpAfterError('(--help shows what there is)')
    .configureOutput({
      writeOut: (text) => edge.terminal.line(text.trimEnd()),
      writeErr: (text) => edge.terminal.note(text.trimEnd()),
      outputError: (text, write) => write(unknownWord(text)),
    })
    .exitOverride()
    .addHelpText('after', '\nExamples:\n  $ brink up\n  $ brink watch\n  $ brink explain --help');
  const full: Edge = { ...edge, exit: (value) => (code = value) };
  for (const add of VERBS) add(program, full);
  try {
    await program.parseAsync(argv, { from: 'user' });
    return code;
  } catch (error) {
    if (!(error instanceof CommanderError)) throw BrinkError.from(error);
    return error.exitCode === 0 ? 0 : 2;
  }
}
