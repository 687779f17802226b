import { BrinkError, foreignFilters, PublishedConfigurationSchema } from '@brink/protocol';
import type { Logger } from '@brink/runtime';
import { covers, type ForeignTopics } from './rights.ts';

// Which topics of other systems the gateway may read, its site's configuration says (`streams.*.topics`). It passes through here on
// its way from control to the gateway, so the broker reads it in passing, before the gateway can ask for what it names. After a
// restart control publishes it again.

export interface Foreign {
  /** A message that may be published; a new configuration is taken note of. */
  notice(topic: string, payload: Uint8Array | string): void;
  readonly topics: ForeignTopics;
  /** What is wrong with a topic that looks as if it were meant for the gateway, and that nobody hears. */
  misspelt(topic: string): string | undefined;
}

/** Behind the root, what devices may say and somebody hears. */
const HEARD = /^[^/]+\/up\/(frames\/[^/]+(\/[^/]+)?|retired\/[^/]+|acks|status)$/;

/** @param o.root only control may publish its `fleet/config` (rights.ts) */
export function createForeign(o: { root: string }, d: { logger: Logger }): Foreign {
  const configTopic = `${o.root}/fleet/config`;
  let filters: readonly string[] = [];
  const meant = new RegExp(`^/?[^/]*${o.root.replace(/\W/g, '\\$&')}[^/]*/|^/?[^/]+/[^/]+/up/frames/`, 'i');

  return {
    topics: () => filters,
    misspelt(topic) {
      if (topic.startsWith(`${o.root}/`)) {
        if (HEARD.test(topic.slice(o.root.length + 1))) return undefined;
      } else {
        if (!meant.test(topic)) return undefined;
        const levels = topic.split('/');
        if (filters.some((filter) => covers(filter.split('/'), levels))) return undefined;
      }
      return `nobody hears "${topic.slice(0, 120)}"; frames go to ${o.root}/<device>/up/frames/<stream>`;
    },
    notice(topic, payload) {
      if (topic !== configTopic) return;
      try {
        const { configuration } = PublishedConfigurationSchema.parse(JSON.parse(Buffer.from(payload).toString('utf8')));
        filters = foreignFilters(configuration.streams, o.root);
      } catch (error) {
        // The gateway will say what is wrong with it; what it may read stays as it is.
        d.logger.warn({ detail: BrinkError.from(error).detail }, 'the configuration that passed cannot be read');
      }
    },
  };
}
