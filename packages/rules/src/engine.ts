import type { Decision } from '@brink/protocol';
import { shiftClock } from './clock.ts';
import type { CompiledRules } from './compile.ts';
import { type Context, type Effect, pick, settle, triggerOf } from './emission.ts';
import { type Expression, ExpressionError, type Variables } from './expression.ts';
import { keyOf } from './keys.ts';
import { firstState, type Observation, step } from './machine.ts';
import {
  type Arming,
  type Cooldown,
  type EngineState,
  emptyMemory,
  emptyState,
  type KeyState,
  memoryOf,
  moveTimer,
} from './state.ts';
import { fireTest, type TestFire } from './test-fire.ts';
import { addVote, countAgreeing, NO_VOTES, shiftVotes } from './votes.ts';

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
      /** The log's clock; default: as soon as it was emitted. */
      readonly nowMs?: number;
    }
  /** A person set a rule aside, or armed it again (undefined). It holds from here on in the log. */
  | { readonly kind: 'arm'; readonly rule: string; readonly arming: Arming | undefined }
  /** The clock that stamps decisions was set, by so much. */
  | { readonly kind: 'clock'; readonly shiftMs: number }
  | TestFire;

export interface Reduced {
  /** The state passed in, changed. */
  readonly state: EngineState;
  readonly effects: readonly Effect[];
  /** When the next timer is due; undefined: none runs. */
  readonly nextDueMs: number | undefined;
}

/** State machines per rule. Beyond, those idle for longest make room. */
export const KEYS_MAX = 10_000;
/** Keys that make room together. */
const KEYS_AT_ONCE = 100;
/** A tick fires at most so many, so that one transaction stays short; `nextDueMs` then lies in the past. */
const TIMERS_PER_TICK_MAX = 1000;
/** Frames arrive out of order by seconds; what is older by more was stamped by a clock that was set back. */
const CLOCK_BACK_MS = 60_000;

/**
 * The rules, as a step over one ordered log. A decision moves only the machines of its own keys: their timers due by
 * `receivedMs` fire first, each at its due time. Other keys' timers wait for a tick, so that no device's frames change
 * what another's lead to.
 */
export function reduce(
  state: EngineState,
  event: RuleEvent,
  compiled: CompiledRules,
  evaluating: Evaluating = unheard,
): Reduced {
  const effects: Effect[] = [];
  if (event.kind === 'decision') {
    decideAll({ state, event, compiled, effects }, evaluating);
  } else if (event.kind === 'tick') {
    tick(state, event, compiled, effects, evaluating);
  } else if (event.kind === 'arm') {
    setArming(state, event, effects);
  } else if (event.kind === 'clock') {
    effects.push(...shiftClock(state, event.shiftMs));
  } else if (event.kind === 'fire') {
    evaluating(event.rule);
    effects.push(...fireTest(state, event, compiled));
  } else {
    changeCooldown(state, event, effects);
  }
  return { state, effects, nextDueMs: state.timers[0]?.[0] };
}

function decideAll(
  at: { state: EngineState; event: RuleEvent & { kind: 'decision' }; compiled: CompiledRules; effects: Effect[] },
  evaluating: Evaluating,
): void {
  const { state, compiled, effects } = at;
  const { decision, receivedMs, nowMs } = at.event;
  const { device, stream, pipeline } = decision;
  const variables: Variables = { decision, device, stream, pipeline, previous: {} };
  for (const rule of compiled.byPipeline.get(pipeline) ?? []) {
    if (decision.outcome !== 'decided' && !rule.seesFailures) continue;
    const key = keyOf(rule, decision);
    // Most rules of a large site are for another device or label.
    if (rule.quiet && state.rules[rule.name]?.keys[key] === undefined && rule.when.refuses(variables)) continue;
    if (isHung(state, rule.name)) continue;
    evaluating(rule.name);
    decide({ state, compiled, rule, nowMs, effects }, { key, receivedMs, variables });
  }
}

/** Hears which rule is evaluated next: who watches over that knows then which one does not end. */
export type Evaluating = (rule: string) => void;
const unheard: Evaluating = () => {};

const isHung = (state: EngineState, rule: string) => state.arming[rule]?.state === 'hung';

