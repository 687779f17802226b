import type { Decision, Firing } from '@brink/protocol';
import { type CompiledRules, type EmittedAction, emptyState, type RuleEvent, reduce } from '@brink/rules';

/** One time that a rule acts, told apart from others by everything but what it does. */
export interface Fired {
  readonly id: string;
  readonly firing: Firing;
  /** Every action of it was too old to be sent. */
  readonly suppressed: boolean;
}

export interface TrialConfig {
  /** As the ledger's schedule: how long a timer waits for decisions that are under way. */
  readonly timerGraceMs: number;
}

/**
 * Rules on decisions that were stored, as they would have run: on the engine itself, from no state on. The log's clock is not stored;
 * it is taken to be the latest `received_at` + latency so far, so that what was late then is late here.
 */
export function createTrial(compiled: CompiledRules, config: TrialConfig) {
  const state = emptyState();
  let nowMs = Number.NEGATIVE_INFINITY;

  function run(event: RuleEvent): Fired[] {
    const actions: EmittedAction[] = [];
    for (const effect of reduce(state, event, compiled).effects) {
      if (effect.kind !== 'action') continue;
      actions.push(effect.action);
    }
    // Nothing is sent here; a rule is to go on as if it had been, with its cooldown.
    for (const { rule, key, id, fate } of actions) {
      if (fate === 'pending') reduce(state, { kind: 'action', rule, key, id, change: 'sent' }, compiled);
    }
    return together(actions);
  }

  /** Every timer due by then fires, each as its tick would have come. */
  function passTo(atMs: number): Fired[] {
    const fired: Fired[] = [];
    for (;;) {
      const dueMs = state.timers[0]?.[0];
      if (dueMs === undefined || dueMs > atMs) return fired;
      nowMs = Math.max(nowMs, dueMs + config.timerGraceMs);
      fired.push(...run({ kind: 'tick', dueMs, nowMs }));
    }
  }

  return {
    see(decision: Decision, receivedMs: number): Fired[] {
      nowMs = Math.max(nowMs, receivedMs + Math.max(0, decision.latency_ms));
      const timed = passTo(nowMs - config.timerGraceMs);
      return [...timed, ...run({ kind: 'decision', decision, receivedMs, nowMs })];
    },
    passTo,
    healthOf(rule: string): { errors: number; lastError?: string } {
      const { errors = 0, lastError } = state.rules[rule] ?? {};
      return { errors, ...(lastError === undefined ? {} : { lastError }) };
    },
  };
}

/** Actions of one firing carry one id but for their index. */
function together(actions: readonly EmittedAction[]): Fired[] {
  const byId = new Map<string, EmittedAction[]>();
  for (const action of actions) {
    const id = `${action.phase}~${action.key}~${action.id.slice(0, action.id.lastIndexOf('~'))}`;
    byId.set(id, [...(byId.get(id) ?? []), action]);
  }
  return [...byId].map(([id, all]) => {
    const { rule, phase, key, decision, because } = all[0] as EmittedAction;
    const firing = { rule, phase, key, at: because.at, decision, actions: all.map((action) => action.config) };
    return { id, firing, suppressed: all.every((action) => action.fate === 'suppressed') };
  });
}
