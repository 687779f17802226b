import {
  type ActionConfig,
  BrinkError,
  type Configuration,
  DecisionSchema,
  type RuleConfig,
  underName,
  type Zone,
} from '@brink/protocol';
import { templateIn, withTarget } from './action-parts.ts';
import { createWindow } from './between.ts';
import { compileExpression, type Expression, ExpressionError, type ExpressionScope } from './expression.ts';
import type { MachineRule } from './machine.ts';
import { compileTemplate, type Template, TemplateError } from './template.ts';

/** What rules refer to elsewhere in the configuration. */
export interface RuleContext {
  /** Names of all pipelines of the site. */
  readonly pipelines: readonly string[];
  /** site.mqtt_allow */
  readonly mqttAllow: readonly string[];
  /** site.notify */
  readonly notify?: string | undefined;
  readonly revision?: string;
  /** site.timezone; default UTC */
  readonly timezone?: string;
  /** By pipeline: the zones of its stream. */
  readonly zones?: Readonly<Record<string, Readonly<Record<string, Zone>>>>;
  /** By pipeline: its stream. */
  readonly streams?: Readonly<Record<string, string>>;
}

/** Everything of a configuration that rules refer to. */
export function ruleContextOf(configuration: Configuration, revision?: string): Required<RuleContext> {
  const pairs = Object.entries(configuration.streams).flatMap(([stream, { pipelines, zones }]) =>
    Object.keys(pipelines).map((pipeline) => ({ pipeline, stream, zones })),
  );
  return {
    pipelines: pairs.map(({ pipeline }) => pipeline),
    mqttAllow: configuration.site.mqtt_allow,
    notify: configuration.site.notify,
    revision: revision ?? '',
    timezone: configuration.site.timezone,
    zones: Object.fromEntries(pairs.map(({ pipeline, zones }) => [pipeline, zones])),
    streams: Object.fromEntries(pairs.map(({ pipeline, stream }) => [pipeline, stream])),
  };
}

/** One thing that is wrong with a rule. */
export interface RuleProblem {
  readonly code: 'E_RULE' | 'E_CONFIG';
  /** From the root of the configuration: rules, name, field … */
  readonly path: readonly (string | number)[];
  /** From 1, within the text at `path`; absent where the value as a whole is wrong. */
  readonly column?: number;
  readonly found: string;
  /** What is wrong and what was expected. */
  readonly detail: string;
  /** What was expected, where `found` says all the rest. */
  readonly expected?: string;
}

export interface CompiledAction {
  readonly config: ActionConfig;
  readonly template: Template;
}

interface Quorum {
  /** Whose votes are counted. */
  readonly of: 'pipeline' | 'device';
  readonly atLeast: number;
  readonly withinMs: number;
}

export interface CompiledRule extends MachineRule {
  readonly name: string;
  readonly config: RuleConfig;
  readonly on: readonly string[];
  readonly when: Expression;
  readonly releaseWhen: Expression | undefined;
  readonly quorum: Quorum | undefined;
  readonly then: readonly CompiledAction[];
  readonly onRelease: readonly CompiledAction[];
  /** Fields of the key's last decision that it reads as `previous`, and so are kept; none: nothing is. */
  readonly previousFields: readonly string[];
  /** A decision on which the condition does not hold leaves a machine that never moved as it is. */
  readonly quiet: boolean;
  /** A timer may fire it, so what the condition read is kept until then. */
  readonly timed: boolean;
  /** Fields of the decision that its templates read; kept until the timer fires. */
  readonly templateFields: readonly string[];
  /** Expired and dead outcomes have neither label nor score; only rules that ask for them see them. */
  readonly seesFailures: boolean;
  /** The part of the configuration that gives the machine's state its meaning; another shape starts afresh. */
  readonly shape: string;
}

export interface CompiledRules {
  readonly byName: ReadonlyMap<string, CompiledRule>;
  readonly byPipeline: ReadonlyMap<string, readonly CompiledRule[]>;
  /** Of the configuration that they come from. */
  readonly revision: string;
}

const PROBLEMS_SHOWN = 5;
const DECISION_FIELDS = Object.keys(DecisionSchema.shape);

