import { type ActionConfig, type Because, type Decision, type ErrorCode, formatActionId } from '@brink/protocol';
import { withRendered } from './action-parts.ts';
import type { CompiledAction, CompiledRule, CompiledRules } from './compile.ts';
import { type Expression, ExpressionError, type Variables } from './expression.ts';
import { holdingIn, type Step } from './machine.ts';
import type { Arming, Cooldown, EngineState, KeyState, Trigger } from './state.ts';
import type { Json } from './template.ts';
import { agreeing, NO_VOTES } from './votes.ts';

// What a step that fired leads to: actions with their reasons, and the cooldown that they reserve.

/** An action as it enters the outbox. */
export interface EmittedAction {
  /** Idempotency key: a second run on the same log makes the same one. */
  readonly id: string;
  readonly rule: string;
  readonly key: string;
  readonly phase: 'then' | 'on_release';
  readonly index: number;
  /** The decision that it refers to. */
  readonly decision: string;
  readonly n: number;
  /** Templates filled in. */
  readonly config: ActionConfig;
  readonly fate: 'pending' | 'suppressed' | 'dead';
  readonly error?: { readonly code: ErrorCode; readonly detail: string };
  /** From then on it is stale: not to be sent for the first time. */
  readonly staleMs: number;
  readonly because: Because;
}

export type Effect =
  | { readonly kind: 'action'; readonly action: EmittedAction }
  /** undefined: forget the key. */
  | { readonly kind: 'save'; readonly rule: string; readonly key: string; readonly state: KeyState | undefined }
  /** Its error count changed. */
  | { readonly kind: 'health'; readonly rule: string }
  /** undefined: armed. */
  | { readonly kind: 'arming'; readonly rule: string; readonly arming: Arming | undefined };

/** One rule, at one event. */
export interface Context {
  readonly state: EngineState;
  readonly compiled: CompiledRules;
  readonly rule: CompiledRule;
  readonly nowMs: number;
  readonly effects: Effect[];
}

const VALUE_CHARS_MAX = 500;
/** Of an action whose templates are filled in: it is kept, and sent whole. */
const FILLED_CHARS_MAX = 65_536;

/** Emits what a step fired, and reserves the cooldown. */
export function settle(
  context: Context,
  key: string,
  before: KeyState,
  stepped: Step,
  atMs: number,
  variables: Variables,
  timerDueMs?: number,
): KeyState {
  const { rule } = context;
  const { after, fired, trigger } = stepped;
  if (fired === undefined || trigger === undefined) return after;
  const emission = {
    key,
    before,
    after,
    trigger,
    atMs,
    variables,
    ...(timerDueMs === undefined ? {} : { timerDueMs }),
  };
  const stale = context.nowMs - (timerDueMs ?? trigger.receivedMs) > rule.config.stale_ms_max;
  if (fired === 'on_release') {
    const { emitted, ...rest } = after;
    if (emitted !== true) return rest;
    emit(context, 'on_release', rule.onRelease, emission);
    // Still to be undone: a decision in time makes up for it.
    return stale && rule.onRelease.length > 0 ? after : rest;
  }
  if (isCooling(after.cooldown, atMs)) return after;
  const pending = emit(context, 'then', rule.then, emission);
  if (stale) return { ...after, missed: true, ...watchAnew(context, trigger) };
  if (pending.length === 0) return after;
  if (rule.config.cooldown_ms === 0) return { ...after, emitted: true };
  const untilMs = atMs + rule.config.cooldown_ms;
  const open = pending.map(({ id }) => id);
  const reservedMs = untilMs + UNSENT_MS_MAX;
  return { ...after, emitted: true, cooldown: { untilMs, emittedMs: context.nowMs, reservedMs, open, sent: false } };
}

/** Silence brings no decision that could make up for it. If it lasts as long again, from when somebody looked, that is told. */
function watchAnew({ rule: { absentMs }, nowMs }: Context, trigger: Trigger): Pick<KeyState, 'dueMs' | 'trigger'> {
  return absentMs === undefined ? {} : { dueMs: nowMs + absentMs, trigger };
}

