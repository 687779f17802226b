import type { Decision } from '@brink/protocol';
import type { Json } from './template.ts';
import type { Votes } from './votes.ts';

export type MachineState = 'idle' | 'arming' | 'active' | 'releasing';

/** A decision that a machine acted on, or would act on when its timer fires. */
export interface Trigger {
  readonly id: string;
  readonly n: number;
  readonly receivedMs: number;
  /** What the condition read; kept where a timer may fire on it. */
  readonly values?: Readonly<Record<string, Json>>;
  /** The fields that templates read when the timer fires. */
  readonly decision?: Partial<Decision>;
}

/**
 * Reserved when actions are emitted, counted from when the first of them is really sent, given back when every one of
 * them ended without.
 */
export interface Cooldown {
  /** Until one is sent: as if it had been at once. */
  readonly untilMs: number;
  /** The log's clock when they were emitted, so that a later sending moves `untilMs` by as much. */
  readonly emittedMs: number;
  /** By then the fate of all of them is known; until it is, nothing more is emitted. */
  readonly reservedMs: number;
  /** Ids of the actions whose fate is open. */
  readonly open: readonly string[];
  /** One of them left: the reservation stays. */
  readonly sent: boolean;
}

/**
 * Where one state machine stands. Never changed in place; JSON, so that it can be kept. Times are rule time: received_at
 * in ms since 1970.
 */
export interface KeyState {
  readonly state: MachineState;
  /** Of the last change of `state`. A decision that was received before is late: it counts, but moves nothing. */
  readonly sinceMs: number;
  /** The last `of` evaluations as 1 and 0, newest last. */
  readonly history?: string;
  readonly dueMs?: number;
  readonly trigger?: Trigger;
  /** The fields of the last decision that the rule reads as `previous`. */
  readonly previous?: Partial<Decision>;
  /** Its `then` was suppressed because what led to it was too old; a decision in time makes up for it, or silence that lasts. */
  readonly missed?: true;
  /** `then` was really emitted, so `on_release` has something to undo. Once idle again: it was suppressed as too old, and is owed. */
  readonly emitted?: boolean;
  readonly cooldown?: Cooldown;
  /** Of a quorum. */
  readonly votes?: Votes;
}

export interface RuleMemory {
  /** Evaluations that failed; each counted as not holding. */
  errors: number;
  lastError?: string;
  /** Insertion order is order of first sight. */
  keys: Record<string, KeyState>;
  /** Of `keys`. */
  size: number;
}

/** A rule that is set aside. By a person: it goes on watching, but what it leads to is suppressed. */
export interface Arming {
  /**
   * disarmed: until it is armed again. snoozed: until `untilMs`, rule time. hung: its evaluation did not end; it is not
   * evaluated until its configuration changes, or a person arms it again, and begins anew then.
   */
  readonly state: 'disarmed' | 'snoozed' | 'hung';
  readonly untilMs?: number;
  readonly sinceMs: number;
  readonly by: string;
  readonly note?: string;
  /** Of hung: what a person had wanted, or wants since. It holds again when the rule is evaluated again. */
  readonly under?: Arming;
}

/** All that the engine remembers. JSON. Owned by `reduce`, which changes it in place: keep a copy, not a reference. */
export interface EngineState {
  rules: Record<string, RuleMemory>;
  /** [due, rule, key], sorted: the first is the next to fire. */
  timers: [dueMs: number, rule: string, key: string][];
  /** By rule; absent: armed. Outlives a change of the rule, and the rule: what is off must not come back on by itself. */
  arming: Record<string, Arming>;
}

export interface SavedKey {
  readonly rule: string;
  readonly key: string;
  readonly state: KeyState;
}

/** A device or a label may be called "constructor": what nobody put in must not be found. */
const byName = <T>(entries: Iterable<readonly [string, T]> = []): Record<string, T> =>
  Object.assign(Object.create(null), Object.fromEntries(entries));

export const emptyState = (): EngineState => ({ rules: byName(), timers: [], arming: byName() });

/** What is remembered of a rule of which nothing was seen yet. */
export const emptyMemory = (): RuleMemory => ({ errors: 0, keys: byName(), size: 0 });

/** The state that was saved row by row. @param health errors and last error per rule */
export function restoreState(
  rows: Iterable<SavedKey>,
  health: Iterable<{ rule: string; errors: number; lastError?: string }> = [],
  arming: Iterable<readonly [rule: string, arming: Arming]> = [],
): EngineState {
  const state = emptyState();
  state.arming = byName(arming);
  for (const { rule, errors, lastError } of health) {
    state.rules[rule] = { ...emptyMemory(), errors, ...(lastError === undefined ? {} : { lastError }) };
  }
  for (const row of rows) {
    const memory = memoryOf(state, row.rule);
    memory.keys[row.key] = row.state;
    memory.size += 1;
    if (row.state.dueMs !== undefined) state.timers.push([row.state.dueMs, row.rule, row.key]);
  }
  state.timers.sort(compareTimers);
  return state;
}

export function memoryOf(state: EngineState, rule: string): RuleMemory {
  let memory = state.rules[rule];
  if (memory === undefined) {
    memory = emptyMemory();
    state.rules[rule] = memory;
  }
  return memory;
}

type TimerEntry = EngineState['timers'][number];

// By due time, then by name: the order of effects must not depend on the order in which keys were first seen.
function compareTimers(a: TimerEntry, b: TimerEntry): number {
  return a[0] - b[0] || compareText(a[1], b[1]) || compareText(a[2], b[2]);
}

const compareText = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);

/** Keeps the sorted list of timers in step with one key's due time. */
export function moveTimer(
  state: EngineState,
  rule: string,
  key: string,
  from: number | undefined,
  to: number | undefined,
): void {
  if (from === to) return;
  if (from !== undefined) {
    const at = placeOf(state, [from, rule, key]);
    const found = state.timers[at];
    if (found !== undefined && compareTimers(found, [from, rule, key]) === 0) state.timers.splice(at, 1);
  }
  if (to !== undefined) state.timers.splice(placeOf(state, [to, rule, key]), 0, [to, rule, key]);
}

function placeOf(state: EngineState, entry: TimerEntry): number {
  let low = 0;
  let high = state.timers.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (compareTimers(state.timers[middle] as TimerEntry, entry) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}