/** @throws BrinkError E_RULE or E_CONFIG, naming rule, field, column, what was found and what was expected */
export function compileRules(rules: Readonly<Record<string, RuleConfig>>, context: RuleContext): CompiledRules {
  const problems: RuleProblem[] = [];
  const byName = new Map<string, CompiledRule>();
  const byPipeline = new Map<string, CompiledRule[]>();
  for (const [name, config] of Object.entries(rules)) {
    const rule = compileRule(name, config, context, problems);
    if (rule === undefined) continue;
    byName.set(name, rule);
    for (const pipeline of new Set(rule.on)) byPipeline.set(pipeline, [...(byPipeline.get(pipeline) ?? []), rule]);
  }
  const first = problems[0];
  if (first !== undefined) {
    const more = problems.length > PROBLEMS_SHOWN ? `; and ${problems.length - PROBLEMS_SHOWN} more` : '';
    throw new BrinkError(first.code, problems.slice(0, PROBLEMS_SHOWN).map(sentence).join('; ') + more);
  }
  return { byName, byPipeline, revision: context.revision ?? '' };
}

/** Everything that keeps the rules from being compiled. */
export function compileProblems(rules: Readonly<Record<string, RuleConfig>>, context: RuleContext): RuleProblem[] {
  const problems: RuleProblem[] = [];
  for (const [name, config] of Object.entries(rules)) compileRule(name, config, context, problems);
  return problems;
}

function sentence(problem: RuleProblem): string {
  const column = problem.column === undefined ? '' : `, column ${problem.column}`;
  return `${problem.path.join('.')}${column}: ${problem.detail}; found ${problem.found}`;
}

function compileRule(
  name: string,
  config: RuleConfig,
  context: RuleContext,
  problems: RuleProblem[],
): CompiledRule | undefined {
  const before = problems.length;
  const path = ['rules', name];
  const on = typeof config.on === 'string' ? [config.on] : config.on;
  for (const pipeline of on)
    if (!context.pipelines.includes(pipeline)) problems.push(unknownPipeline(path, pipeline, context));
  const scope = {
    zones: Object.fromEntries(on.map((pipeline) => [pipeline, underName(context.zones, pipeline) ?? {}])),
  };
  const when = condition(config.when ?? 'true', [...path, 'when'], scope, problems);
  const releaseWhen =
    config.release?.when === undefined
      ? undefined
      : condition(config.release.when, [...path, 'release', 'when'], scope, problems);
  const actions = (field: 'then' | 'on_release') =>
    config[field].map((action, index) =>
      compileAction(action, [...path, field, index], { ...context, scope }, problems),
    );
  const then = actions('then');
  const onRelease = actions('on_release');
  if (when === undefined || problems.length > before) return undefined;
  const templates = [...then, ...onRelease].map((action) => action.template);
  const paths = [when, ...(releaseWhen === undefined ? [] : [releaseWhen]), ...templates].flatMap((part) => part.paths);
  return {
    name,
    config,
    on,
    when,
    releaseWhen,
    then,
    onRelease,
    ...timesOf(config, context),
    quorum: quorumOf(config.quorum),
    quiet: isQuiet(config, paths),
    previousFields: fieldsOf('previous', paths),
    templateFields: fieldsOf(
      'decision',
      templates.flatMap((template) => template.paths),
    ),
    seesFailures: paths.some((read) => read === 'decision.outcome' || read.startsWith('decision.error')),
    shape: JSON.stringify([on, config.when, config.by, config.for, config.release, config.absent_ms, config.quorum]),
  };
}

function timesOf(config: RuleConfig, { timezone }: RuleContext): MachineRule & { timed: boolean } {
  const releaseMs = config.release?.ms ?? 0;
  const { absent_ms: absentMs, between, for: times } = config;
  return {
    ...(times === undefined ? {} : { for: times }),
    releaseMs,
    ...(absentMs === undefined ? {} : { absentMs }),
    ...(between === undefined ? {} : { window: createWindow(between, timezone ?? 'UTC') }),
    timed: absentMs !== undefined || (times !== undefined && 'ms' in times) || releaseMs > 0,
  };
}

