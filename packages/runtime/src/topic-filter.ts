import { BrinkError } from '@brink/protocol';

/**
 * Whether a topic matches an MQTT filter, levels split once. `+` one level, `#` the rest, its parent included [MQTT-4.7.1];
 * wildcards at the first level do not match topics that begin with `$` [MQTT-4.7.2-1].
 * @throws BrinkError E_TOPIC when the filter is not valid
 */
export function createTopicFilter(filter: string): (topic: string) => boolean {
  const levels = filter.split('/');
  const valid = levels.every((level, i) => isLevel(level, i === levels.length - 1));
  if (filter === '' || !valid) {
    throw new BrinkError('E_TOPIC', `"${filter}" is no topic filter; + and # stand for whole levels, # at the end`);
  }
  if (!/[+#]/.test(filter)) return (topic) => topic === filter;
  const wildFirst = levels[0] === '+' || levels[0] === '#';
  const rest = levels.at(-1) === '#';
  const fixed = rest ? levels.slice(0, -1) : levels;
  return (topic) => {
    if (wildFirst && topic.startsWith('$')) return false;
    const end = endOf(topic, fixed);
    return rest ? end !== NO_MATCH : end === topic.length + 1;
  };
}

const isLevel = (level: string, last: boolean) => (level === '#' ? last : level === '+' || !/[+#\0]/.test(level));

const NO_MATCH = -1;

/** Where the levels that `fixed` matches end in the topic, one past their slash. Splits nothing: it runs for every message. */
function endOf(topic: string, fixed: readonly string[]): number {
  let start = 0;
  for (const level of fixed) {
    if (start > topic.length) return NO_MATCH;
    const slash = topic.indexOf('/', start);
    const end = slash === -1 ? topic.length : slash;
    const same = level === '+' || (level.length === end - start && topic.startsWith(level, start));
    if (!same) return NO_MATCH;
    start = end + 1;
  }
  return start;
}
