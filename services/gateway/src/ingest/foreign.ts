import { BrinkError, checkForeignTopics, deviceNameOf, type ForeignTopic, parseForeignTopic } from '@brink/protocol';
import type { SitePlan } from './plan.ts';

/** Device names that are remembered; a name that is forgotten is free again. */
const NAMES_MAX = 10_000;

/** Whose frame it is that came on another system's topic. */
export interface ForeignFrame {
  readonly device: string;
  readonly stream: string;
}

/**
 * Topics of other systems, mapped to streams by the streams' `topics`. A name that no device can have is mapped by the rule of
 * `deviceNameOf`; where two would have the same, the second is refused by name, so that two devices are never taken for one.
 */
export function createForeignTopics(config: { root: string }) {
  let known: readonly { readonly stream: string; readonly topic: ForeignTopic }[] = [];
  /** `stream/name` → who has it, as `system/text` */
  const names = new Map<string, string>();
  let ignored = 0;

  function find(topic: string): { stream: string; system: string; text: string } | undefined {
    if (topic.startsWith(config.root) && topic[config.root.length] === '/') return undefined;
    for (const { stream, topic: of } of known) {
      const text = of.deviceIn(topic);
      if (text !== undefined) return { stream, system: of.system, text };
    }
    return undefined;
  }

  function claim(stream: string, name: string, owner: string, text: string): void {
    const key = `${stream}/${name}`;
    const other = names.get(key);
    if (other === owner) return;
    if (other !== undefined) {
      throw new BrinkError(
        'E_NAME',
        `device "${text.slice(0, 64)}" would be called "${name}" in stream "${stream}", as "${other.slice(0, 120)}" is already; rename one of them, or give each a stream of its own`,
      );
    }
    names.set(key, owner);
    if (names.size <= NAMES_MAX) return;
    const oldest = names.keys().next().value;
    if (oldest !== undefined) names.delete(oldest);
  }

  return {
    /**
     * @returns what to subscribe to
     * @throws BrinkError E_CONFIG, and nothing is changed
     */
    apply({ streams }: SitePlan): ReadonlySet<string> {
      const [wrong] = checkForeignTopics(Object.fromEntries(streams), config.root);
      if (wrong !== undefined) {
        throw new BrinkError('E_CONFIG', `streams.${wrong.stream}.topics[${wrong.index}]: expected ${wrong.expected}`);
      }
      known = [...streams.values()].flatMap(({ name, topics }) =>
        topics.map((pattern) => ({ stream: name, topic: parseForeignTopic(pattern, config.root) })),
      );
      for (const key of names.keys()) {
        if (!known.some(({ stream }) => key.startsWith(`${stream}/`))) names.delete(key);
      }
      return new Set(known.map(({ topic }) => topic.filter));
    },

    /** A subscription may hear more than its patterns mean. @returns false where a message is nobody's, and counts it */
    hears(topic: string): boolean {
      if (find(topic) !== undefined) return true;
      ignored += 1;
      return false;
    },

    /**
     * @returns undefined where the topic is of no pattern
     * @throws BrinkError E_NAME where no device can be called so, or another one is
     */
    read(topic: string): ForeignFrame | undefined {
      const found = find(topic);
      if (found === undefined) return undefined;
      const { stream, system, text } = found;
      const device = deviceNameOf(text);
      if (device === undefined) {
        throw new BrinkError(
          'E_NAME',
          `no device can be called "${text.slice(0, 64)}" (topic "${topic.slice(0, 120)}"); expected a name with one of a-z, 0-9 in it, at most 64 characters long: rename it in ${system}`,
        );
      }
      claim(stream, device, `${system}/${text}`, text);
      return { device, stream };
    },

    /** For people: the device and stream of a topic whose device has no name. */
    shown(topic: string): ForeignFrame | undefined {
      const found = find(topic);
      return found === undefined ? undefined : { device: found.text, stream: found.stream };
    },

    /** Messages that were heard and are of no pattern. */
    get ignored() {
      return ignored;
    },
  };
}

export type ForeignTopics = ReturnType<typeof createForeignTopics>;