function isQuiet({ absent_ms, quorum, for: times }: RuleConfig, paths: readonly string[]): boolean {
  if (absent_ms !== undefined || quorum !== undefined || (times !== undefined && 'of' in times)) return false;
  return !paths.some((path) => path.startsWith('previous'));
}

function quorumOf(quorum: RuleConfig['quorum']): Quorum | undefined {
  if (quorum === undefined) return undefined;
  const withinMs = quorum.within_ms;
  if ('devices' in quorum) return { of: 'device', atLeast: quorum.devices, withinMs };
  return { of: 'pipeline', atLeast: quorum.pipelines, withinMs };
}

/** "decision.frames.last" reads the field frames; "decision" alone reads them all. */
function fieldsOf(root: string, paths: readonly string[]): string[] {
  const read = paths.filter((path) => path === root || path.startsWith(`${root}.`));
  return read.includes(root) ? DECISION_FIELDS : [...new Set(read.map((path) => path.split('.')[1] as string))];
}

function unknownPipeline(path: readonly string[], found: string, context: RuleContext): RuleProblem {
  const known =
    context.pipelines.length === 0 ? 'none is configured' : `one of ${context.pipelines.slice(0, 20).join(', ')}`;
  return {
    code: 'E_CONFIG',
    path: [...path, 'on'],
    found: JSON.stringify(found),
    detail: `no such pipeline; expected ${known}`,
  };
}

function condition(
  text: string,
  path: (string | number)[],
  scope: ExpressionScope,
  problems: RuleProblem[],
): Expression | undefined {
  const found = JSON.stringify(text);
  try {
    const expression = compileExpression(text, scope);
    if (expression.type === 'bool' || expression.type === 'dyn') return expression;
    const detail = `it is a ${expression.type}; expected a condition (true or false), as decision.label == "cat"`;
    problems.push({ code: 'E_RULE', path, column: 1, found, detail });
  } catch (error) {
    if (!(error instanceof ExpressionError)) throw error;
    const detail = `${error.message}; expected CEL over decision, device, stream, pipeline, previous`;
    problems.push({ code: 'E_RULE', path, column: error.column, found, detail });
  }
  return undefined;
}

function compileAction(
  config: ActionConfig,
  path: (string | number)[],
  context: RuleContext & { readonly scope: ExpressionScope },
  problems: RuleProblem[],
): CompiledAction {
  if ('mqtt' in config) checkTopic(config.mqtt.topic, [...path, 'mqtt', 'topic'], context, problems);
  const part = templateIn(config);
  const template =
    part === undefined ? NO_TEMPLATE : templateOf(part.value, [...path, ...part.path], context.scope, problems);
  return { config: withTarget(config, context.notify), template };
}

function checkTopic(topic: string, path: (string | number)[], context: RuleContext, problems: RuleProblem[]): void {
  const found = JSON.stringify(topic);
  if (topic.includes('${')) {
    const detail = 'a topic takes no ${…}; expected the topic itself';
    problems.push({ code: 'E_CONFIG', path, found, detail });
  } else if (!isTopicAllowed(topic, context.mqttAllow)) {
    const allowed =
      context.mqttAllow.length === 0 ? 'none' : context.mqttAllow.map((prefix) => JSON.stringify(prefix)).join(', ');
    const detail = `site.mqtt_allow has no prefix of it; expected a topic under ${allowed}, or its prefix added there`;
    problems.push({ code: 'E_CONFIG', path, found, detail });
  }
}

export function isTopicAllowed(topic: string, mqttAllow: readonly string[]): boolean {
  return mqttAllow.some((prefix) => topic.startsWith(prefix));
}

const NO_TEMPLATE: Template = { constant: true, paths: [], render: () => null };

function templateOf(
  value: unknown,
  path: (string | number)[],
  scope: ExpressionScope,
  problems: RuleProblem[],
): Template {
  try {
    return compileTemplate(value, scope);
  } catch (error) {
    if (!(error instanceof TemplateError)) throw error;
    const where = [...path, ...error.path];
    const found = JSON.stringify(
      error.path.reduce<unknown>((at, name) => (at as Record<string, unknown>)[name], value),
    );
    problems.push({ code: 'E_RULE', path: where, column: error.column, found, detail: error.message });
    return NO_TEMPLATE;
  }
}
