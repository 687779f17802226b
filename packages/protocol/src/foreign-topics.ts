import { BrinkError } from './errors.ts';
import { isName } from './ids.ts';

// Topics of other systems as a stream's `topics` names them: `frigate/{device}/snapshot`, `tele/{device}/SENSOR`.

/** The embedded broker takes topics of so many levels, and so many subscriptions of one connection. */
const LEVELS_MAX = 8;
const BYTES_MAX = 256;
export const FOREIGN_TOPICS_MAX = 32;

const DEVICE = '{device}';

export interface ForeignTopic {
  readonly pattern: string;
  /** The subscription. Where `{device}` is part of a level it matches more than the pattern does. */
  readonly filter: string;
  /** The first level: which system it is. */
  readonly system: string;
  /** What stands before and behind `{device}` in its level. */
  readonly before: string;
  readonly behind: string;
  /** @returns what stands in the place of `{device}`, or undefined where the topic does not match */
  readonly deviceIn: (topic: string) => string | undefined;
}

/**
 * @param root of Brink's own topics
 * @throws BrinkError E_TOPIC, with what was expected
 */
export function parseForeignTopic(pattern: string, root = 'brink'): ForeignTopic {
  const wrong = foreignTopicProblem(pattern, root);
  if (wrong !== undefined) throw new BrinkError('E_TOPIC', `"${pattern.slice(0, 120)}"; expected ${wrong}`);
  const levels = pattern.split('/');
  const place = levels.findIndex((level) => level.includes(DEVICE));
  const [before = '', behind = ''] = (levels[place] ?? '').split(DEVICE);
  const fixed = levels.map((level, at) => (at === place ? '+' : level));
  return {
    pattern,
    filter: fixed.join('/'),
    system: levels[0] ?? '',
    before,
    behind,
    deviceIn(topic) {
      const found = topic.split('/');
      if (found.length !== fixed.length || !fixed.every((level, at) => level === '+' || level === found[at])) return;
      const level = found[place] ?? '';
      const fits = level.startsWith(before) && level.endsWith(behind) && level.length > before.length + behind.length;
      return fits ? level.slice(before.length, level.length - behind.length) : undefined;
    },
  };
}

/** @returns what a pattern that is none should have been, or undefined where it is one */
export function foreignTopicProblem(pattern: string, root = 'brink'): string | undefined {
  const levels = pattern.split('/');
  const [first = ''] = levels;
  if (pattern === '' || Buffer.byteLength(pattern) > BYTES_MAX || /\p{Cc}/u.test(pattern))
    return `1 to ${BYTES_MAX} bytes of printable characters`;
  if (levels.length > LEVELS_MAX) return `at most ${LEVELS_MAX} levels`;
  if (first === root) return `a topic of another system: "${root}/…" are Brink's own, which need no mapping`;
  if (/[+#{}]/.test(first) || first === '' || first.startsWith('$'))
    return 'a first level that is a plain word: a wildcard there would hear every system on the broker, Brink included';
  if (pattern.includes('#')) return '"{device}", "+" and plain words; "#" could be anything';
  if (levels.some((level) => level.includes('+') && level !== '+')) return '"+" as a whole level';
  if (pattern.split(DEVICE).length !== 2) return '"{device}" once, where the topic names the device';
  if (/[{}]/.test(pattern.replace(DEVICE, ''))) return 'no other braces than those of "{device}"';
  return undefined;
}

/**
 * Whether a topic can match both. Patterns whose filters are one subscription are told apart by what stands around `{device}`;
 * other filters must not meet at all, for a broker may deliver a message once per subscription.
 */
export function foreignTopicsOverlap(one: ForeignTopic, other: ForeignTopic): boolean {
  const [levels, others] = [one.filter.split('/'), other.filter.split('/')];
  if (levels.length !== others.length) return false;
  if (!levels.every((level, at) => level === '+' || others[at] === '+' || level === others[at])) return false;
  if (one.filter !== other.filter || placeOf(one) !== placeOf(other)) return true;
  const [before, otherBefore] = [one.before, other.before];
  const [behind, otherBehind] = [one.behind, other.behind];
  return (
    (before.startsWith(otherBefore) || otherBefore.startsWith(before)) &&
    (behind.endsWith(otherBehind) || otherBehind.endsWith(behind))
  );
}

const placeOf = ({ pattern }: ForeignTopic) => pattern.split('/').findIndex((level) => level.includes(DEVICE));

/** Where Brink's own topics have the services. */
const RESERVED = 'fleet';

/**
 * The name of a device that another system names more freely: lower case without accents, and what is then neither a letter a-z nor
 * a digit becomes `-`, once where several follow each other, and none at the ends. `Küche Lamp_2` → `kuche-lamp-2`.
 * @returns undefined where nothing is left, or more than 64 characters, or the one name that no device can have
 */
export function deviceNameOf(text: string): string | undefined {
  const name = text
    .normalize('NFKD')
    .replace(/\p{M}/gu, '')
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-|-$/g, '');
  return isName(name) && name !== RESERVED ? name : undefined;
}

export interface ForeignTopicFinding {
  readonly stream: string;
  /** Of the pattern in the stream's `topics`. */
  readonly index: number;
  readonly expected: string;
}

/** What is wrong with the patterns of all streams together. */
export function checkForeignTopics(
  streams: Readonly<Record<string, { readonly topics: readonly string[] }>>,
  root?: string,
): ForeignTopicFinding[] {
  const findings: ForeignTopicFinding[] = [];
  const known: { stream: string; topic: ForeignTopic }[] = [];
  for (const [stream, { topics }] of Object.entries(streams)) {
    for (const [index, pattern] of topics.entries()) {
      const wrong = foreignTopicProblem(pattern, root);
      if (wrong !== undefined) {
        findings.push({ stream, index, expected: wrong });
        continue;
      }
      const topic = parseForeignTopic(pattern, root);
      const other = known.find((one) => foreignTopicsOverlap(one.topic, topic));
      if (other !== undefined) {
        const expected = `topics that no other pattern matches; "${other.topic.pattern}" of streams.${other.stream} can match the same`;
        findings.push({ stream, index, expected });
      } else if (known.length >= FOREIGN_TOPICS_MAX) {
        findings.push({ stream, index, expected: `at most ${FOREIGN_TOPICS_MAX} patterns in a site` });
      }
      known.push({ stream, topic });
    }
  }
  return findings;
}

/**
 * What the gateway subscribes to for all streams of a site; so much a broker must let it read.
 * @throws BrinkError E_TOPIC for a pattern that is none
 */
export function foreignFilters(
  streams: Readonly<Record<string, { readonly topics: readonly string[] }>>,
  root?: string,
): string[] {
  const patterns = Object.values(streams).flatMap(({ topics }) => topics);
  return [...new Set(patterns.map((pattern) => parseForeignTopic(pattern, root).filter))];
}
