import type { Backtest, Decision, Firing } from '@brink/protocol';
import type { CompiledRules } from '@brink/rules';
import { createTrial, type Fired, type TrialConfig } from './trial.ts';

type Row = Backtest['rules'][number];
type Difference = Backtest['differences'][number];

export interface ComparisonConfig extends TrialConfig {
  /** Firings before it are warm-up: what led to them lies outside of the time that is asked for. */
  readonly sinceMs: number;
  readonly rules: readonly { readonly rule: string; readonly change: Row['change'] }[];
  /** Differences that are listed; the others are counted. */
  readonly listed: number;
}

/** The rules as they are and as they would be, side by side over the same decisions. Memory does not grow with their number. */
export function createComparison(before: CompiledRules, after: CompiledRules, config: ComparisonConfig) {
  const trials = { before: createTrial(before, config), after: createTrial(after, config) };
  const rows = new Map<string, Row>(config.rules.map(({ rule, change }) => [rule, emptyRow(rule, change)]));
  const differences: Difference[] = [];
  let unlisted = 0;

  function list(difference: Difference): void {
    if (differences.length < config.listed) differences.push(difference);
    else unlisted += 1;
  }

  const counted = ({ firing }: Fired) => Date.parse(firing.at) >= config.sinceMs;

  function compare(left: readonly Fired[], right: readonly Fired[]): void {
    if (left.length === 0 && right.length === 0) return;
    const olds = new Map(left.filter(counted).map((fired) => [fired.id, fired]));
    for (const fired of right.filter(counted)) {
      const old = olds.get(fired.id);
      olds.delete(fired.id);
      meet(old, fired);
    }
    for (const old of olds.values()) meet(old, undefined);
  }

  /** One firing, as far as each side has it. What was too old to be sent is not one. */
  function meet(old: Fired | undefined, fresh: Fired | undefined): void {
    const row = rows.get((fresh ?? old)?.firing.rule ?? '');
    if (row === undefined) return;
    if (fresh?.suppressed === true) row.suppressed += 1;
    const was = sent(old);
    const would = sent(fresh);
    if (was !== undefined) row.before += 1;
    if (would !== undefined) row.after += 1;
    const found = differenceOf(was, would);
    if (found === undefined) return;
    if (found === 'same') row.same += 1;
    else {
      row[found.difference] += 1;
      list(found);
    }
  }

  return {
    see(decision: Decision, receivedMs: number): void {
      compare(trials.before.see(decision, receivedMs), trials.after.see(decision, receivedMs));
    },
    /** Time goes on without decisions. */
    passTo(atMs: number): void {
      compare(trials.before.passTo(atMs), trials.after.passTo(atMs));
    },
    result(): Pick<Backtest, 'rules' | 'differences' | 'unlisted'> {
      const all = [...rows.values()].map((row): Row => {
        const { errors, lastError } = trials.after.healthOf(row.rule);
        return { ...row, errors, ...(lastError === undefined ? {} : { last_error: lastError }) };
      });
      return { rules: all, differences, unlisted };
    },
  };
}

const sent = (fired: Fired | undefined) => (fired?.suppressed === false ? fired.firing : undefined);

/** @returns undefined where neither acts */
function differenceOf(was: Firing | undefined, would: Firing | undefined): Difference | 'same' | undefined {
  if (was === undefined) return would && { difference: 'fires', ...would };
  if (would === undefined) return { difference: 'silent', ...was };
  const same = JSON.stringify(was.actions) === JSON.stringify(would.actions);
  return same ? 'same' : { difference: 'differs', ...would, before: was.actions };
}

const emptyRow = (rule: string, change: Row['change']): Row => ({
  ...{ rule, change, before: 0, after: 0, same: 0, fires: 0, silent: 0, differs: 0, suppressed: 0, errors: 0 },
});
