import { type ActionConfig, type Because, type Decision, type ErrorCode, formatActionId } from '@brink/protocol';
import type { CompiledAction, CompiledRule, CompiledRules } from './compile.ts';
import { type Expression, ExpressionError, type Variables } from './expression.ts';
import { firstState, holdingIn, type Observation, type Step, step } from './machine.ts';
import { type EngineState, emptyState, type KeyState, memoryOf, moveTimer, type Trigger } from './state.ts';
import type { Json } from './template.ts';

/** One entry of the ordered log. `nowMs` is the log's clock when the entry was written; ages are taken against it. */
export type RuleEvent =
  | { readonly kind: 'decision'; readonly decision: Decision; readonly receivedMs: number; readonly nowMs: number }
  /** The clock came this far: every timer due by `dueMs` fires, each at its own due time. */
  | { readonly kind: 'tick'; readonly dueMs: number; readonly nowMs: number }
  /** What became of an action that a rule emitted. `unsent`: it ended without ever having left. */
  | {
      readonly kind: 'action';
      readonly rule: string;
      readonly key: string;
      readonly id: string;
      readonly change: 'sent' | 'acked' | 'unsent';
    };

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
  | { readonly kind: 'health'; readonly rule: string };

export interface Reduced {
  /** The state passed in, changed. */
  readonly state: EngineState;
  readonly effects: readonly Effect[];
  /** When the next timer is due; undefined: none runs. */
  readonly nextDueMs: number | undefined;
}

/** State machines per rule. Beyond, the one idle for longest makes room. */
export const KEYS_MAX = 10_000;
/** A tick fires at most so many, so that one transaction stays short; `nextDueMs` then lies in the past. */
export const TIMERS_PER_TICK_MAX = 1000;
const KEY_CHARS_MAX = 120;
const VALUE_CHARS_MAX = 500;

/**
 * The rules, as a step over one ordered log. A decision moves only the machines of its own keys: their timers due by
 * `receivedMs` fire first, each at its due time. Other keys' timers wait for a tick, so that no device's frames change
 * what another's lead to.
 */
export function reduce(state: EngineState, event: RuleEvent, compiled: CompiledRules): Reduced {
  const effects: Effect[] = [];
  if (event.kind === 'decision') {
    for (const rule of compiled.byPipeline.get(event.decision.pipeline) ?? []) {
      if (event.decision.outcome === 'decided' || rule.seesFailures) {
        decide({ state, compiled, rule, nowMs: event.nowMs, effects }, event.decision, event.receivedMs);
      }
    }
  } else if (event.kind === 'tick') {
    tick(state, event, compiled, effects);
  } else {
    changeCooldown(state, event, effects);
  }
  return { state, effects, nextDueMs: state.timers[0]?.[0] };
}

/** What of a state survives a change of the rules: machines of rules that are still of the same shape. */
export function adoptState(state: EngineState, before: CompiledRules | undefined, after: CompiledRules): EngineState {
  const kept = emptyState();
  for (const [name, memory] of Object.entries(state.rules)) {
    const rule = after.byName.get(name);
    if (rule === undefined || (before !== undefined && before.byName.get(name)?.shape !== rule.shape)) continue;
    kept.rules[name] = memory;
  }
  kept.timers = state.timers.filter(([, rule]) => Object.hasOwn(kept.rules, rule));
  return kept;
}

interface Context {
  readonly state: EngineState;
  readonly compiled: CompiledRules;
  readonly rule: CompiledRule;
  readonly nowMs: number;
  readonly effects: Effect[];
}

function decide(context: Context, decision: Decision, receivedMs: number): void {
  const { state, rule, effects } = context;
  const memory = memoryOf(state, rule.name);
  const key = keyOf(rule, decision);
  if (memory.keys[key] === undefined && !makeRoom(context)) return;
  const before = memory.keys[key] ?? firstState(receivedMs);
  let now = before;
  if (now.dueMs !== undefined && now.dueMs <= receivedMs) now = fireTimer(context, key, now, now.dueMs);

  const variables: Variables = {
    ...{ decision, device: decision.device, stream: decision.stream, pipeline: decision.pipeline },
    previous: now.previous ?? {},
  };
  const holds = evaluate(context, rule.when, 'when', variables);
  const active = now.state === 'active' || now.state === 'releasing';
  const releases =
    active &&
    (rule.releaseWhen === undefined ? !holds : evaluate(context, rule.releaseWhen, 'release.when', variables));
  const trigger = triggerOf(
    rule,
    decision,
    receivedMs,
    active ? (rule.releaseWhen ?? rule.when) : rule.when,
    variables,
  );
  const seen: Observation = { kind: 'decision', atMs: receivedMs, holds, releases, trigger };
  const stepped = step(rule, now, seen);
  let after = settle(context, key, now, stepped, receivedMs, variables);
  if (rule.previousFields.length > 0 && receivedMs >= now.sinceMs) {
    after = { ...after, previous: pick(decision, rule.previousFields) };
  }
  // A machine that never left its first state need not be kept: it is what an unknown key is.
  if (after === before) return;
  keep(context, key, memory.keys[key], after);
  effects.push({ kind: 'save', rule: rule.name, key, state: after });
}

