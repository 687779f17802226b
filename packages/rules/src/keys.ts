import type { Decision } from '@brink/protocol';
import type { CompiledRule } from './compile.ts';

const KEY_CHARS_MAX = 120;
/** Of a rule with `by: []`. */
const ONE_FOR_ALL = '*';

type KeyFields = Pick<Decision, 'device' | 'stream' | 'pipeline'> & { readonly label?: string | undefined };

/** Which machine of the rule a decision belongs to. Labels may be anything, so they are encoded; ids part at `~`. */
export function keyOf(rule: CompiledRule, decision: KeyFields): string {
  const by = rule.config.by;
  if (by.length === 0) return ONE_FOR_ALL;
  if (by.length === 1 && by[0] === 'device') return decision.device;
  // Names are what ids may hold; only labels may be anything.
  const key = by.map((field) => (field === 'label' ? encodeKeyPart(decision.label ?? '') : decision[field])).join(':');
  if (key.length <= KEY_CHARS_MAX) return key;
  return `${key.slice(0, KEY_CHARS_MAX - 9)}-${fnv1a(key)}`;
}

// "~" parts an action's id. A key "__proto__" would name the prototype of the object that holds the keys.
const encodeKeyPart = (text: string) =>
  encodeURIComponent(text.toWellFormed()).replaceAll('~', '%7E').replaceAll('__', '%5F_');

/** FNV-1a, 32 bits (http://www.isthe.com/chongo/tech/comp/fnv/), so that keys that are cut stay apart. */
function fnv1a(text: string): string {
  let hash = 0x811c9dc5;
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  return (hash >>> 0).toString(16).padStart(8, '0');
}
