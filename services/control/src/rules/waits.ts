import type { RuleConfig } from '@brink/protocol';
import { holdingIn, type KeyState } from '@brink/rules';

/**
 * What one state machine waits for, and until when, in a sentence. Times are rule time (received_at).
 * @param nowMs a cooldown that is over by then is not spoken of
 */
export function waitsFor(rule: RuleConfig, key: KeyState, nowMs: number): string {
  const what = waits(rule, key);
  const { cooldown } = key;
  if (cooldown === undefined || cooldown.untilMs <= nowMs) return what;
  return `${what}; silent until ${iso(cooldown.untilMs)}`;
}

function waits(rule: RuleConfig, key: KeyState): string {
  const due = key.dueMs === undefined ? undefined : iso(key.dueMs);
  switch (key.state) {
    case 'idle':
      return rule.absent_ms === undefined ? `when: ${conditionOf(rule)}` : absence(rule, due);
    case 'arming':
      return rule.absent_ms === undefined ? arming(rule, key, due) : absence(rule, due);
    case 'active':
      return `release: ${releaseOf(rule)}`;
    case 'releasing':
      return due === undefined
        ? `release: ${releaseOf(rule)}`
        : `released at ${due}, if until then: ${releaseOf(rule)}`;
  }
}

function arming(rule: RuleConfig, key: KeyState, due: string | undefined): string {
  if (due !== undefined) return `fires at ${due}, if until then: ${conditionOf(rule)}`;
  if (rule.for !== undefined && 'of' in rule.for) {
    const { at_least, of } = rule.for;
    const seen = key.history?.length ?? 0;
    return `when: ${conditionOf(rule)}; held on ${holdingIn(key)} of the last ${seen}, needs ${at_least} of ${of}`;
  }
  return `when: ${conditionOf(rule)}`;
}

function absence(rule: RuleConfig, due: string | undefined): string {
  const which = rule.when === undefined ? 'a decision' : `a decision on which it holds: ${rule.when}`;
  return due === undefined
    ? `${which}, and then ${rule.absent_ms} ms without`
    : `fires at ${due}, unless ${which} comes`;
}

const conditionOf = (rule: RuleConfig) => rule.when ?? 'any decision';

function releaseOf(rule: RuleConfig): string {
  if (rule.release?.when !== undefined) return rule.release.when;
  if (rule.absent_ms !== undefined) return 'a decision';
  return `no longer ${conditionOf(rule)}`;
}

const iso = (ms: number) => new Date(ms).toISOString();
