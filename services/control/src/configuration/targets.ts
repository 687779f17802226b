import {
  type ActionConfig,
  BrinkError,
  HeartbeatSchema,
  NameSchema,
  type RuleConfig,
  type TargetConfig,
  TargetSchema,
  targetKind,
} from '@brink/protocol';
import { checkUrl } from '../actions/addresses.ts';
import { problemAt } from './issues.ts';
import { type ConfigPath, type ConfigProblem, describeFound, didYouMean } from './problems.ts';
import { isRecord, type Merged } from './sources.ts';

// Whether webhooks and notifications go to a target that there is, of a kind that takes them, at an address that requests may go to.

const KINDS = { webhook: ['webhook'], notify: ['ntfy', 'gotify'] } as const;
const EXAMPLES = {
  webhook: 'targets: { duty: { webhook: "https://hooks.example/brink", secret: duty_hook } }',
  notify: 'targets: { phone: { ntfy: "https://ntfy.sh/my-topic" } }',
} as const;

export function checkTargets(rules: Readonly<Record<string, RuleConfig>>, merged: Merged): ConfigProblem[] {
  const site = isRecord(merged.value.site) ? merged.value.site : {};
  const notify = NameSchema.safeParse(site.notify);
  const heartbeat = NameSchema.safeParse(isRecord(site.heartbeat) ? site.heartbeat.target : undefined);
  return [
    ...(notify.success ? checkName(notify.data, 'notify', ['site', 'notify'], merged) : []),
    ...(heartbeat.success ? checkName(heartbeat.data, 'webhook', ['site', 'heartbeat', 'target'], merged) : []),
    ...usesOf(rules).flatMap(({ action, path }) => checkAction(action, path, notify.data, merged)),
    ...urlsOf(merged).flatMap(({ url, allowPrivate, path }) => checkReach(url, allowPrivate, path, merged)),
  ];
}

interface OutwardUrl {
  readonly url: string;
  readonly allowPrivate: boolean;
  readonly path: ConfigPath;
}

function urlsOf({ value }: Merged): OutwardUrl[] {
  const targets = isRecord(value.targets) ? value.targets : {};
  const found = Object.entries(targets).flatMap(([name, given]): OutwardUrl[] => {
    const target = TargetSchema.safeParse(given).data;
    if (target === undefined) return [];
    const url = 'webhook' in target ? target.webhook : 'ntfy' in target ? target.ntfy : target.gotify;
    return [{ url, allowPrivate: target.allow_private, path: ['targets', name, targetKind(target)] }];
  });
  const beat = isRecord(value.site) ? HeartbeatSchema.safeParse(value.site.heartbeat).data : undefined;
  if (beat?.url === undefined) return found;
  return [...found, { url: beat.url, allowPrivate: beat.allow_private, path: ['site', 'heartbeat', 'url'] }];
}

/** What would be refused whenever it is tried is a mistake now, not in the night when the rule fires. */
function checkReach(url: string, allowPrivate: boolean, path: ConfigPath, merged: Merged): ConfigProblem[] {
  try {
    checkUrl(url, allowPrivate);
    return [];
  } catch (error) {
    const [found = '', expected = ''] = BrinkError.from(error).detail.split('; expected ');
    return [problemAt(path, merged, { found, expected })];
  }
}

function checkAction(
  action: ActionConfig,
  path: ConfigPath,
  notify: string | undefined,
  merged: Merged,
): ConfigProblem[] {
  if ('webhook' in action) return checkName(action.webhook.target, 'webhook', [...path, 'webhook', 'target'], merged);
  if (!('notify' in action)) return [];
  const { target } = action.notify;
  if (target !== undefined) return checkName(target, 'notify', [...path, 'notify', 'target'], merged);
  if (notify !== undefined) return [];
  const expected = 'a target, or site.notify, which says the one of all that name none';
  const problem = { found: 'no target', expected, example: 'site: { notify: phone }' };
  return [problemAt([...path, 'notify'], merged, problem)];
}

function checkName(name: string, use: keyof typeof KINDS, path: ConfigPath, merged: Merged): ConfigProblem[] {
  const targets = isRecord(merged.value.targets) ? merged.value.targets : {};
  const there = Object.hasOwn(targets, name) ? TargetSchema.safeParse(targets[name]) : undefined;
  // A target that is wrong itself is a problem of its own.
  if (there !== undefined && (!there.success || fits(there.data, use))) return [];
  const right = Object.keys(targets).filter((one) => {
    const target = TargetSchema.safeParse(targets[one]);
    return target.success && fits(target.data, use);
  });
  const kinds = KINDS[use].join(' or ');
  const list = right.length === 0 ? 'there is none' : `one of ${right.join(', ')}`;
  const problem = {
    found:
      there?.data === undefined ? describeFound(name) : `"${name}", which is a target of ${targetKind(there.data)}`,
    expected: `a target of ${kinds}: ${list}`,
    hint: didYouMean(name, right),
    ...(right.length === 0 ? { example: EXAMPLES[use] } : {}),
  };
  return [problemAt(path, merged, problem)];
}

const fits = (target: TargetConfig, use: keyof typeof KINDS) =>
  (KINDS[use] as readonly string[]).includes(targetKind(target));

function usesOf(rules: Readonly<Record<string, RuleConfig>>): { action: ActionConfig; path: ConfigPath }[] {
  return Object.entries(rules).flatMap(([rule, config]) =>
    (['then', 'on_release'] as const).flatMap((list) =>
      config[list].map((action, index) => ({ action, path: ['rules', rule, list, index] })),
    ),
  );
}
