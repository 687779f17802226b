import { spawn } from 'node:child_process';
import { readFile, stat } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import {
  type ActionRecord,
  BrinkError,
  isName,
  type RuleArming,
  type RuleConfig,
  type RuleState,
  type RuleTestReport,
} from '@brink/protocol';
import { type Command, InvalidArgumentError } from 'commander';

import { armingText, backtestLines, stateLines, testLines } from '../rules/report.ts';
import { sinceTime, untilTime } from '../rules/since.ts';
import { actionLine } from '../show.ts';
import { printable, table } from '../terminal.ts';
import { type Context, type Edge, filled, usingApi, type VerbOptions, verb, wholeNumber, withApi } from '../verb.ts';
import { yamlFiles } from './check.ts';

/** `brink rules …`: where rules stand, set aside, fired, tried. */
export function addRules(program: Command, edge: Edge): void {
  const rules = program
    .command('rules')
    .description('rules: where they stand, set aside, fired, tried on what is stored')
    .addHelpText('after', '\nExamples:\n  $ brink rules\n  $ brink rules test --since 24h new.yaml');
  addList(rules, edge);
  addState(rules, edge);
  addTest(rules, edge);
  addArm(rules, edge);
  addDisarm(rules, edge);
  addSnooze(rules, edge);
  addFire(rules, edge);
}

type RuleItem = RuleConfig & RuleState & { name: string };

function addList(rules: Command, edge: Edge): void {
  const command = withApi(rules.command('list', { isDefault: true })).description(
    'all rules. Exit 1 when there is none',
  );
  verb<VerbOptions>(edge, command, ['brink rules', 'brink rules list --json'], async (context, options) =>
    usingApi(context, options, async (api) => {
      const list = await api.get<{ items: RuleItem[] }>('/v1/rules');
      const rows = list.items.map((item) => {
        const atWork = item.keys.filter(({ state }) => state !== 'idle').length;
        const failing = item.errors === 0 ? '' : context.paint('yellow', `, ${item.errors} failed evaluations`);
        return [
          item.name,
          `on ${[item.on].flat().join(', ')}`,
          armingText(item.arming, context.paint),
          `${atWork} at work${failing}`,
        ];
      });
      context.show(list, rows.length === 0 ? ['no rules'] : table(rows));
      return rows.length === 0 ? 1 : 0;
    }),
  );
}

function addState(rules: Command, edge: Edge): void {
  const command = withApi(rules.command('state'))
    .description('where each of its keys stands, what it waits for, until when')
    .argument('<name>', 'of a rule', ruleName);
  verb<VerbOptions>(edge, command, ['brink rules state night-person'], async (context, options, name = '') =>
    usingApi(context, options, async (api) => {
      const state = await api.get<RuleState>(`/v1/rules/${name}/state`);
      context.show(state, stateLines(state, context.paint));
      return 0;
    }),
  );
}

interface TestOptions extends VerbOptions {
  since?: string;
  until?: string;
  rule?: string[];
  against?: string;
  limit: number;
  config?: string;
  models?: string;
}

function addTest(rules: Command, edge: Edge): void {
  const command = withApi(rules.command('test'))
    .description(
      'run the tests that rules carry; with --since, run the rules over the decisions of a running Brink too, and say what would fire and what would no longer. Changes nothing. Exit 1 when a test fails',
    )
    .argument(
      '[file]',
      'YAML with rules, laid over the configuration, or a folder that is one; default: the configuration',
    )
    .option('--since <time>', 'as 24h, 7d or 2026-11-22T16:00:00Z', sinceTime)
    .option('--until <time>', 'ISO 8601; default now')
    .option('--rule <name...>', 'only these')
    .option('--against <revision>', 'of --since: compare with an earlier configuration, not with the active one')
    .option('--limit <n>', 'differences that are shown', wholeNumber(0, 500), 100)
    .option('--config <folder>', 'without --since: what a file is laid over (BRINK_CONFIG_DIR, else ./config)')
    .option('--models <folder>', 'without --since: whose models it may name (BRINK_MODELS_DIR, else ./models)');
  const example = ['brink rules test', 'brink rules test new.yaml', 'brink rules test --since 24h new.yaml'];
  verb<TestOptions>(edge, command, example, async (context, options, file) =>
    options.since === undefined && options.url === undefined
      ? testHere(context, options, file)
      : testThere(context, options, file),
  );
}

/** Runs control's own script, so that there is one engine. Its lines and its exit code are the answer. */
async function testHere(context: Context, o: TestOptions, file: string | undefined): Promise<number> {
  const script = join(context.root, 'services/control/src/rules/test-rules.ts');
  const given = (name: string, value: string | undefined) => (value === undefined ? [] : [name, value]);
  const args = [
    ...['--disable-warning=ExperimentalWarning', script, ...(file === undefined ? [] : [file])],
    ...given('--config', o.config ?? filled(context.env['BRINK_CONFIG_DIR'])),
    ...given('--models', o.models ?? filled(context.env['BRINK_MODELS_DIR'])),
    ...(o.rule ?? []).flatMap((name) => ['--rule', name]),
  ];
  const { code, text, said } = await output(context, args);
  const report = reportIn(text);
  if (report === undefined) throw new BrinkError('E_CONFIG', said.trim() || `the check ended with ${code}`);
  context.show(report, testLines(report, context.paint));
  return report.ok ? 0 : 1;
}

function reportIn(text: string): RuleTestReport | undefined {
  try {
    return JSON.parse(text) as RuleTestReport;
  } catch {
    return undefined;
  }
}

