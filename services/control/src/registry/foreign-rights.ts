import { BrinkError, type Configuration, foreignFilters } from '@brink/protocol';
import type { Logger } from '@brink/runtime';
import { z } from 'zod';
import type { Dynsec } from './dynsec.ts';

/** Made by `brink init` without content, and given to the gateway. */
const ROLE = 'brink.foreign';

const RoleSchema = z.looseObject({
  role: z.looseObject({ acls: z.array(z.looseObject({ acltype: z.string(), topic: z.string() })).default([]) }),
});

/**
 * On Mosquitto nobody may read anything that no role names. Which topics of other systems the gateway may read, the configuration says
 * (`streams.*.topics`), so control puts them into a role of the gateway: before a configuration is in force, and at each connect,
 * should that have failed or the broker have forgotten it. A gateway that was faster asks again (mqtt-subscriptions.ts).
 */
export function createForeignRights(o: { root: string }, d: { dynsec: Dynsec; logger: Logger }) {
  let wanted: readonly string[] | undefined;
  let turn: Promise<void> = Promise.resolve();

  async function write(): Promise<void> {
    if (wanted === undefined) return;
    const acls = wanted.flatMap((topic) =>
      ['subscribePattern', 'publishClientReceive'].map((acltype) => ({ acltype, topic, priority: 0, allow: true })),
    );
    const { role } = RoleSchema.parse(await d.dynsec.run({ command: 'getRole', rolename: ROLE }));
    if (words(role.acls) === words(acls)) return;
    await d.dynsec.run({ command: 'modifyRole', rolename: ROLE, acls });
    d.logger.info({ topics: wanted }, 'the gateway may read these topics of other systems');
  }

  function soon(): Promise<void> {
    turn = turn.then(write).catch((reason: unknown) => {
      const { code, detail } = BrinkError.from(reason);
      const missing = detail.includes('Role not found');
      const hint = missing ? { hint: '`docker compose run --rm init` makes the role, then restart the broker' } : {};
      // A site without such topics misses nothing.
      d.logger[wanted?.length === 0 ? 'debug' : 'warn'](
        { code, detail, ...hint },
        'rights to read topics of other systems',
      );
    });
    return turn;
  }

  d.dynsec.onConnect(() => void soon());
  return {
    /** Resolves when it is done, or cannot be done now. */
    apply({ streams }: Pick<Configuration, 'streams'>): Promise<void> {
      wanted = foreignFilters(streams, o.root);
      return soon();
    },
  };
}

const words = (acls: readonly { acltype: string; topic: string }[]) =>
  acls
    .map(({ acltype, topic }) => `${acltype} ${topic}`)
    .sort()
    .join();
