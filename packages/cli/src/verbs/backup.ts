import { spawn } from 'node:child_process';
import { join, resolve } from 'node:path';
import { BrinkError, type LedgerHealth } from '@brink/protocol';
import { Argument, type Command } from 'commander';
import type { Api } from '../api.ts';
import { printable } from '../terminal.ts';
import { type Context, type Edge, filled, usingApi, type VerbOptions, verb, withApi } from '../verb.ts';

interface PlaceOptions extends VerbOptions {
  data: string;
  config: string;
  models: string;
  force?: boolean;
}

/** `brink backup [file]`, `brink restore <file>`, `brink damage [accept]`. */
export function addBackup(program: Command, edge: Edge): void {
  const backup = withPlaces(program.command('backup'))
    .description('ledger, configuration, list of models and credentials of devices, as one file; control may run')
    .argument('[file]', 'a new file; default: brink-<time>.tar');
  const examples = ['brink backup', 'brink backup /mnt/stick/plant-7.tar'];
  verb<PlaceOptions>(edge, backup, examples, async (context, options, file = defaultName()) =>
    ask(context, options, ['backup.ts', file]),
  );

  const restore = withPlaces(program.command('restore'))
    .description('put a backup where everything was; control must not run')
    .argument('<file>', 'what `brink backup` wrote')
    .option('--force', 'take it though models that its configuration names are not here');
  verb<PlaceOptions>(edge, restore, ['brink restore brink-20261122.tar'], async (context, options, file = '') =>
    ask(context, options, ['restore.ts', file, ...(options.force === true ? ['--force'] : [])]),
  );
  addDamage(program, edge);
}

function addDamage(program: Command, edge: Edge): void {
  const command = withApi(program.command('damage'))
    .description('what was lost of the ledger; `accept`: you have taken note, and control is ready again')
    .addArgument(new Argument('[word]', 'take note').choices(['accept']));
  verb<VerbOptions>(edge, command, ['brink damage', 'brink damage accept'], async (context, options, word) =>
    usingApi(context, options, (api) => (word === undefined ? showDamage(context, api) : acceptDamage(context, api))),
  );
}

async function showDamage(context: Context, api: Api): Promise<number> {
  const health = await api.get<LedgerHealth>('/v1/ledger');
  const copies = health.copies.map(({ made_at, n }) => `  copy of ${made_at}, decisions up to ${n}`);
  const lost = health.damage.length === 0 ? ['nothing was lost'] : health.damage.map(printable);
  context.show(health, [...lost, ...(copies.length === 0 ? ['no copy yet'] : copies)]);
  return health.damage.length === 0 ? 0 : 1;
}

async function acceptDamage(context: Context, api: Api): Promise<number> {
  const { accepted } = await api.send<{ accepted: number }>('POST', '/v1/ledger/damage/accept');
  context.show({ accepted }, [`taken note of: ${accepted}`]);
  return 0;
}

function withPlaces(command: Command): Command {
  return command
    .option('--data <folder>', 'of `brink up`; inside a container BRINK_DATA_DIR says it', 'data')
    .option('--config <folder>', 'the *.yaml files (BRINK_CONFIG_DIR)', 'config')
    .option('--models <folder>', 'whose files are listed (BRINK_MODELS_DIR)', 'models');
}

const defaultName = () => `brink-${new Date().toISOString().slice(0, 19).replaceAll(/[-:T]/g, '')}.tar`;

/** Runs control's own program, so that one knows what a ledger is. Its lines and its exit code are the answer. */
function ask(context: Context, options: PlaceOptions, [script = '', ...args]: readonly string[]): Promise<number> {
  const { env } = context;
  const data = filled(env['BRINK_DATA_DIR']) ?? join(resolve(options.data), 'control');
  // As `brink up` lays them out; in a container the broker is another one and keeps them itself.
  const kept = filled(env['BRINK_DEVICES_FILE']) ?? join(resolve(options.data), 'credentials', 'devices.json');
  const hasDevices = env['BRINK_DATA_DIR'] === undefined || filled(env['BRINK_DEVICES_FILE']) !== undefined;
  const child = spawn(
    process.execPath,
    [
      '--disable-warning=ExperimentalWarning',
      join(context.root, 'services/control/src', script),
      ...args,
      ...['--data', data],
      ...['--config', given(options.config, 'config', env['BRINK_CONFIG_DIR'])],
      ...['--models', given(options.models, 'models', env['BRINK_MODELS_DIR'])],
      ...(hasDevices ? ['--devices', kept] : []),
      ...(context.json ? ['--json'] : []),
    ],
    { stdio: ['ignore', 'pipe', 'pipe'], signal: context.signal },
  );
  return new Promise((done, reject) => {
    child.stdout.setEncoding('utf8').on('data', (text: string) => context.terminal.line(text.trimEnd()));
    child.stderr.setEncoding('utf8').on('data', (text: string) => context.terminal.note(text.trimEnd()));
    child.on('error', (error) => reject(BrinkError.from(error)));
    child.on('close', (code) => done(code ?? 1));
  });
}

const given = (option: string, standard: string, setting: string | undefined) =>
  option === standard ? (filled(setting) ?? option) : option;
