import type { Backtest, RuleArming, RuleState, RuleTestReport } from '@brink/protocol';
import { type Paint, printable, table } from '../terminal.ts';

// What people read of rules: where they stand, how their tests went, what a backtest found.

export function armingText({ state, until, by, note }: RuleArming, paint: Paint): string {
  if (state === 'armed') return paint('green', 'armed');
  const end = until === undefined ? '' : ` until ${until}`;
  const who = by === undefined ? '' : ` by ${printable(by)}`;
  const why = note === undefined ? '' : `: ${printable(note)}`;
  return `${paint('yellow', state)}${end}${who}${why}`;
}

export function stateLines({ rule, arming, errors, last_error, keys }: RuleState, paint: Paint): string[] {
  const lines = [`${paint('bold', rule)}  ${armingText(arming, paint)}`];
  if (errors > 0)
    lines.push(`  ${paint('yellow', `${errors} failed evaluations`)}, the last: ${printable(last_error ?? '')}`);
  if (keys.length === 0) return [...lines, '  every key is idle: nothing has been seen on which it would move'];
  const rows = keys.map(({ key, state, since, waits_for }) => [
    `  ${printable(key)}`,
    state === 'idle' ? paint('dim', state) : paint('green', state),
    `since ${since}`,
    printable(waits_for),
  ]);
  return [...lines, ...table(rows)];
}

export function testLines({ tests }: RuleTestReport, paint: Paint): string[] {
  if (tests.length === 0) return ['no rule carries tests (`tests:` in a rule; docs/rules.md shows how)'];
  const lines = tests.flatMap(({ rule, test, ok, detail, at }) => {
    const mark = ok ? paint('green', '✓') : paint('red', '✗');
    const where = ok || at === undefined ? '' : paint('dim', `  ${at}`);
    return [
      `${mark} ${rule}: ${printable(test)}${where}`,
      ...(detail === undefined ? [] : [`    ${printable(detail)}`]),
    ];
  });
  const failed = tests.filter(({ ok }) => !ok).length;
  const all = `${tests.length} ${tests.length === 1 ? 'test' : 'tests'}`;
  return [...lines, failed === 0 ? `${all}, all hold` : `${all}, ${failed} ${failed === 1 ? 'fails' : 'fail'}`];
}

const SIGNS = { fires: ['green', '+'], silent: ['red', '−'], differs: ['yellow', '~'] } as const;
const WORDS = { fires: 'would fire', silent: 'would no longer fire', differs: 'would do something else' } as const;

export function backtestLines(backtest: Backtest, paint: Paint): string[] {
  const { since, until, decisions, took_ms, against, complete, error } = backtest;
  const lines = [`${decisions} decisions of ${since} … ${until}, in ${took_ms} ms; compared with ${against}`];
  if (!complete)
    lines.push(`${paint('red', 'not complete')}: ${error ?? ''}; it came to ${backtest.through ?? 'none'}`);
  if (backtest.rules.length === 0) return [...lines, 'no rules'];
  lines.push('', ...ruleTable(backtest, paint));
  if (backtest.differences.length > 0) lines.push('', ...backtest.differences.map((one) => differenceLine(one, paint)));
  if (backtest.unlisted > 0) lines.push(`  … and ${backtest.unlisted} more (--limit)`);
  for (const { rule, last_error } of backtest.rules) {
    if (last_error !== undefined) lines.push(`${paint('yellow', '!')} ${rule}: ${printable(last_error)}`);
  }
  for (const { rule, pipeline, why } of backtest.approximate) {
    const what = rule !== undefined ? `rule ${rule}: ` : pipeline !== undefined ? `pipeline ${pipeline}: ` : '';
    lines.push(`${paint('yellow', '≈')} approximate: ${what}${printable(why)}`);
  }
  return lines;
}

function ruleTable({ rules }: Backtest, paint: Paint): string[] {
  const head = ['rule', '', 'fires now', 'would fire', 'new', 'gone', 'other', 'too old'].map((text) =>
    paint('dim', text),
  );
  const rows = rules.map((row) => [
    ...[row.rule, row.change, `${row.before}`, `${row.after}`],
    ...[`${row.fires}`, `${row.silent}`, `${row.differs}`, `${row.suppressed}`],
  ]);
  return table([head, ...rows]);
}

function differenceLine(one: Backtest['differences'][number], paint: Paint): string {
  const [colour, sign] = SIGNS[one.difference];
  const phase = one.phase === 'on_release' ? ' on release' : '';
  const head = `${paint(colour, sign)} ${one.at} ${one.rule} ${printable(one.key)}  ${WORDS[one.difference]}${phase}`;
  const now = one.before === undefined ? '' : ` instead of ${one.before.map(actionText).join(', ')}`;
  return `${head}: ${one.actions.map(actionText).join(', ')}${now}  ${paint('dim', one.decision)}`;
}

/** `feeder-1 open {"grams":20}` */
function actionText(action: Backtest['differences'][number]['actions'][number]): string {
  if ('command' in action) {
    const { device, name, args } = action.command;
    return printable(`${device} ${name}${Object.keys(args).length === 0 ? '' : ` ${JSON.stringify(args)}`}`);
  }
  const [kind, config] = Object.entries(action)[0] ?? ['', {}];
  const { topic, target, title } = config as { topic?: string; target?: string; title?: string };
  return printable([kind, topic ?? target, title].filter((part) => part !== undefined).join(' '));
}
