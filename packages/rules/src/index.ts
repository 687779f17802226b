export {
  type CompiledRule,
  type CompiledRules,
  compileProblems,
  compileRules,
  isTopicAllowed,
  type RuleContext,
  type RuleProblem,
  ruleContextOf,
} from './compile.ts';
export type { Effect, EmittedAction } from './emission.ts';
export {
  adoptState,
  type Evaluating,
  KEYS_MAX,
  type Reduced,
  type RuleEvent,
  reduce,
} from './engine.ts';
export { keyOf } from './keys.ts';
export { holdingIn } from './machine.ts';
export { checkRules, type RuleTestResult, runRuleTests, type TestedAction } from './rule-tests.ts';
export {
  type Arming,
  type EngineState,
  emptyState,
  type KeyState,
  restoreState,
  type SavedKey,
  type Trigger,
} from './state.ts';
export { TEST_KEY, type TestFire } from './test-fire.ts';
export { agreeing } from './votes.ts';