function keep({ state, rule }: Context, key: string, before: KeyState | undefined, after: KeyState): void {
  memoryOf(state, rule.name).keys[key] = after;
  moveTimer(state, rule.name, key, before?.dueMs, after.dueMs);
}

function tick(
  state: EngineState,
  event: RuleEvent & { kind: 'tick' },
  compiled: CompiledRules,
  effects: Effect[],
): void {
  for (let fired = 0; fired < TIMERS_PER_TICK_MAX; fired++) {
    const [dueMs, name, key] = state.timers[0] ?? [Number.POSITIVE_INFINITY, '', ''];
    if (dueMs > event.dueMs) return;
    const rule = compiled.byName.get(name);
    const before = state.rules[name]?.keys[key];
    if (rule === undefined || before === undefined) {
      state.timers.shift();
      continue;
    }
    const context = { state, compiled, rule, nowMs: event.nowMs, effects };
    const after = fireTimer(context, key, before, dueMs);
    keep(context, key, before, after);
    effects.push({ kind: 'save', rule: name, key, state: after });
  }
}

function fireTimer(context: Context, key: string, before: KeyState, dueMs: number): KeyState {
  const stepped = step(context.rule, before, { kind: 'timer', dueMs });
  const decision = before.trigger?.decision ?? {};
  const [device, stream, pipeline] = idParts(before.trigger?.id ?? '');
  return settle(
    context,
    key,
    before,
    stepped,
    dueMs,
    { decision, device, stream, pipeline, previous: before.previous ?? {} },
    dueMs,
  );
}

/** device.stream.boot.seq.part.pipeline */
function idParts(id: string): [device: string, stream: string, pipeline: string] {
  const parts = id.split('.');
  return [parts[0] ?? '', parts[1] ?? '', parts[5] ?? ''];
}

