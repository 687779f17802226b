import type { Window } from './between.ts';
import type { KeyState, MachineState, Trigger } from './state.ts';

// idle → arming → active → releasing → idle: one machine per rule and key, as a pure step.

/** What of a rule the machine runs on. */
export interface MachineRule {
  readonly for?: { readonly at_least: number; readonly of: number } | { readonly ms: number };
  readonly releaseMs: number;
  /** It waits for decisions that do not come: arming from the first one on, active when none came for so long. */
  readonly absentMs?: number;
  /** Only within it does time alone make the rule active; of decisions, `holds` says it. */
  readonly window?: Window;
}

export type Observation =
  | {
      readonly kind: 'decision';
      readonly atMs: number;
      readonly holds: boolean;
      /** Whether the release condition holds; only asked while there is something to release. */
      readonly releases: boolean;
      /** Not older than stale_ms_max: what it leads to is sent. */
      readonly fresh: boolean;
      /** Made only where it is kept or fires. */
      readonly trigger: () => Trigger;
    }
  | { readonly kind: 'timer'; readonly dueMs: number };

type Fired = 'then' | 'on_release' | undefined;

export interface Step {
  readonly after: KeyState;
  readonly fired: Fired;
  /** What the fired actions refer to. */
  readonly trigger?: Trigger;
}

export const firstState = (atMs: number): KeyState => ({ state: 'idle', sinceMs: atMs });

/** @returns the same object as `before` where nothing changed, so that nothing need be saved */
export function step(rule: MachineRule, before: KeyState, seen: Observation): Step {
  if (seen.kind === 'timer') return onTimer(rule, before, seen.dueMs);
  if (rule.absentMs !== undefined) return watch(rule.absentMs, before, seen);
  const counted = count(rule, before, seen.holds);
  // Late: the machine moved on at a later time. The evaluation counts in the history; nothing is taken back or fired.
  if (seen.atMs < before.sinceMs) return { after: counted, fired: undefined };
  switch (before.state) {
    case 'idle':
    case 'arming':
      return undoing(before, seen, arm(rule, counted, seen));
    case 'active':
      if (before.missed && seen.holds && seen.fresh) return makeUp(before, seen);
      if (!seen.releases) return { after: before, fired: undefined };
      if (rule.releaseMs === 0) return release(before, seen.atMs, seen.trigger());
      return {
        after: { ...move(before, 'releasing', seen.atMs), dueMs: seen.atMs + rule.releaseMs, trigger: seen.trigger() },
        fired: undefined,
      };
    case 'releasing':
      return { after: seen.releases ? before : move(before, 'active', seen.atMs), fired: undefined };
  }
}

/** What `then` did still stands, since the release was suppressed as too old: a decision in time that says the same makes up for it. */
function undoing({ emitted }: KeyState, seen: Seen, stepped: Step): Step {
  if (emitted !== true || stepped.fired !== undefined || !seen.releases || !seen.fresh) return stepped;
  return { after: stepped.after, fired: 'on_release', trigger: seen.trigger() };
}

function onTimer(rule: MachineRule, before: KeyState, dueMs: number): Step {
  const trigger = before.trigger;
  if (before.state === 'releasing') return release(before, dueMs, trigger);
  if (rule.window?.holdsAt(dueMs) === false)
    return { after: outside(rule, rule.window, before, dueMs), fired: undefined };
  // Silence of which nobody was told in time goes on: they are told now.
  const { missed: _, ...known } = before;
  return { after: enter(known, dueMs), fired: 'then', ...(trigger === undefined ? {} : { trigger }) };
}

/** Silence is noted when the window opens; what had to hold for a while begins anew. */
function outside(rule: MachineRule, window: Window, before: KeyState, dueMs: number): KeyState {
  const startMs = rule.absentMs === undefined ? undefined : window.nextStart(dueMs);
  if (startMs === undefined) return move(before, 'idle', dueMs);
  return { ...before, dueMs: startMs };
}

function watch(absentMs: number, before: KeyState, seen: Seen): Step {
  const watched = { dueMs: seen.atMs + absentMs, trigger: seen.trigger() };
  if (before.state === 'idle') return { after: { ...move(before, 'arming', seen.atMs), ...watched }, fired: undefined };
  if (before.state === 'arming') {
    // Out of order: the newest one counts.
    if (!seen.holds || seen.atMs < (before.trigger?.receivedMs ?? 0)) return { after: before, fired: undefined };
    return undoing(before, seen, { after: { ...before, ...watched }, fired: undefined });
  }
  // Late: it was received before its absence was noted, and came after.
  if (seen.atMs < before.sinceMs || !seen.releases) return { after: before, fired: undefined };
  const after = { ...move(before, 'arming', seen.atMs), ...watched };
  return { after, fired: 'on_release', trigger: seen.trigger() };
}

type Seen = Observation & { kind: 'decision' };

function arm(rule: MachineRule, before: KeyState, seen: Seen): Step {
  if (rule.for === undefined) {
    if (!seen.holds) return { after: before, fired: undefined };
    return { after: enter(before, seen.atMs), fired: 'then', trigger: seen.trigger() };
  }
  if ('ms' in rule.for) {
    if (!seen.holds)
      return { after: before.state === 'idle' ? before : move(before, 'idle', seen.atMs), fired: undefined };
    if (before.state === 'arming') return { after: { ...before, trigger: seen.trigger() }, fired: undefined };
    const armed = { ...move(before, 'arming', seen.atMs), dueMs: seen.atMs + rule.for.ms, trigger: seen.trigger() };
    return { after: armed, fired: undefined };
  }
  const holding = holdingIn(before);
  // Only a decision on which the condition holds may fire: a late one may have completed the count before.
  if (seen.holds && holding >= rule.for.at_least) {
    return { after: enter(before, seen.atMs), fired: 'then', trigger: seen.trigger() };
  }
  const state = holding > 0 ? 'arming' : 'idle';
  return { after: state === before.state ? before : move(before, state, seen.atMs), fired: undefined };
}

function count(rule: MachineRule, before: KeyState, holds: boolean): KeyState {
  if (rule.for === undefined || 'ms' in rule.for) return before;
  if (before.state !== 'idle' && before.state !== 'arming') return before;
  const history = ((before.history ?? '') + (holds ? '1' : '0')).slice(-rule.for.of);
  return history === before.history ? before : { ...before, history };
}

export function holdingIn(state: KeyState): number {
  let holding = 0;
  for (const mark of state.history ?? '') if (mark === '1') holding++;
  return holding;
}

/** Its history has done its work: what arms it again must come after its release. */
function enter(before: KeyState, atMs: number): KeyState {
  const { history: _, ...rest } = move(before, 'active', atMs);
  return rest;
}

/** It still holds, after an outage say, and nobody was told. */
function makeUp(before: KeyState, seen: Seen): Step {
  const { missed: _, ...after } = before;
  return { after, fired: 'then', trigger: seen.trigger() };
}

function release(before: KeyState, atMs: number, trigger: Trigger | undefined): Step {
  return { after: move(before, 'idle', atMs), fired: 'on_release', ...(trigger === undefined ? {} : { trigger }) };
}

function move(before: KeyState, state: MachineState, sinceMs: number): KeyState {
  const { dueMs: _due, trigger: _trigger, missed, ...rest } = before;
  const stays = missed !== undefined && (state === 'active' || state === 'releasing');
  return { ...rest, ...(stays ? { missed } : {}), state, sinceMs };
}
