import type { Effect } from './emission.ts';
import type { Cooldown, EngineState, KeyState } from './state.ts';
import { shiftVotes } from './votes.ts';

/**
 * The clock that stamps decisions was set, by `shiftMs` (negative: back). Every machine's times move along, so that what has a
 * second to go still has it: a jump fires nothing, and holds nothing up. What a person said by the clock (snoozed until, between) stays.
 */
export function shiftClock(state: EngineState, shiftMs: number): Effect[] {
  const effects: Effect[] = [];
  for (const [rule, memory] of Object.entries(state.rules)) {
    for (const [key, before] of Object.entries(memory.keys)) {
      const after = shiftKey(before, shiftMs);
      memory.keys[key] = after;
      effects.push({ kind: 'save', rule, key, state: after });
    }
  }
  // All by the same: their order stays.
  state.timers = state.timers.map(([dueMs, rule, key]) => [dueMs + shiftMs, rule, key]);
  return effects;
}

function shiftKey(before: KeyState, shiftMs: number): KeyState {
  const { dueMs, cooldown, trigger, votes } = before;
  return {
    ...before,
    sinceMs: before.sinceMs + shiftMs,
    ...(dueMs === undefined ? {} : { dueMs: dueMs + shiftMs }),
    ...(cooldown === undefined ? {} : { cooldown: shiftCooldown(cooldown, shiftMs) }),
    ...(trigger === undefined ? {} : { trigger: { ...trigger, receivedMs: trigger.receivedMs + shiftMs } }),
    ...(votes === undefined ? {} : { votes: shiftVotes(votes, -shiftMs) }),
  };
}

const shiftCooldown = (cooldown: Cooldown, shiftMs: number): Cooldown => ({
  ...cooldown,
  untilMs: cooldown.untilMs + shiftMs,
  emittedMs: cooldown.emittedMs + shiftMs,
  reservedMs: cooldown.reservedMs + shiftMs,
});
