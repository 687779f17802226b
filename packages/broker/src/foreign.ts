import { BrinkError, foreignFilters, PublishedConfigurationSchema } from '@brink/protocol';
import type { Logger } from '@brink/runtime';
import type { ForeignTopics } from './rights.ts';

// Which topics of other systems the gateway may read, its site's configuration says (`streams.*.topics`). It passes through here on
// its way from control to the gateway, so the broker reads it in passing, before the gateway can ask for what it names. After a
// restart control publishes it again.

export interface Foreign {
  /** A message that may be published; a new configuration is taken note of. */
  notice(topic: string, payload: Uint8Array | string): void;
  readonly topics: ForeignTopics;
}

/** @param o.root only control may publish its `fleet/config` (rights.ts) */
export function createForeign(o: { root: string }, d: { logger: Logger }): Foreign {
  const configTopic = `${o.root}/fleet/config`;
  let filters: readonly string[] = [];

  return {
    topics: () => filters,
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
