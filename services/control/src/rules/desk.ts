import {
  type ActionRecord,
  BrinkError,
  type Decision,
  type RuleArming,
  type RuleState,
  type Sample,
} from '@brink/protocol';
import type { Clock } from '@brink/runtime';
import type { ConfigurationKeeper } from '../configuration/active.ts';
import type { Ledger } from '../ledger/ledger.ts';
import type { FireOrder } from '../ledger/records.ts';

export interface DeskDeps {
  readonly ledger: Pick<Ledger, 'arm' | 'fire' | 'read'>;
  readonly configuration: Pick<ConfigurationKeeper, 'active'>;
  readonly clock: Clock;
}

/** How a rule is set aside: for good (undefined), or until a time. */
export interface SetAside {
  readonly untilMs?: number | undefined;
  readonly by: string;
  readonly note?: string | undefined;
}

export interface FireRequest {
  /** Id of the decision that templates are filled from; default: the newest on the rule's pipelines. */
  readonly decision?: string | undefined;
  readonly sample?: Sample | undefined;
  readonly phase: 'then' | 'on_release';
  readonly by: string;
}

/** Marks ids that no device made. */
const SAMPLE_BOOT = 'sample';

/** What people do with rules while they run. Everything rejects E_NOT_FOUND for a rule that is not in the configuration. */
export function createRulesDesk(d: DeskDeps) {
  function ruleOf(name: string) {
    const { rules } = d.configuration.active.configuration;
    const rule = Object.hasOwn(rules, name) ? rules[name] : undefined;
    if (rule !== undefined) return rule;
    const names = Object.keys(rules);
    const known = names.length === 0 ? 'there is none' : `one of ${names.slice(0, 20).join(', ')}`;
    throw new BrinkError('E_NOT_FOUND', `there is no rule "${name}"; expected ${known}`);
  }

  async function state(name: string): Promise<RuleState> {
    ruleOf(name);
    const [found] = await d.ledger.read.ruleStates(name, d.clock.now());
    return found ?? { rule: name, arming: { state: 'armed' }, errors: 0, keys: [] };
  }

  const armingOf = async (name: string): Promise<RuleArming> => (await state(name)).arming;

  async function newestOn(name: string): Promise<Decision> {
    const pipelines = [ruleOf(name).on].flat();
    const pages = await Promise.all(
      pipelines.map((pipeline) => d.ledger.read.decisions({ pipeline, outcome: 'decided', limit: 1 })),
    );
    const [newest] = pages.flatMap(({ items }) => items).sort((a, b) => b.n - a.n);
    if (newest !== undefined) return newest;
    const detail = `there is no decision on ${pipelines.join(', ')} yet to fill templates from; expected a sample`;
    throw new BrinkError('E_CONFLICT', `${detail}, as {"sample":{"device":"cam-1","label":"person","score":0.9}}`);
  }

  async function namedBy(id: string): Promise<Decision> {
    const found = await d.ledger.read.decision(id);
    if (found === undefined)
      throw new BrinkError('E_NOT_FOUND', `there is no decision "${id}", or it is no longer kept`);
    return found;
  }

  function sampleOf(name: string, sample: Sample): FireOrder['decision'] {
    const { streams } = d.configuration.active.configuration;
    const pipeline = sample.pipeline ?? [ruleOf(name).on].flat()[0] ?? name;
    const found = Object.entries(streams).find(([, { pipelines }]) => Object.hasOwn(pipelines, pipeline));
    const stream = sample.stream ?? found?.[0] ?? 'sample';
    const received_at = new Date(d.clock.now()).toISOString();
    const id = `${sample.device}.${stream}.${SAMPLE_BOOT}.1.0.${pipeline}`;
    // Where a model has labels in the site's language, templates read those.
    const text = { label_text: sample.label, ...sample };
    const said = Object.fromEntries(Object.entries(text).filter(([, value]) => value !== undefined));
    const { device } = sample;
    return { ...(said as Partial<Decision>), outcome: 'decided', id, device, stream, pipeline, received_at };
  }

  return {
    state,

    async setAside(name: string, { untilMs, by, note }: SetAside): Promise<RuleArming> {
      ruleOf(name);
      await d.ledger.arm(name, {
        ...(untilMs === undefined ? { state: 'disarmed' } : { state: 'snoozed', untilMs }),
        ...{ by, ...(note === undefined ? {} : { note }) },
      });
      return await armingOf(name);
    },

    async arm(name: string): Promise<RuleArming> {
      ruleOf(name);
      await d.ledger.arm(name, undefined);
      return await armingOf(name);
    },

    /** Its actions go out now, as tests. Rejects E_CONFLICT where there is nothing to fill templates from, or nothing to do. */
    async fire(name: string, { decision, sample, phase, by }: FireRequest): Promise<ActionRecord[]> {
      const rule = ruleOf(name);
      if (rule[phase].length === 0) throw new BrinkError('E_CONFLICT', `rules.${name}.${phase} has no action to test`);
      const filled =
        sample !== undefined
          ? sampleOf(name, sample)
          : await (decision === undefined ? newestOn(name) : namedBy(decision));
      return await d.ledger.fire({ rule: name, phase, decision: filled, sample: sample !== undefined, by });
    },
  };
}

export type RulesDesk = ReturnType<typeof createRulesDesk>;
