import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createBroker, createUsersWatch, issuePassword, readUserFiles } from '@brink/broker';
import { createTopics } from '@brink/protocol';
import { createRegistry, silentLogger, systemClock } from '@brink/runtime';
import { expect, test } from 'vitest';
import { type CredentialsFixture, credentialsContract } from '../src/registry/credentials.testing.ts';
import { createDynsec } from '../src/registry/dynsec.ts';
import { createDynsecCredentials } from '../src/registry/dynsec-credentials.ts';
import { createFileCredentials } from '../src/registry/file-credentials.ts';
import { noEngine, startMosquitto } from './mosquitto.ts';

const deps = { logger: silentLogger, clock: systemClock, random: Math.random };

credentialsContract({ name: 'the embedded broker', start: startEmbedded });
credentialsContract({ name: 'Mosquitto', skip: await noEngine(), start: startDynsec });

async function startEmbedded(): Promise<CredentialsFixture & { readonly folder: string; readonly file: string }> {
  const folder = await mkdtemp(join(tmpdir(), 'brink-credentials-'));
  const files = { users: join(folder, 'users.json'), devices: join(folder, 'kept', 'devices.json') };
  const { password, sha256 } = issuePassword('watcher');
  await writeFile(files.users, JSON.stringify({ users: [{ username: 'watcher', role: 'control', sha256 }] }));
  const broker = createBroker(
    { host: '127.0.0.1', port: 0, users: readUserFiles(files) },
    { ...deps, registry: createRegistry('broker'), recheckUsers: () => watch.look() },
  );
  const watch = createUsersWatch(files, { ...deps, broker });
  await broker.start(new AbortController().signal);
  await watch.start(new AbortController().signal);
  const open = () => createFileCredentials({ file: files.devices, required: true });
  return {
    ...{ folder, file: files.devices, url: broker.url, store: open(), watcher: { username: 'watcher', password } },
    again: () => Promise.resolve(open()),
    async [Symbol.asyncDispose]() {
      await watch.stop();
      await broker.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function startDynsec(): Promise<CredentialsFixture> {
  const mosquitto = await startMosquitto();
  const open = async () => {
    const dynsec = createDynsec({ url: mosquitto.url, username: 'admin', password: 'admin-secret' }, deps);
    await dynsec.start(AbortSignal.timeout(20_000));
    return { dynsec, store: createDynsecCredentials({ topics: createTopics() }, { dynsec }) };
  };
  const first = await open();
  const parts = [first.dynsec];
  const deny = ['publishClientSend', 'publishClientReceive', 'subscribe'].map((acltype) => ({ acltype, allow: false }));
  await first.dynsec.run({ command: 'setDefaultACLAccess', acls: deny });
  const all = ['publishClientSend', 'publishClientReceive', 'subscribePattern'];
  const acls = all.map((acltype) => ({ acltype, topic: '#', priority: 0, allow: true }));
  await first.dynsec.run({ command: 'createRole', rolename: 'all', acls });
  const watcher = { username: 'watcher', password: 'w' };
  await first.dynsec.run({ command: 'createClient', ...watcher, roles: [{ rolename: 'all' }] });
  return {
    ...{ url: mosquitto.url, store: first.store, watcher },
    async again() {
      await first.dynsec.stop();
      const { dynsec, store } = await open();
      parts.push(dynsec);
      return store;
    },
    async [Symbol.asyncDispose]() {
      for (const part of parts) await part.stop();
      await mosquitto[Symbol.asyncDispose]();
    },
  };
}

test('the file holds hashes, belongs to its owner alone, and one that is damaged is named and left as it is', async () => {
  await using site = await startEmbedded();
  const made = await site.store.create('cam-1');
  if (!made.needed) throw new Error('no credentials');
  const text = await readFile(site.file, 'utf8');
  expect(text).not.toContain(made.password);
  expect(JSON.parse(text).users).toMatchObject([{ username: 'cam-1', role: 'device' }]);
  expect((await stat(site.file)).mode & 0o777).toBe(0o600);
  expect((await stat(join(site.file, '..'))).mode & 0o777).toBe(0o700);
  await writeFile(site.file, '{"users": [');
  await expect(site.store.create('cam-2')).rejects.toMatchObject({ code: 'E_SETTING' });
  expect(await readFile(site.file, 'utf8')).toBe('{"users": [');
});

test('where they are optional a device without any needs none, and one that has some gets new ones', async () => {
  await using site = await startEmbedded();
  const optional = createFileCredentials({ file: site.file, required: false });
  expect(await optional.create('cam-1')).toMatchObject({ needed: false, device: 'cam-1' });
  await site.store.create('cam-1');
  expect(await optional.create('cam-1')).toMatchObject({ needed: true, username: 'cam-1' });
});
