import {
  type ActionConfig,
  BrinkError,
  type Decision,
  type ExpectedAction,
  type GivenDecision,
  type RuleConfig,
  type RuleTest,
  underName,
} from '@brink/protocol';
import { type CompiledRules, compileProblems, compileRules, type RuleContext, type RuleProblem } from './compile.ts';
import type { EmittedAction } from './emission.ts';
import { type RuleEvent, reduce } from './engine.ts';
import { emptyState } from './state.ts';

// The tests that rules carry, run on the engine itself: no clock but theirs, nothing is sent.

/** An action that a test led to. Its kind (command, mqtt …) stands beside, with templates filled in. */
export interface TestedAction {
  readonly at_ms: number;
  readonly phase: EmittedAction['phase'];
  readonly key: string;
  readonly fate: EmittedAction['fate'];
  /** Why it was not sent. */
  readonly error?: { readonly code: string; readonly detail: string };
  readonly action: ActionConfig;
}

export interface RuleTestResult {
  readonly rule: string;
  readonly test: string;
  /** Within the rule's `tests`. */
  readonly index: number;
  readonly ok: boolean;
  readonly expected: readonly ExpectedAction[];
  readonly came: readonly TestedAction[];
  /** Where it failed: what was expected, and what came. */
  readonly detail?: string;
}

/** More decisions than these, repetitions counted, are no test: activation waits for it. */
const DECISIONS_MAX = 10_000;
/** Of all tests together. A decision with many objects counts for more, as its evaluation may take their square. */
const WEIGHT_MAX = 200_000;

/**
 * Runs every test of every rule, each alone and from the beginning. Actions count as sent at once; timers fire at their
 * due times, up to the last step that is given.
 * @throws BrinkError E_RULE, E_CONFIG where a rule does not compile
 */
export function runRuleTests(rules: Readonly<Record<string, RuleConfig>>, context: RuleContext): RuleTestResult[] {
  return Object.entries(rules).flatMap(([rule, config]) => {
    if (config.tests.length === 0) return [];
    const compiled = compileRules({ [rule]: config }, context);
    return config.tests.map((test, index) => runTest({ rule, config, compiled, context }, test, index));
  });
}

/**
 * Everything that is wrong with the rules, for who knows the file and the line of each path: conditions and templates
 * that do not compile and, of the rules that do, tests that fail.
 */
export function checkRules(rules: Readonly<Record<string, RuleConfig>>, context: RuleContext): RuleProblem[] {
  const problems = compileProblems(rules, context);
  const wrong = new Set(problems.map(({ path }) => path[1]));
  const right = Object.entries(rules).filter(([name]) => !wrong.has(name));
  const heavy = tooHeavy(right);
  if (heavy !== undefined) return [...problems, heavy];
  for (const { rule, index, test, ok, detail } of runRuleTests(Object.fromEntries(right), context)) {
    if (ok || detail === undefined) continue;
    const path = ['rules', rule, 'tests', index];
    const found = `the test ${JSON.stringify(test)}, which fails: ${detail}`;
    problems.push({ code: 'E_RULE', path, found, detail: 'it fails', expected: 'a rule whose tests hold' });
  }
  return problems;
}

/** The rule with which there are too many. */
function tooHeavy(rules: readonly (readonly [string, RuleConfig])[]): RuleProblem | undefined {
  let weight = 0;
  for (const [rule, { tests }] of rules) {
    weight += tests.reduce((sum, test) => sum + weightOf(test), 0);
    if (weight <= WEIGHT_MAX) continue;
    const found = `${tests.length} tests, with which all tests weigh ${weight}`;
    const expected = `at most ${WEIGHT_MAX} decisions in all tests together; one with 400 objects counts as 401`;
    return { code: 'E_RULE', path: ['rules', rule, 'tests'], found, detail: 'too many', expected };
  }
  return undefined;
}

function weightOf({ given }: RuleTest): number {
  let [weight, each] = [0, 1];
  for (const { decision, repeat } of given) {
    if (decision !== undefined) each = 1 + ((decision.objects?.length ?? 0) / 20) ** 2;
    weight += (repeat ?? (decision === undefined ? 0 : 1)) * each;
  }
  return Math.ceil(weight);
}

interface Tested {
  readonly rule: string;
  readonly config: RuleConfig;
  readonly compiled: CompiledRules;
  readonly context: RuleContext;
}

function runTest(tested: Tested, test: RuleTest, index: number): RuleTestResult {
  const { rule } = tested;
  const result = { rule, test: test.name, index, expected: test.expect };
  const decisions = test.given.reduce((sum, { decision, repeat }) => sum + (repeat ?? (decision ? 1 : 0)), 0);
  if (decisions > DECISIONS_MAX) {
    return { ...result, ok: false, came: [], detail: `${decisions} decisions; expected at most ${DECISIONS_MAX}` };
  }
  try {
    const came = play(tested, test);
    const detail = difference(test.expect, came);
    return { ...result, came, ok: detail === undefined, ...(detail === undefined ? {} : { detail }) };
  } catch (error) {
    return { ...result, ok: false, came: [], detail: BrinkError.from(error).detail };
  }
}