/** A cooldown that has not begun, because nothing could be sent yet, silences a key for so much longer and no more. */
const UNSENT_MS_MAX = 60_000;

function isCooling(cooldown: Cooldown | undefined, atMs: number): boolean {
  if (cooldown === undefined) return false;
  return atMs < cooldown.untilMs || (!cooldown.sent && atMs < cooldown.reservedMs);
}

interface Emission {
  readonly key: string;
  readonly before: KeyState;
  readonly after: KeyState;
  readonly trigger: Trigger;
  readonly atMs: number;
  readonly timerDueMs?: number;
  readonly variables: Variables;
}

/** @returns those that are to be sent */
function emit(
  context: Context,
  phase: EmittedAction['phase'],
  actions: readonly CompiledAction[],
  emission: Emission,
): EmittedAction[] {
  const { rule, nowMs, effects } = context;
  const { key, trigger, atMs, timerDueMs } = emission;
  const because = explain(context, phase, emission);
  const stale = because.age_ms > rule.config.stale_ms_max;
  const withheld = stale
    ? staleError(because.age_ms, rule.config.stale_ms_max)
    : disarmedError(context.state.arming[rule.name], phase, atMs);
  // After those of `then`, so that no id is used twice even where both come of one decision.
  const offset = phase === 'then' ? 0 : rule.then.length;
  const timer = timerDueMs === undefined ? {} : { timer: { key, dueMs: timerDueMs } };
  const pending: EmittedAction[] = [];
  for (const [position, action] of actions.entries()) {
    const index = offset + position;
    const id = formatActionId({ decision: trigger.id, ...timer }, rule.name, index);
    const rendered = render(action, emission.variables);
    const error = withheld ?? rendered.error;
    const fate = withheld !== undefined ? 'suppressed' : error === undefined ? 'pending' : 'dead';
    const emitted: EmittedAction = {
      ...{ id, rule: rule.name, key, phase, index, decision: trigger.id, n: trigger.n, config: rendered.config, fate },
      ...(error === undefined ? {} : { error }),
      staleMs: nowMs - because.age_ms + rule.config.stale_ms_max,
      because: { ...because, at: new Date(atMs).toISOString() },
    };
    if (fate === 'pending') pending.push(emitted);
    effects.push({ kind: 'action', action: emitted });
  }
  return pending;
}

const staleError = (ageMs: number, maxMs: number) =>
  ({
    code: 'E_ACTION_STALE',
    detail: `the trigger was ${Math.round(ageMs)} ms old when it was evaluated; stale_ms_max is ${maxMs}`,
  }) as const;

/**
 * By rule time, so that a replay says the same. `on_release` is only asked for where `then` was really emitted: what was
 * begun before the rule was set aside is still undone.
 */
function disarmedError(arming: Arming | undefined, phase: EmittedAction['phase'], atMs: number) {
  if (arming === undefined || phase === 'on_release') return undefined;
  if (arming.untilMs !== undefined && atMs >= arming.untilMs) return undefined;
  const until = arming.untilMs === undefined ? '' : ` until ${new Date(arming.untilMs).toISOString()}`;
  const note = arming.note === undefined ? '' : `: ${arming.note}`;
  const since = new Date(arming.sinceMs).toISOString();
  return {
    code: 'E_RULE_DISARMED',
    detail: `the rule is ${arming.state}${until}, by ${arming.by} since ${since}${note}`,
  } as const;
}

export function render(
  action: CompiledAction,
  variables: Variables,
): { config: ActionConfig; error?: EmittedAction['error'] } {
  const { config, template } = action;
  try {
    const filled = template.render(variables);
    if (template.constant) return { config: withRendered(config, filled) };
    const chars = JSON.stringify(filled).length;
    if (chars <= FILLED_CHARS_MAX) return { config: withRendered(config, filled) };
    const detail = `filled in it has ${chars} characters as JSON; expected at most ${FILLED_CHARS_MAX}`;
    return { config, error: { code: 'E_TOO_LARGE', detail } };
  } catch (error) {
    if (!(error instanceof ExpressionError)) throw error;
    return { config, error: { code: 'E_RULE', detail: `a template has no value: ${error.message}` } };
  }
}

