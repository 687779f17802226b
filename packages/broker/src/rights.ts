import { BrinkError, type ErrorCode } from '@brink/protocol';

// Who may publish and read what. One table, per role; everything that is not in it is refused.
//
//   device     publishes only under its own `up/`, reads its own `down/#`.
//   gateway    receipts and its own place in the fleet; reads frames, and the foreign topics that streams map.
//   inference  its own place in the fleet.
//   control    commands, decisions, state, the configuration, its own place in the fleet; foreign topics, because `mqtt`
//              actions go there (which prefixes, `site.mqtt_allow` says, and control checks).
//   operator   a person at this box, and everybody who comes in without credentials over loopback: sends frames as any device and
//              reads everything, but never speaks as a service: not under `down/`, not under `fleet/`.
//
// Nobody reads or writes `$SYS`, and nobody shares a subscription: `$share` hands a device frames that are not its own.

export const ROLES = ['device', 'gateway', 'inference', 'control', 'operator'] as const;
export type Role = (typeof ROLES)[number];

export interface Identity {
  role: Role;
  /** User name; of an anonymous client, its client id. */
  name: string;
  anonymous: boolean;
}

type RefusalReason = 'acl_publish' | 'acl_subscribe' | 'topic_invalid' | 'retained';
interface Refusal {
  reason: RefusalReason;
  error: BrinkError;
}

export interface Rights {
  /** @returns why not, or undefined where it may */
  publish(topic: string, retain: boolean): Refusal | undefined;
  subscribe(filter: string): Refusal | undefined;
  /** Asked again for each delivery: a session may have been stored under other rights. */
  receive(topic: string): boolean;
}

/** Topics outside the root, that belong to somebody else: `zigbee2mqtt/lamp/set`. */
const FOREIGN = Symbol('foreign');
/** Those among them that the configuration maps to streams. */
const MAPPED = Symbol('mapped');
interface Rule {
  filter: string | typeof FOREIGN;
  retain?: true;
}

function publishes(role: Role, name: string, root: string): Rule[] {
  const fleet: Rule = { filter: `${root}/fleet/${role}/+`, retain: true };
  switch (role) {
    case 'device':
      return [
        { filter: `${root}/${name}/up/frames/+` },
        { filter: `${root}/${name}/up/frames/+/+` },
        { filter: `${root}/${name}/up/retired/+` },
        { filter: `${root}/${name}/up/acks` },
        { filter: `${root}/${name}/up/status`, retain: true },
      ];
    case 'gateway':
      return [{ filter: `${root}/+/down/receipts/+` }, fleet];
    case 'inference':
      return [fleet];
    case 'control':
      return [
        { filter: `${root}/+/down/commands/+` },
        { filter: `${root}/+/down/decisions/+` },
        { filter: `${root}/+/state`, retain: true },
        // To clear what a device left retained, when it is forgotten.
        { filter: `${root}/+/up/status`, retain: true },
        { filter: `${root}/fleet/config`, retain: true },
        fleet,
        { filter: FOREIGN, retain: true },
      ];
    case 'operator':
      return [
        { filter: `${root}/+/up/status`, retain: true },
        { filter: `${root}/+/up/#` },
        { filter: FOREIGN, retain: true },
      ];
  }
}

function reads(role: Role, name: string, root: string): (string | typeof FOREIGN | typeof MAPPED)[] {
  switch (role) {
    case 'device':
      return [`${root}/${name}/down/#`];
    case 'gateway':
      return [`${root}/+/up/#`, `${root}/fleet/#`, MAPPED];
    case 'inference':
      return [`${root}/fleet/#`];
    case 'control':
    case 'operator':
      return ['#'];
  }
}

export const TOPIC_BYTES_MAX = 256;
// Control characters and what is left of bytes that are no UTF-8. [MQTT-1.5.3]
const UNPRINTABLE = /[\p{Cc}\ufffd-\uffff]/u;

/** Filters outside the root that the active configuration maps to streams (`streams.*.topics`); asked at each decision. */
export type ForeignTopics = () => readonly string[];

interface RightsOptions {
  root: string;
  /** The longest topic of Brink has 6. */
  topicLevelsMax: number;
  noSubscribe?: readonly string[];
  foreign?: ForeignTopics;
}

/** The rules of one identity, filters taken apart into levels; `undefined` stands for FOREIGN. */
interface Table {
  identity: Identity;
  who: string;
  root: string;
  topicLevelsMax: number;
  publishes: { retain: boolean; levels: readonly string[] | undefined }[];
  reads: (readonly string[] | typeof FOREIGN | typeof MAPPED)[];
  closed: (readonly string[])[];
  mapped: () => (readonly string[])[];
}

export function createRights(identity: Identity, o: RightsOptions): Rights {
  const { role, name, anonymous } = identity;
  const apart = (filter: string) => filter.split('/');
  const foreign = o.foreign ?? (() => []);
  const table: Table = {
    identity,
    who: `${anonymous ? 'anonymous ' : ''}${role} "${name}"`,
    root: o.root,
    topicLevelsMax: o.topicLevelsMax,
    publishes: publishes(role, name, o.root).map(({ filter, retain }) => ({
      retain: retain === true,
      levels: filter === FOREIGN ? undefined : apart(filter),
    })),
    reads: reads(role, name, o.root).map((filter) => (typeof filter === 'string' ? apart(filter) : filter)),
    closed: (o.noSubscribe ?? []).map(apart),
    mapped: () => foreign().map(apart),
  };
  return {
    publish: (topic, retain) => publishRefusal(table, topic, retain),
    subscribe: (filter) => subscribeRefusal(table, filter),
    receive: (topic) => mayReceive(table, topic),
  };
}