function output(context: Context, args: readonly string[]): Promise<{ code: number; text: string; said: string }> {
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'], signal: context.signal });
  const heard = { text: '', said: '' };
  child.stdout.on('data', (chunk) => (heard.text += String(chunk)));
  child.stderr.on('data', (chunk) => (heard.said += String(chunk)));
  return new Promise((done, reject) => {
    child.on('error', (error) => reject(BrinkError.from(error)));
    child.on('close', (code) => done({ code: code ?? 1, ...heard }));
  });
}

function testThere(context: Context, options: TestOptions, file: string | undefined): Promise<number> {
  return usingApi(context, options, async (api) => {
    const { since, until, rule: names, against, limit } = options;
    const files = file === undefined ? undefined : await filesAt(file);
    const body = { files, rules: names, since, until, against, limit };
    const report = await orGone(api.send<RuleTestReport>('POST', '/v1/rules/test', body), context.signal);
    const lines = report.tests.length === 0 && report.backtest !== null ? [] : testLines(report, context.paint);
    if (report.backtest !== null) lines.push(...backtestLines(report.backtest, context.paint));
    if (report.error !== undefined) lines.push(`${report.error.code}: ${printable(report.error.detail)}`);
    context.show(report, lines);
    return report.ok && report.error === undefined && report.backtest?.complete !== false ? 0 : 1;
  });
}

/** Ctrl-C closes the connection, which ends the run over there. */
function orGone<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = () => reject(new BrinkError('E_CANCELLED', 'given up'));
    signal.addEventListener('abort', stop, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop));
  });
}

async function filesAt(path: string): Promise<{ name: string; text: string }[]> {
  try {
    if ((await stat(path)).isDirectory()) return await yamlFiles(path);
    return [{ name: path, text: await readFile(path, 'utf8') }];
  } catch (error) {
    throw new BrinkError('E_NOT_FOUND', `${path} cannot be read: ${BrinkError.from(error).detail}`, { cause: error });
  }
}

interface WhoOptions extends VerbOptions {
  by?: string;
  note?: string;
}

const withWho = (command: Command) => withApi(command).option('--by <name>', 'who does it; default: your user name');

function addArm(rules: Command, edge: Edge): void {
  const command = withWho(rules.command('arm'))
    .description('let a rule act again')
    .argument('<name>', 'of a rule', ruleName);
  verb<WhoOptions>(edge, command, ['brink rules arm night-person'], (context, options, name = '') =>
    setArming(context, options, `/v1/rules/${name}/arm`, { by: who(options) }),
  );
}

function addDisarm(rules: Command, edge: Edge): void {
  const command = withWho(rules.command('disarm'))
    .description('set a rule aside: it goes on watching, what it leads to is recorded as suppressed')
    .argument('<name>', 'of a rule', ruleName)
    .option('--note <text>', 'why');
  const example = ['brink rules disarm night-person --note "new window, being cleaned"'];
  verb<WhoOptions>(edge, command, example, (context, options, name = '') =>
    setArming(context, options, `/v1/rules/${name}/disarm`, { by: who(options), note: options.note }),
  );
}

function addSnooze(rules: Command, edge: Edge): void {
  const command = withWho(rules.command('snooze'))
    .description('set a rule aside until a time; then it is armed again by itself')
    .argument('<name>', 'of a rule', ruleName)
    .argument('<until>', 'as 90m, 8h or 2026-11-22T18:00:00Z', untilTime)
    .option('--note <text>', 'why');
  const example = ['brink rules snooze night-person 2h --note "people are working there"'];
  verb<WhoOptions>(edge, command, example, (context, options, name = '', until = '') =>
    setArming(context, options, `/v1/rules/${name}/snooze`, { until, by: who(options), note: options.note }),
  );
}

function setArming(context: Context, options: VerbOptions, path: string, body: unknown): Promise<number> {
  return usingApi(context, options, async (api) => {
    const answer = await api.send<{ rule: string; arming: RuleArming }>('POST', path, body);
    context.show(answer, [`${answer.rule}  ${armingText(answer.arming, context.paint)}`]);
    return 0;
  });
}

interface FireOptions extends WhoOptions {
  decision?: string;
  sample?: unknown;
  release?: boolean;
}

function addFire(rules: Command, edge: Edge): void {
  const command = withWho(rules.command('fire'))
    .description("carry a rule's actions out now, as a test. They really go out, also where it is disarmed")
    .argument('<name>', 'of a rule', ruleName)
    .option('--decision <id>', 'what templates are filled from; default: the newest on its pipelines')
    .option(
      '--sample <json>',
      'where there is no decision yet: {"device":"cam-1","label":"person","score":0.9}',
      sample,
    )
    .option('--release', 'the actions of on_release');
  const example = ['brink rules fire night-person', `brink rules fire night-person --sample '{"device":"cam-1"}'`];
  verb<FireOptions>(edge, command, example, async (context, options, name = '') =>
    usingApi(context, options, async (api) => {
      const { decision, sample: filling, release } = options;
      const body = { decision, sample: filling, phase: release === true ? 'on_release' : 'then', by: who(options) };
      const answer = await api.send<{ actions: ActionRecord[] }>('POST', `/v1/rules/${name}/fire`, body);
      const lines = answer.actions.flatMap((action) => [
        actionLine(action, context.paint),
        `  brink explain ${action.id}`,
      ]);
      context.show(answer, lines);
      return answer.actions.some(({ state }) => state === 'dead') ? 1 : 0;
    }),
  );
}

function who({ by }: WhoOptions): string | undefined {
  if (by !== undefined) return by;
  try {
    return userInfo().username || undefined;
  } catch {
    // A container whose user has no name.
    return undefined;
  }
}

function ruleName(text: string): string {
  if (!isName(text)) throw new InvalidArgumentError('expected a name of a-z, 0-9 and -');
  return text;
}

function sample(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    throw new InvalidArgumentError('expected JSON, as {"device":"cam-1"}');
  }
}