function explain(context: Context, phase: EmittedAction['phase'], emission: Emission): Because {
  const { rule, nowMs, compiled } = context;
  const { before, after, trigger, timerDueMs, key } = emission;
  const released = phase === 'on_release';
  const expression = released ? (rule.releaseWhen ?? rule.when) : rule.when;
  const counts = rule.for !== undefined && 'of' in rule.for && !released ? rule.for : undefined;
  const history = `${before.history ?? ''}1`.slice(-(counts?.of ?? 1));
  return {
    rule: rule.name,
    key,
    condition: {
      field: released && rule.releaseWhen !== undefined ? 'release.when' : 'when',
      text: expression.text,
      holds: holdsAt(rule, released),
    },
    values: trigger.values ?? valuesOf(expression, emission.variables),
    before: before.state,
    after: after.state,
    ...(counts === undefined
      ? {}
      : {
          history: {
            holding: holdingIn({ ...before, history }),
            seen: history.length,
            at_least: counts.at_least,
            of: counts.of,
          },
        }),
    ...(released ? {} : circumstancesOf(rule, after)),
    ...(timerDueMs === undefined ? {} : { timer_due: new Date(timerDueMs).toISOString() }),
    at: new Date(emission.atMs).toISOString(),
    age_ms: nowMs - (timerDueMs ?? trigger.receivedMs),
    stale_ms_max: rule.config.stale_ms_max,
    revision: compiled.revision,
  };
}

/** Silence is the absence of what it says; the end of it, by default, its presence. */
function holdsAt(rule: CompiledRule, released: boolean): boolean {
  if (rule.absentMs !== undefined) return released;
  return !released || rule.releaseWhen !== undefined;
}

/** What else had to be so, besides the condition. */
function circumstancesOf(rule: CompiledRule, { votes }: KeyState): Pick<Because, 'absent_ms' | 'quorum' | 'between'> {
  const { quorum, absentMs, window } = rule;
  return {
    ...(absentMs === undefined ? {} : { absent_ms: absentMs }),
    ...(window === undefined ? {} : { between: window.text }),
    ...(quorum === undefined
      ? {}
      : {
          quorum: {
            ...{ of: quorum.of, at_least: quorum.atLeast, within_ms: quorum.withinMs },
            agree: agreeing(votes ?? NO_VOTES),
          },
        }),
  };
}

export function triggerOf(
  rule: CompiledRule,
  decision: Decision,
  receivedMs: number,
  expression: Expression,
  variables: Variables,
): Trigger {
  const trigger = { id: decision.id, n: decision.n, receivedMs };
  if (!rule.timed) return trigger;
  const values = valuesOf(expression, variables);
  return rule.templateFields.length === 0
    ? { ...trigger, values }
    : { ...trigger, values, decision: pick(decision, rule.templateFields) };
}

/** What an expression read, long values cut. */
export function valuesOf(expression: Expression, variables: Variables): Record<string, Json> {
  const values: Record<string, Json> = {};
  for (const path of expression.paths) {
    const value = path
      .split('.')
      .reduce<unknown>((at, name) => (at as Record<string, unknown> | undefined)?.[name], variables);
    if (value === undefined) continue;
    const text = JSON.stringify(value);
    values[path] = text.length <= VALUE_CHARS_MAX ? (value as Json) : `${text.slice(0, VALUE_CHARS_MAX)}…`;
  }
  return values;
}

export function pick(decision: Decision, fields: readonly string[]): Partial<Decision> {
  const picked: Record<string, unknown> = {};
  for (const field of fields) {
    const value = decision[field as keyof Decision];
    if (value !== undefined) picked[field] = value;
  }
  return picked;
}
