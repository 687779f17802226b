import type { RuleConfig } from '@brink/protocol';
import { agreeing, holdingIn, type KeyState } from '@brink/rules';

/**
 * What one state machine waits for, and until when, in a sentence. Times are rule time (received_at).
 * @param nowMs a cooldown that is over by then is not spoken of
 */
export function waitsFor(rule: RuleConfig, key: KeyState, nowMs: number): string {
  const begins = key.state === 'idle' || key.state === 'arming';
  const hours = rule.between === undefined || !begins ? '' : `; only ${rule.between} by the site's clock`;
  const what = `${waits(rule, key)}${hours}`;
  const silent = silence(rule, key, nowMs);
  return silent === undefined ? what : `${what}; silent ${silent}`;
}

function silence(rule: RuleConfig, { cooldown }: KeyState, nowMs: number): string | undefined {
  if (cooldown === undefined) return undefined;
  if (!cooldown.sent && nowMs < cooldown.reservedMs) {
    return `until its actions have left, and ${rule.cooldown_ms} ms from then on`;
  }
  return nowMs < cooldown.untilMs ? `until ${iso(cooldown.untilMs)}` : undefined;
}

function waits(rule: RuleConfig, key: KeyState): string {
  const due = key.dueMs === undefined ? undefined : iso(key.dueMs);
  switch (key.state) {
    case 'idle':
      return (rule.absent_ms === undefined ? idle(rule, key) : absence(rule, due)) + owed(rule, key);
    case 'arming':
      return (rule.absent_ms === undefined ? arming(rule, key, due) : absence(rule, due)) + owed(rule, key);
    case 'active':
      return `release: ${releaseOf(rule)}${missed(rule, key, due)}`;
    case 'releasing':
      return due === undefined
        ? `release: ${releaseOf(rule)}`
        : `released at ${due}, if until then: ${releaseOf(rule)}`;
  }
}

/** What was suppressed as too old when it began, and is made up for. */
function missed(rule: RuleConfig, key: KeyState, due: string | undefined): string {
  if (key.missed !== true) return '';
  if (rule.absent_ms !== undefined) return `; or fires at ${due}, unless a decision comes`;
  return `; or to act on a decision in time: ${conditionOf(rule)}`;
}

/** What was suppressed as too old when it ended. */
const owed = (rule: RuleConfig, { emitted }: KeyState) =>
  emitted === true ? `; or to run on_release on a decision in time: ${releaseOf(rule)}` : '';

function arming(rule: RuleConfig, key: KeyState, due: string | undefined): string {
  if (due !== undefined) return `fires at ${due}, if until then: ${conditionOf(rule)}`;
  if (rule.for !== undefined && 'of' in rule.for) {
    const { at_least, of } = rule.for;
    const seen = key.history?.length ?? 0;
    return `when: ${conditionOf(rule)}; held on ${holdingIn(key)} of the last ${seen}, needs ${at_least} of ${of}`;
  }
  return idle(rule, key);
}

function idle(rule: RuleConfig, { votes }: KeyState): string {
  const when = `when: ${conditionOf(rule)}`;
  if (rule.quorum === undefined) return when;
  const [kind, needed] =
    'pipelines' in rule.quorum ? ['pipelines', rule.quorum.pipelines] : ['devices', rule.quorum.devices];
  const agree = votes === undefined ? [] : agreeing(votes);
  const who =
    agree.length === 0 ? 'none agrees' : `${agree.slice(0, 10).join(', ')} agree${agree.length === 1 ? 's' : ''}`;
  return `${when}; on ${needed} ${kind} within ${rule.quorum.within_ms} ms, ${who}`;
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