/** Emits what a step fired, and reserves the cooldown. */
function settle(
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
  if (fired === 'on_release') {
    const { emitted, ...rest } = after;
    if (emitted === true) emit(context, 'on_release', rule.onRelease, emission);
    return rest;
  }
  const { emitted: _, ...rest } = after;
  if (rest.cooldown !== undefined && atMs < rest.cooldown.untilMs) return rest;
  const pending = emit(context, 'then', rule.then, emission);
  if (pending.length === 0) return rest;
  if (rule.config.cooldown_ms === 0) return { ...rest, emitted: true };
  return { ...rest, emitted: true, cooldown: { untilMs: atMs + rule.config.cooldown_ms, open: pending, sent: false } };
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

/** @returns the ids of those that are to be sent */
function emit(
  context: Context,
  phase: EmittedAction['phase'],
  actions: readonly CompiledAction[],
  emission: Emission,
): string[] {
  const { rule, nowMs, effects } = context;
  const { key, trigger, atMs, timerDueMs } = emission;
  const because = explain(context, phase, emission);
  const stale = because.age_ms > rule.config.stale_ms_max;
  // After those of `then`, so that no id is used twice even where both come of one decision.
  const offset = phase === 'then' ? 0 : rule.then.length;
  const timer = timerDueMs === undefined ? {} : { timer: { key, dueMs: timerDueMs } };
  const pending: string[] = [];
  for (const [position, action] of actions.entries()) {
    const index = offset + position;
    const id = formatActionId({ decision: trigger.id, ...timer }, rule.name, index);
    const rendered = render(action, emission.variables);
    const error = stale ? staleError(because.age_ms, rule.config.stale_ms_max) : rendered.error;
    if (error === undefined) pending.push(id);
    const fate = stale ? 'suppressed' : error === undefined ? 'pending' : 'dead';
    effects.push({
      kind: 'action',
      action: {
        ...{
          id,
          rule: rule.name,
          key,
          phase,
          index,
          decision: trigger.id,
          n: trigger.n,
          config: rendered.config,
          fate,
        },
        ...(error === undefined ? {} : { error }),
        staleMs: nowMs - because.age_ms + rule.config.stale_ms_max,
        because: { ...because, at: new Date(atMs).toISOString() },
      },
    });
  }
  return pending;
}

const staleError = (ageMs: number, maxMs: number) =>
  ({
    code: 'E_ACTION_STALE',
    detail: `the trigger was ${Math.round(ageMs)} ms old when it was evaluated; stale_ms_max is ${maxMs}`,
  }) as const;

function render(
  action: CompiledAction,
  variables: Variables,
): { config: ActionConfig; error?: EmittedAction['error'] } {
  const { config, template } = action;
  try {
    const value = template.render(variables);
    if ('mqtt' in config) return { config: { mqtt: { ...config.mqtt, payload: value } } };
    return { config: { command: { ...config.command, args: value as Record<string, Json> } } };
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
      holds: !released || rule.releaseWhen !== undefined,
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
    ...(timerDueMs === undefined ? {} : { timer_due: new Date(timerDueMs).toISOString() }),
    at: new Date(emission.atMs).toISOString(),
    age_ms: nowMs - (timerDueMs ?? trigger.receivedMs),
    stale_ms_max: rule.config.stale_ms_max,
    revision: compiled.revision,
  };
}

function triggerOf(
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
function valuesOf(expression: Expression, variables: Variables): Record<string, Json> {
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

/** An error is "does not hold": it must neither stop the others nor let something happen. */
function evaluate(context: Context, expression: Expression, field: string, variables: Variables): boolean {
  const { state, rule, effects } = context;
  try {
    const value = expression.evaluate(variables);
    if (typeof value === 'boolean') return value;
    throw new ExpressionError(`it gave ${typeof value}; expected true or false`, 1);
  } catch (error) {
    if (!(error instanceof ExpressionError)) throw error;
    const memory = memoryOf(state, rule.name);
    memory.errors += 1;
    memory.lastError = `${field}, column ${error.column}: ${error.message}, on ${variables.decision.id ?? '?'}`;
    effects.push({ kind: 'health', rule: rule.name });
    return false;
  }
}

/** Which machine of the rule a decision belongs to. Labels may be anything, so they are encoded; ids part at `~`. */
export function keyOf(rule: CompiledRule, decision: Decision): string {
  const by = rule.config.by;
  if (by.length === 1 && by[0] === 'device') return decision.device;
  const key = by.map((field) => encodeKeyPart((field === 'label' ? decision.label : decision[field]) ?? '')).join(':');
  if (key.length <= KEY_CHARS_MAX) return key;
  return `${key.slice(0, KEY_CHARS_MAX - 9)}-${fnv1a(key)}`;
}

// "~" parts an action's id. A key "__proto__" would name the prototype of the object that holds the keys.
const encodeKeyPart = (text: string) =>
  encodeURIComponent(text.toWellFormed()).replaceAll('~', '%7E').replaceAll('__', '%5F_');

/** FNV-1a, 32 bits (http://www.isthe.com/chongo/tech/comp/fnv/), so that keys that are cut stay apart. */
function fnv1a(text: string): string {
  let hash = 0x811c9dc5;
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  return (hash >>> 0).toString(16).padStart(8, '0');
}

/** @returns false where every machine of the rule is at work: the decision then counts as an error of the rule */
function makeRoom({ state, rule, effects }: Context): boolean {
  const memory = memoryOf(state, rule.name);
  const keys = Object.keys(memory.keys);
  if (keys.length < KEYS_MAX) return true;
  const idle = keys.find((key) => memory.keys[key]?.state === 'idle');
  if (idle !== undefined) {
    delete memory.keys[idle];
    effects.push({ kind: 'save', rule: rule.name, key: idle, state: undefined });
    return true;
  }
  memory.errors += 1;
  memory.lastError = `more than ${KEYS_MAX} keys at work; a decision was left out`;
  effects.push({ kind: 'health', rule: rule.name });
  return false;
}

function changeCooldown(state: EngineState, event: RuleEvent & { kind: 'action' }, effects: Effect[]): void {
  const keys = state.rules[event.rule]?.keys;
  const before = keys?.[event.key];
  const cooldown = before?.cooldown;
  if (keys === undefined || before === undefined || cooldown === undefined || !cooldown.open.includes(event.id)) return;
  const open = cooldown.open.filter((id) => id !== event.id);
  const { cooldown: _, ...rest } = before;
  const sent = event.change !== 'unsent';
  const givenBack = !sent && open.length === 0;
  const after: KeyState = givenBack ? rest : { ...rest, cooldown: { ...cooldown, open: sent ? [] : open, sent } };
  keys[event.key] = after;
  effects.push({ kind: 'save', rule: event.rule, key: event.key, state: after });
}

function pick(decision: Decision, fields: readonly string[]): Partial<Decision> {
  const picked: Record<string, unknown> = {};
  for (const field of fields) {
    const value = decision[field as keyof Decision];
    if (value !== undefined) picked[field] = value;
  }
  return picked;
}