/** What of a state survives a change of the rules: machines of rules that are still of the same shape. */
export function adoptState(state: EngineState, before: CompiledRules | undefined, after: CompiledRules): EngineState {
  const kept = emptyState();
  for (const [name, memory] of Object.entries(state.rules)) {
    const rule = after.byName.get(name);
    if (rule === undefined || (before !== undefined && before.byName.get(name)?.shape !== rule.shape)) continue;
    kept.rules[name] = memory;
  }
  for (const [name, arming] of Object.entries(state.arming)) {
    const same = before === undefined || textOf(before, name) === textOf(after, name);
    const left = arming.state === 'hung' && !same ? arming.under : arming;
    if (left !== undefined) kept.arming[name] = left;
  }
  kept.timers = state.timers.filter(([, rule]) => Object.hasOwn(kept.rules, rule));
  return kept;
}

const textOf = (rules: CompiledRules, name: string) => JSON.stringify(rules.byName.get(name)?.config);

function decide(context: Context, seen: { key: string; receivedMs: number; variables: Variables }): void {
  const { state, rule, effects } = context;
  const { key, receivedMs } = seen;
  const memory = memoryOf(state, rule.name);
  const known = memory.keys[key];
  if (known === undefined && memory.size >= KEYS_MAX && !makeRoom(context)) return;
  const before = known ?? firstState(receivedMs);
  let now = rebase(before, Math.max(receivedMs, context.nowMs));
  while (now.dueMs !== undefined && now.dueMs <= receivedMs) now = fireTimer(context, key, now, now.dueMs);

  const variables = now.previous === undefined ? seen.variables : { ...seen.variables, previous: now.previous };
  const judged = judge(context, now, receivedMs, variables);
  const stepped = step(rule, judged.state, judged.seen);
  let after = settle(context, key, judged.state, stepped, receivedMs, variables);
  if (rule.previousFields.length > 0 && receivedMs >= now.sinceMs) {
    after = { ...after, previous: pick(variables.decision as Decision, rule.previousFields) };
  }
  // A machine that never left its first state need not be kept: it is what an unknown key is.
  if (after === before) return;
  keep(context, key, known, after);
  effects.push({ kind: 'save', rule: rule.name, key, state: after });
}

/** What a decision says to the machine of its key. @returns the state with its vote, where votes are counted */
function judge(
  context: Context,
  now: KeyState,
  receivedMs: number,
  variables: Variables,
): { state: KeyState; seen: Observation } {
  const { rule } = context;
  const { quorum, releaseWhen, absentMs } = rule;
  const active = now.state === 'active' || now.state === 'releasing' || now.emitted === true;
  const decision = variables.decision as Decision;
  // That something came is noted at any time of day.
  const open = absentMs !== undefined || rule.window?.holdsAt(receivedMs) !== false;
  let holds = open && evaluate(context, rule.when, 'when', variables);
  let state = now;
  if (quorum !== undefined) {
    const votes = addVote(now.votes ?? NO_VOTES, decision[quorum.of], receivedMs, holds, quorum.withinMs);
    state = { ...now, votes };
    holds = countAgreeing(votes) >= quorum.atLeast;
  }
  const ends = absentMs === undefined ? !holds : holds;
  const releases =
    active && (releaseWhen === undefined ? ends : evaluate(context, releaseWhen, 'release.when', variables));
  const read = active ? (releaseWhen ?? rule.when) : rule.when;
  const trigger = () => triggerOf(rule, decision, receivedMs, read, variables);
  const fresh = context.nowMs - receivedMs <= rule.config.stale_ms_max;
  return { state, seen: { kind: 'decision', atMs: receivedMs, holds, releases, fresh, trigger } };
}

/**
 * A machine whose times lie in the future of the log: the clock was set back. It goes on from `nowMs` as it was, instead
 * of taking all that comes for late until the clock is there again.
 */
function rebase(before: KeyState, nowMs: number): KeyState {
  const { dueMs, cooldown, trigger, votes } = before;
  const knownMs = Math.max(before.sinceMs, trigger?.receivedMs ?? 0, votes?.newestMs ?? 0);
  const backMs = knownMs - nowMs;
  if (backMs <= CLOCK_BACK_MS) return before;
  return {
    ...before,
    sinceMs: Math.min(before.sinceMs, nowMs),
    ...(dueMs === undefined ? {} : { dueMs: dueMs - backMs }),
    ...(cooldown === undefined ? {} : { cooldown: shiftCooldown(cooldown, backMs) }),
    ...(trigger === undefined ? {} : { trigger: { ...trigger, receivedMs: trigger.receivedMs - backMs } }),
    ...(votes === undefined ? {} : { votes: shiftVotes(votes, backMs) }),
  };
}

const shiftCooldown = (cooldown: Cooldown, backMs: number): Cooldown => ({
  ...cooldown,
  untilMs: cooldown.untilMs - backMs,
  emittedMs: cooldown.emittedMs - backMs,
  reservedMs: cooldown.reservedMs - backMs,
});

