import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { createTopics, StreamSchema } from '@brink/protocol';
import { createMqtt, type Mqtt, silentLogger, systemClock } from '@brink/runtime';
import { expect, test } from 'vitest';
import { createDynsec } from '../src/registry/dynsec.ts';
import { createDynsecCredentials } from '../src/registry/dynsec-credentials.ts';
import { createForeignRights } from '../src/registry/foreign-rights.ts';
import { until } from './harness.ts';

const run = promisify(execFile);
const deps = { logger: silentLogger, clock: systemClock, random: Math.random };
const topics = createTopics();

const START = `set -e
mosquitto_ctrl dynsec init /tmp/dynsec.json admin admin-secret
plugin=$(find /usr/lib /usr/local/lib /lib -name mosquitto_dynamic_security.so 2>/dev/null | head -n 1)
printf 'user root\\nlistener 1883\\nallow_anonymous false\\nuse_username_as_clientid true\\nplugin %s\\nplugin_opt_config_file /tmp/dynsec.json\\n' "$plugin" > /tmp/m.conf
exec mosquitto -c /tmp/m.conf`;

/** Whether there is an engine with the image; it is never pulled here. */
const engine = await run('docker', ['image', 'inspect', 'eclipse-mosquitto:2']).then(
  () => true,
  () => false,
);

async function startMosquitto() {
  const args = ['run', '--detach', '--rm', '--publish', '127.0.0.1::1883', '--entrypoint', '/bin/sh'];
  const { stdout } = await run('docker', [...args, 'eclipse-mosquitto:2', '-c', START]);
  const id = stdout.trim();
  const { stdout: mapped } = await run('docker', ['port', id, '1883']);
  const url = `mqtt://${mapped.trim().split('\n')[0]}`;
  const clients: Mqtt[] = [];
  return {
    url,
    /** Keeps trying, as every client does. */
    connect(username: string, password: string): Mqtt {
      const client = createMqtt({ url, clientId: username, username, password, clean: true, capMs: 200 }, deps);
      clients.push(client);
      client.start(new AbortController().signal).catch(() => {});
      return client;
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(clients.map((client) => client.stop()));
      await run('docker', ['kill', id]).catch(() => {});
    },
  };
}

test.skipIf(!engine)(
  `credentials on a real Mosquitto: a device may do its own, no more, and nothing once revoked${
    engine ? '' : ' (skipped: no Docker engine with the image eclipse-mosquitto:2)'
  }`,
  async () => {
    await using mosquitto = await startMosquitto();
    const dynsec = createDynsec({ url: mosquitto.url, username: 'admin', password: 'admin-secret' }, deps);
    await dynsec.start(AbortSignal.timeout(20_000));
    const credentials = createDynsecCredentials({ topics }, { dynsec });
    const made = await credentials.create('cam-1');
    const other = await credentials.create('cam-2');
    if (!made.needed || !other.needed) throw new Error('no credentials');
    expect(made).toMatchObject({ device: 'cam-1', username: 'cam-1', client_id: 'cam-1' });
    expect(made.password.length).toBeGreaterThanOrEqual(43);

    // A watcher with every right, made here: the roles of the services are not control's business.
    const all = ['publishClientSend', 'publishClientReceive', 'subscribePattern'];
    const acls = all.map((acltype) => ({ acltype, topic: '#', priority: 0, allow: true }));
    await dynsec.run({ command: 'createRole', rolename: 'all', acls });
    await dynsec.run({ command: 'createClient', username: 'watcher', password: 'w', roles: [{ rolename: 'all' }] });
    const watcher = mosquitto.connect('watcher', 'w');
    const seen: string[] = [];
    watcher.subscribe('brink/#', { qos: 1 }, ({ topic }) => void seen.push(topic));

    const camera = mosquitto.connect('cam-1', made.password);
    const received: string[] = [];
    camera.subscribe('brink/cam-1/down/#', { qos: 1 }, ({ topic }) => void received.push(topic));
    const thief = mosquitto.connect('cam-2', other.password);
    const stolen: string[] = [];
    thief.subscribe('brink/cam-1/down/#', { qos: 1 }, ({ topic }) => void stolen.push(topic));
    await until('all are connected', () => watcher.connected && camera.connected && thief.connected);
    await until('the thief is refused', () => thief.problem?.includes('brink/cam-1/down/#'));
    await until('the camera is subscribed', () => camera.problem === undefined);

    for (const topic of [
      'brink/cam-1/up/frames/front',
      'brink/cam-1/up/frames/front/k3v9-1',
      'brink/cam-1/up/status',
    ]) {
      await camera.publish(topic, 'x', { qos: 1 });
    }
    await thief.publish('brink/cam-1/up/acks', 'x', { qos: 1 }).catch(() => {});
    await camera.publish('brink/cam-1/down/commands/open', 'x', { qos: 1 }).catch(() => {});
    await watcher.publish('brink/cam-1/down/commands/open', 'x', { qos: 1 });
    await until('the command', () => received.length > 0);
    await until('the frames', () => seen.length >= 4);
    expect(seen.sort()).toEqual([
      'brink/cam-1/down/commands/open',
      'brink/cam-1/up/frames/front',
      'brink/cam-1/up/frames/front/k3v9-1',
      'brink/cam-1/up/status',
    ]);
    expect(received).toEqual(['brink/cam-1/down/commands/open']);
    expect(stolen).toEqual([]);

    // Rotated: who has the old ones is put out and stays out.
    const rotated = await credentials.create('cam-1');
    await until('the camera is out', () => !camera.connected && camera.problem?.match(/refused|authori/i));
    if (!rotated.needed) throw new Error('no credentials');
    const again = mosquitto.connect('cam-1', rotated.password);
    await until('the new ones are good', () => again.connected);
    await credentials.revoke('cam-1');
    await until('it is revoked', () => !again.connected && again.problem?.match(/refused|authori/i));
    await credentials.revoke('cam-1');
    await expect(dynsec.run({ command: 'nonsense' })).rejects.toMatchObject({ code: 'E_BROKER' });
    await dynsec.stop();
  },
);

test.skipIf(!engine)(
  `topics of other systems on a real Mosquitto: the gateway may read those that the configuration maps, no more${
    engine ? '' : ' (skipped: no Docker engine with the image eclipse-mosquitto:2)'
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
