import { StreamSchema } from '@brink/protocol';
import { silentLogger, systemClock } from '@brink/runtime';
import { expect, test } from 'vitest';
import { createDynsec } from '../src/registry/dynsec.ts';
import { createForeignRights } from '../src/registry/foreign-rights.ts';
import { until } from './harness.ts';
import { noEngine, startMosquitto } from './mosquitto.ts';

const deps = { logger: silentLogger, clock: systemClock, random: Math.random };
const reason = await noEngine();

test.skipIf(reason !== undefined)(
  `topics of other systems on a real Mosquitto: the gateway may read those that the configuration maps, no more${
    reason === undefined ? '' : ` (skipped: ${reason})`
  }`,
  async () => {
    await using mosquitto = await startMosquitto();
    const dynsec = createDynsec({ url: mosquitto.url, username: 'admin', password: 'admin-secret' }, deps);
    const rights = createForeignRights({ root: 'brink' }, { dynsec, logger: silentLogger });
    const mapping = (...topics: string[]) => ({
      streams: { front: StreamSchema.parse({ format: 'image', topics, pipelines: {} }) },
    });
    // Not connected yet: it is made good as soon as it is, once the role is there.
    await rights.apply(mapping('frigate/{device}/snapshot'));
    await dynsec.start(AbortSignal.timeout(20_000));
    await dynsec.run({ command: 'setDefaultACLAccess', acls: DENY });
    await dynsec.run({ command: 'createRole', rolename: 'brink.foreign' });
    const send = { acltype: 'publishClientSend', topic: '#', priority: 0, allow: true };
    await dynsec.run({ command: 'createRole', rolename: 'send', acls: [send] });
    await dynsec.run({ command: 'createClient', username: 'frigate', password: 'f', roles: [{ rolename: 'send' }] });
    await dynsec.run({
      command: 'createClient',
      username: 'gw',
      password: 'g',
      roles: [{ rolename: 'brink.foreign' }],
    });
    const [gateway, frigate] = [mosquitto.connect('gw', 'g'), mosquitto.connect('frigate', 'f')];
    const seen: string[] = [];
    const hear = (filter: string) => gateway.subscribe(filter, { qos: 1 }, ({ topic }) => void seen.push(topic));
    hear('frigate/+/snapshot');
    await until('both are connected', () => gateway.connected && frigate.connected);
    await until('it is refused', () => gateway.problem?.includes('frigate/+/snapshot'));

    await rights.apply(mapping('frigate/{device}/snapshot'));
    await until('it may now', () => gateway.connected && gateway.problem === undefined);
    await frigate.publish('frigate/front/snapshot', 'x', { qos: 1 });
    await until('the picture', () => seen.length === 1);
    let drops = 0;
    gateway.onDisconnect(() => (drops += 1));
    await rights.apply(mapping('frigate/{device}/snapshot'));
    hear('frigate/#');
    await until('more is refused', () => gateway.problem?.includes('frigate/#'));
    gateway.unsubscribe('frigate/#');
    expect([drops, seen]).toEqual([0, ['frigate/front/snapshot']]);

    // What is mapped no more is not delivered either, though the subscription still stands.
    await rights.apply(mapping('other/{device}'));
    hear('other/+');
    await frigate.publish('frigate/front/snapshot', 'x', { qos: 1 });
    await until('the other one', async () => {
      await frigate.publish('other/cam', 'x', { qos: 1 });
      return seen.includes('other/cam');
    });
    expect(seen.filter((topic) => topic.startsWith('frigate'))).toHaveLength(1);
    await dynsec.stop();
  },
);

const DENY = ['publishClientSend', 'publishClientReceive', 'subscribe'].map((acltype) => ({ acltype, allow: false }));