function publishRefusal(table: Table, topic: string, retain: boolean): Refusal | undefined {
  const { who } = table;
  const levels = topic.split('/');
  const wrong = invalid(table, 'topic', topic, levels);
  if (wrong !== undefined) return wrong;
  if (/[+#]/.test(topic))
    return refusal('topic_invalid', 'E_TOPIC', `topic "${shown(topic)}" of ${who} has a wildcard`);
  // `fleet` is no device: `+` in the rules does not stand for it.
  const fleet = levels[1] === 'fleet';
  const rules = table.publishes.filter((rule) => {
    if (rule.levels === undefined) {
      return isForeign(table, levels[0]) && (!topic.startsWith('$') || mayBeLost(table, levels[0], retain));
    }
    return (!fleet || rule.levels[1] === 'fleet') && covers(rule.levels, levels);
  });
  if (rules.length === 0) {
    const sendsFrames = ['device', 'operator'].includes(table.identity.role);
    const hint = sendsFrames ? `; frames go to ${table.root}/<device>/up/frames/<stream>` : '';
    return refusal('acl_publish', 'E_FORBIDDEN', `${who} may not publish to "${shown(topic)}"${hint}`);
  }
  if (!retain || rules.some((rule) => rule.retain)) return undefined;
  const detail = `retained message of ${who} on "${shown(topic)}"; publish it without retain`;
  return refusal('retained', 'E_RETAINED', detail);
}

function subscribeRefusal(table: Table, filter: string): Refusal | undefined {
  const { who } = table;
  const levels = filter.split('/');
  const wrong = invalid(table, 'filter', filter, levels) ?? badWildcard(filter, levels, who);
  if (wrong !== undefined) return wrong;
  const may =
    !filter.startsWith('$') && !table.closed.some((rule) => covers(rule, levels)) && isReadable(table, levels);
  return may ? undefined : refusal('acl_subscribe', 'E_FORBIDDEN', `${who} may not subscribe to "${shown(filter)}"`);
}

function mayReceive(table: Table, topic: string): boolean {
  if (topic.startsWith('$')) return false;
  const { role } = table.identity;
  return role === 'control' || role === 'operator' || isReadable(table, topic.split('/'));
}

function isReadable(table: Table, levels: readonly string[]): boolean {
  return table.reads.some((rule) => {
    if (rule === FOREIGN) return isForeign(table, levels[0]);
    if (rule === MAPPED) return isForeign(table, levels[0]) && table.mapped().some((filter) => covers(filter, levels));
    return covers(rule, levels);
  });
}

const isForeign = (table: Table, first: string | undefined) => first !== table.root && first !== '+' && first !== '#';

/**
 * [MQTT-4.7.2-1] A topic that begins with `$` is heard by nobody here. An operator's is taken and goes nowhere, as MQTT's
 * conformance tests expect; `$SYS` (aedes acts on it) and `$share` never.
 */
const mayBeLost = (table: Table, first: string | undefined, retain: boolean) =>
  table.identity.role === 'operator' && !retain && first !== '$SYS' && first !== '$share';

function invalid(table: Table, what: string, text: string, levels: string[]): Refusal | undefined {
  const refused = (expected: string) =>
    refusal('topic_invalid', 'E_TOPIC', `${what} "${shown(text)}" of ${table.who}; ${expected}`);
  if (levels.length > table.topicLevelsMax) return refused(`expected at most ${table.topicLevelsMax} levels`);
  if (text === '' || Buffer.byteLength(text) > TOPIC_BYTES_MAX)
    return refused(`expected 1 to ${TOPIC_BYTES_MAX} bytes`);
  if (UNPRINTABLE.test(text)) return refused('expected printable characters');
  return undefined;
}

/** [MQTT-4.7.1-2] [MQTT-4.7.1-3] aedes lets some of these through. */
function badWildcard(filter: string, levels: string[], who: string): Refusal | undefined {
  const wrong = levels.some(
    (level, at) =>
      (level.includes('+') && level !== '+') || (level.includes('#') && (level !== '#' || at < levels.length - 1)),
  );
  if (!wrong) return undefined;
  return refusal(
    'topic_invalid',
    'E_TOPIC',
    `filter "${shown(filter)}" of ${who}; "+" fills a level and "#" the last one`,
  );
}

/** Does every topic that `wanted` matches also match `allowed`? `wanted` may be a topic or a filter. */
export function covers(allowed: readonly string[], wanted: readonly string[]): boolean {
  for (const [at, level] of allowed.entries()) {
    if (level === '#') return true; // also the level above: "a/#" matches "a"
    const other = wanted[at];
    if (other === undefined || other === '#') return false;
    if (level !== '+' && level !== other) return false;
  }
  return allowed.length === wanted.length;
}

const refusal = (reason: RefusalReason, code: ErrorCode, detail: string): Refusal => ({
  reason,
  error: new BrinkError(code, detail),
});

const shown = (text: string) => (text.length > 120 ? `${text.slice(0, 120)}…` : text);
