import { createBacktests } from './backtests.ts';
import { createRulesDesk, type DeskDeps } from './desk.ts';
import { createTestingGround, type TestingDeps } from './testing-ground.ts';

/** What people do with rules: set them aside, fire them, try them on what is stored. */
export function createRules(o: { readonly dataDir: string }, d: DeskDeps & Omit<TestingDeps, 'backtests'>) {
  const backtests = createBacktests({ folder: o.dataDir }, d);
  return { rulesDesk: createRulesDesk(d), testingGround: createTestingGround({}, { ...d, backtests }) };
}
