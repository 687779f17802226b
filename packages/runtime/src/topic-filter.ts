import { BrinkError } from '@brink/protocol';

/**
 * Whether a topic matches an MQTT filter, levels split once. `+` one level, `#` the rest, its parent included [MQTT-4.7.1];
 * wildcards at the first level do not match topics that begin with `$` [MQTT-4.7.2-1].
 * @throws BrinkError E_TOPIC when the filter is not valid
 */
export function createTopicFilter(filter: string): (topic: string) => boolean {
  const levels = filter.split('/');
  const valid = levels.every((level, i) => {
    if (level === '#') return i === levels.length - 1;
    return level === '+' || !/[+#\0]/.test(level);
  });
  if (filter === '' || !valid)
    throw new BrinkError('E_TOPIC', `"${filter}" is no topic filter; + and # stand for whole levels, # at the end`);
  if (!/[+#]/.test(filter)) return (topic) => topic === filter;
  const wildFirst = levels[0] === '+' || levels[0] === '#';
  const rest = levels.at(-1) === '#';
  const fixed = rest ? levels.slice(0, -1) : levels;
  return (topic) => {
    if (wildFirst && topic.startsWith('$')) return false;
    let start = 0;
    for (let i = 0; i < fixed.length; i++) {
      if (start > topic.length) return false;
      const slash = topic.indexOf('/', start);
      const end = slash === -1 ? topic.length : slash;
      const level = fixed[i] as string;
      if (level !== '+' && (level.length !== end - start || !topic.startsWith(level, start))) return false;
      start = end + 1;
    }
    return rest || start === topic.length + 1;
  };
}
