import { type Because, type Decision, formatActionId } from '@brink/protocol';
import type { CompiledRule, CompiledRules } from './compile.ts';
import { type Effect, type EmittedAction, render, valuesOf } from './emission.ts';
import { ExpressionError, type Variables } from './expression.ts';
import { keyOf } from './keys.ts';
import type { EngineState } from './state.ts';

/** A person fires a rule to see what it does: its actions go out now, whatever its condition, state and cooldown say. */
export interface TestFire {
  readonly kind: 'fire';
  readonly rule: string;
  readonly phase: EmittedAction['phase'];
  /** What templates are filled from. */
  readonly decision: Partial<Decision> & Pick<Decision, 'id' | 'device' | 'stream' | 'pipeline'>;
  /** It is of no frame: its id is made up. */
  readonly sample: boolean;
  readonly receivedMs: number;
  readonly by: string;
  readonly nowMs: number;
}

/** Stands in for a machine's key in ids and records; "@" is in no real key, so no machine hears of these actions. */
export const TEST_KEY = '@test';

/** Changes nothing of the state: a test is no evidence. @returns nothing where there is no such rule */
export function fireTest(state: EngineState, event: TestFire, compiled: CompiledRules): Effect[] {
  const rule = compiled.byName.get(event.rule);
  if (rule === undefined) return [];
  const variables = variablesOf(state, rule, event);
  const because = reasonOf(state, rule, event, compiled, variables);
  const { id: decision, n = 0 } = event.decision;
  const offset = event.phase === 'then' ? 0 : rule.then.length;
  return (event.phase === 'then' ? rule.then : rule.onRelease).map((action, position): Effect => {
    const index = offset + position;
    const { config, error } = render(action, variables);
    const timer = { key: TEST_KEY, dueMs: event.nowMs };
    return {
      kind: 'action',
      action: {
        ...{ id: formatActionId({ decision, timer }, rule.name, index), rule: rule.name, key: TEST_KEY, index, config },
        ...{ phase: event.phase, decision, n, because },
        ...(error === undefined ? { fate: 'pending' as const } : { fate: 'dead' as const, error }),
        staleMs: event.nowMs + rule.config.stale_ms_max,
      },
    };
  });
}

function variablesOf(state: EngineState, rule: CompiledRule, { decision }: TestFire): Variables {
  const { device, stream, pipeline } = decision;
  const previous = state.rules[rule.name]?.keys[keyOf(rule, decision)]?.previous ?? {};
  return { decision, device, stream, pipeline, previous };
}

function reasonOf(
  state: EngineState,
  rule: CompiledRule,
  { decision, sample, receivedMs, nowMs, by }: TestFire,
  { revision }: CompiledRules,
  variables: Variables,
): Because {
  const key = keyOf(rule, decision);
  const at = state.rules[rule.name]?.keys[key]?.state ?? 'idle';
  return {
    ...{ rule: rule.name, key, test: { by, ...(sample ? { sample } : {}) } },
    condition: { field: 'when', text: rule.when.text, holds: holds(rule, variables) },
    values: valuesOf(rule.when, variables),
    ...{ before: at, after: at, at: new Date(nowMs).toISOString() },
    ...{ age_ms: nowMs - receivedMs, stale_ms_max: rule.config.stale_ms_max, revision },
  };
}

function holds(rule: CompiledRule, variables: Variables): boolean {
  try {
    return rule.when.evaluate(variables) === true;
  } catch (error) {
    if (error instanceof ExpressionError) return false;
    throw error;
  }
}