function keep({ state, rule }: Context, key: string, before: KeyState | undefined, after: KeyState): void {
  const memory = memoryOf(state, rule.name);
  if (before === undefined) memory.size += 1;
  memory.keys[key] = after;
  moveTimer(state, rule.name, key, before?.dueMs, after.dueMs);
}

function tick(
  state: EngineState,
  event: RuleEvent & { kind: 'tick' },
  compiled: CompiledRules,
  effects: Effect[],
  evaluating: Evaluating,
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
    evaluating(name);
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

/** @returns false where every machine of the rule is at work: the decision then counts as an error of the rule */
function makeRoom({ state, rule, effects }: Context): boolean {
  const memory = memoryOf(state, rule.name);
  const idle = idlest(memory.keys);
  for (const key of idle) {
    delete memory.keys[key];
    effects.push({ kind: 'save', rule: rule.name, key, state: undefined });
  }
  memory.size -= idle.length;
  if (idle.length > 0) return true;
  memory.errors += 1;
  memory.lastError = `more than ${KEYS_MAX} keys at work; a decision was left out`;
  effects.push({ kind: 'health', rule: rule.name });
  return false;
}

/**
 * By what the state says and then by name: in what order keys were first seen is not known after a restart. Several at once,
 * so that not every new key has to look through all of them.
 */
function idlest(keys: Readonly<Record<string, KeyState>>): string[] {
  const idle: { key: string; atMs: number }[] = [];
  for (const key in keys) {
    const { state, sinceMs, cooldown, emitted } = keys[key] as KeyState;
    if (state === 'idle' && emitted !== true) idle.push({ key, atMs: Math.max(sinceMs, cooldown?.untilMs ?? 0) });
  }
  idle.sort((a, b) => a.atMs - b.atMs || (a.key < b.key ? -1 : 1));
  return idle.slice(0, KEYS_AT_ONCE).map(({ key }) => key);
}

function setArming(state: EngineState, { rule, arming }: RuleEvent & { kind: 'arm' }, effects: Effect[]): void {
  if (arming === undefined) delete state.arming[rule];
  else state.arming[rule] = over(state.arming[rule], arming);
  if (arming?.state === 'hung') forgetRule(state, rule, arming.note ?? 'it hung', effects);
  effects.push({ kind: 'arming', rule, arming: state.arming[rule] });
}

/** Disarmed, a rule that hung would be evaluated again; so it stays hung, and what a person wants waits under it. */
function over(before: Arming | undefined, arming: Arming): Arming {
  const wanted = before?.state === 'hung' ? before.under : before;
  if (arming.state === 'hung') return wanted === undefined ? arming : { ...arming, under: wanted };
  return before?.state === 'hung' ? { ...before, under: arming } : arming;
}

/** Its timers would fire what cannot be evaluated; without them its machines mean nothing. */
function forgetRule(state: EngineState, rule: string, why: string, effects: Effect[]): void {
  const memory = memoryOf(state, rule);
  for (const key of Object.keys(memory.keys)) effects.push({ kind: 'save', rule, key, state: undefined });
  state.timers = state.timers.filter(([, name]) => name !== rule);
  Object.assign(memory, emptyMemory(), { errors: memory.errors + 1, lastError: why });
  effects.push({ kind: 'health', rule });
}

function changeCooldown(state: EngineState, event: RuleEvent & { kind: 'action' }, effects: Effect[]): void {
  const keys = state.rules[event.rule]?.keys;
  const before = keys?.[event.key];
  const cooldown = before?.cooldown;
  if (keys === undefined || before === undefined || cooldown === undefined || !cooldown.open.includes(event.id)) return;
  const open = cooldown.open.filter((id) => id !== event.id);
  const { cooldown: _, ...rest } = before;
  const after: KeyState =
    event.change === 'unsent' && open.length === 0
      ? rest
      : { ...rest, cooldown: event.change === 'unsent' ? { ...cooldown, open } : countFrom(cooldown, event.nowMs) };
  keys[event.key] = after;
  effects.push({ kind: 'save', rule: event.rule, key: event.key, state: after });
}

/** The first one left: from now on it counts, whatever becomes of the others. */
function countFrom(cooldown: Cooldown, sentMs: number | undefined): Cooldown {
  const waitedMs = Math.max(0, (sentMs ?? cooldown.emittedMs) - cooldown.emittedMs);
  return { ...cooldown, untilMs: cooldown.untilMs + waitedMs, open: [], sent: true };
}