/** @returns the actions, in order */
function play({ rule, config, compiled, context }: Tested, test: RuleTest): TestedAction[] {
  const startMs = Date.parse(test.starts_at);
  const state = emptyState();
  const came: TestedAction[] = [];
  let nowMs = startMs;
  let n = 0;
  let last: GivenDecision | undefined;

  function run(event: RuleEvent): void {
    for (const effect of reduce(state, event, compiled).effects) {
      if (effect.kind !== 'action') continue;
      const { phase, key, fate, error, config: action, id, because } = effect.action;
      const atMs = Date.parse(because.at) - startMs;
      came.push({ at_ms: atMs, phase, key, fate, ...(error === undefined ? {} : { error }), action });
      if (fate === 'pending') reduce(state, { kind: 'action', rule, key, id, change: 'sent' }, compiled);
    }
  }

  function passTo(atMs: number): void {
    for (;;) {
      const dueMs = state.timers[0]?.[0];
      if (dueMs === undefined || dueMs > atMs) break;
      nowMs = Math.max(nowMs, dueMs);
      run({ kind: 'tick', dueMs, nowMs });
    }
    nowMs = Math.max(nowMs, atMs);
  }

  for (const { at_ms: atMs, decision, repeat, every_ms: everyMs } of test.given) {
    last = decision ?? last;
    if (repeat !== undefined && last === undefined) throw new BrinkError('E_CONFIG', NOTHING_TO_REPEAT);
    const times = repeat ?? (decision === undefined ? 0 : 1);
    if (times === 0) passTo(startMs + atMs);
    for (let time = 0; time < times; time++) {
      const receivedMs = startMs + atMs + time * everyMs;
      passTo(receivedMs);
      n += 1;
      const seen = decisionOf(last ?? {}, { n, receivedMs, config, context });
      run({ kind: 'decision', decision: seen, receivedMs, nowMs });
    }
  }
  return came;
}

const NOTHING_TO_REPEAT = 'repeat without a decision before it; expected { at_ms: 0, decision: { … } } first';

interface Place {
  readonly n: number;
  readonly receivedMs: number;
  readonly config: RuleConfig;
  readonly context: RuleContext;
}

/** What a test leaves out: `label` and `score` are those of the best object or class, as everywhere. */
function decisionOf(given: GivenDecision, { n, receivedMs, config, context }: Place): Decision {
  const pipeline = given.pipeline ?? [config.on].flat()[0] ?? 'pipeline';
  const device = given.device ?? 'test-1';
  const stream = given.stream ?? underName(context.streams, pipeline) ?? 'stream';
  const { objects, classes } = given;
  const decided = given.error === undefined;
  return {
    ...{ v: 1, id: `${device}.${stream}.test.${n}.0.${pipeline}`, n, device, stream, pipeline },
    outcome: decided ? 'decided' : 'dead',
    ...(decided ? { task: objects === undefined ? 'classification' : 'detection' } : {}),
    ...best(objects ?? classes, objects !== undefined),
    frames: { boot: 'test', first: n, last: n, received: 1 },
    model: { name: 'test', version: 1 },
    ...{ received_at: new Date(receivedMs).toISOString(), latency_ms: 0, revision: context.revision ?? '' },
    ...given,
  } as Decision;
}

type Scored = { readonly label: string; readonly score: number };

function best(found: readonly Scored[] | undefined, detection: boolean): Partial<Scored> {
  if (found === undefined) return {};
  const [first, ...more] = found;
  if (first === undefined) return detection ? { label: 'none', score: 0 } : {};
  const { label, score } = more.reduce((a, b) => (b.score > a.score ? b : a), first);
  return { label, score };
}

/** @returns what was expected and what came, at the first place where they differ */
function difference(expected: readonly ExpectedAction[], came: readonly TestedAction[]): string | undefined {
  for (let at = 0; at < Math.max(expected.length, came.length); at++) {
    const wanted = expected[at];
    const found = came[at];
    if (wanted === undefined) return `expected ${countOf(expected.length)}, came ${came.length}: ${show(found)}`;
    if (found === undefined) {
      return `expected ${countOf(expected.length)}, came ${came.length}; missing: ${JSON.stringify(wanted)}`;
    }
    if (!matches(wanted, { ...found, ...found.action })) {
      return `action ${at + 1}: expected ${JSON.stringify(wanted)}, came ${show(found)}`;
    }
  }
  return undefined;
}

const countOf = (count: number) => (count === 0 ? 'no action' : `${count} action${count === 1 ? '' : 's'}`);

function show(found: TestedAction | undefined): string {
  if (found === undefined) return 'nothing';
  const { action, ...rest } = found;
  return JSON.stringify({ ...rest, ...action });
}

/** Objects may have more than was expected; everything else is equal. */
function matches(expected: unknown, found: unknown): boolean {
  if (typeof expected !== 'object' || expected === null) return expected === found;
  if (typeof found !== 'object' || found === null || Array.isArray(expected) !== Array.isArray(found)) return false;
  if (Array.isArray(expected) && Array.isArray(found) && expected.length !== found.length) return false;
  return Object.entries(expected).every(([key, value]) => matches(value, (found as Record<string, unknown>)[key]));
}
