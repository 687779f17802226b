import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { DynamicSecurity } from './dynsec.ts';
import { initialise } from './vault.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'brink-vault-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const options = () => ({
  vault: join(folder, 'vault'),
  secrets: join(folder, 'secrets'),
  mosquitto: join(folder, 'mosquitto'),
  root: 'brink',
});
const dynsec = async () =>
  JSON.parse(await readFile(join(folder, 'mosquitto/dynamic-security.json'), 'utf8')) as DynamicSecurity;
const secret = (path: string) => readFile(join(folder, 'secrets', path), 'utf8');

test('every service gets its own secrets, readable by its user alone', async () => {
  await initialise(options());
  expect((await readdir(join(folder, 'secrets'))).sort()).toEqual(['control', 'gateway', 'inference', 'mosquitto']);
  expect(await readdir(join(folder, 'secrets/gateway'))).toEqual(['mqtt-password']);
  expect((await stat(join(folder, 'secrets/gateway/mqtt-password'))).mode & 0o777).toBe(0o400);
  expect(await secret('gateway/mqtt-password')).toMatch(/^brk_[\w-]{43}\n$/);
  expect(await secret('inference/http-token')).toBe(await secret('control/inference-token'));
});

test('a repeat changes nothing, also after Mosquitto wrote the file in its own order', async () => {
  await initialise(options());
  const file = join(folder, 'mosquitto/dynamic-security.json');
  const before = await dynsec();
  const shuffled = Object.fromEntries(Object.entries(before).reverse());
  await writeFile(file, JSON.stringify({ ...shuffled, clients: [...before.clients].reverse() }), { mode: 0o600 });
  expect(await initialise(options())).toEqual([]);
});

test('devices that control registered are kept, and our own roles are put right', async () => {
  await initialise(options());
  const before = await dynsec();
  const device = { ...before.clients[0], username: 'cam-9', roles: [{ rolename: 'device.cam-9', priority: 0 }] };
  const mapped = { acltype: 'subscribePattern', topic: 'frigate/+/snapshot', priority: 0, allow: true };
  const changed = {
    ...before,
    clients: [...before.clients, device],
    roles: [
      { rolename: 'brink.gateway', acls: [] },
      { rolename: 'device.cam-9', acls: [] },
      { rolename: 'brink.foreign', acls: [mapped] },
    ],
  };
  await writeFile(join(folder, 'mosquitto/dynamic-security.json'), JSON.stringify(changed), { mode: 0o600 });
  expect(await initialise(options())).toEqual([join(folder, 'mosquitto/dynamic-security.json')]);
  const after = await dynsec();
  expect(after.clients.map((client) => client.username)).toContain('cam-9');
  expect(after.roles.map((role) => role.rolename)).toContain('device.cam-9');
  expect(after.roles.find((role) => role.rolename === 'brink.gateway')?.acls.length).toBeGreaterThan(5);
  // What control wrote from the configuration, and the gateway's alone.
  expect(after.roles.find((role) => role.rolename === 'brink.foreign')?.acls).toEqual([mapped]);
  const who = after.clients.filter(({ roles }) => roles.some(({ rolename }) => rolename === 'brink.foreign'));
  expect(who.map(({ username }) => username)).toEqual(['brink.gateway']);
});

test('a lost secret is handed out again from the vault; a lost vault makes new ones, and the broker learns them', async () => {
  await initialise(options());
  const password = await secret('gateway/mqtt-password');
  await rm(join(folder, 'secrets'), { recursive: true });
  await initialise(options());
  expect(await secret('gateway/mqtt-password')).toBe(password);
  const before = await dynsec();
  await rm(join(folder, 'vault'), { recursive: true });
  await initialise(options());
  expect(await secret('gateway/mqtt-password')).not.toBe(password);
  expect((await dynsec()).clients[0]?.password).not.toBe(before.clients[0]?.password);
});

test('nothing is allowed by default, and only control sends commands and decisions, only the gateway receipts', async () => {
  await initialise(options());
  const { defaultACLAccess, roles } = await dynsec();
  expect(defaultACLAccess).toEqual({
    publishClientSend: false,
    publishClientReceive: false,
    subscribe: false,
    unsubscribe: true,
  });
  const senders = (part: string) =>
    roles.filter((role) => role.acls.some((acl) => acl.acltype === 'publishClientSend' && acl.topic.includes(part)));
  expect(senders('/down/commands/').map((role) => role.rolename)).toEqual(['brink.control']);
  expect(senders('/down/decisions/').map((role) => role.rolename)).toEqual(['brink.control']);
  expect(senders('/down/receipts/').map((role) => role.rolename)).toEqual(['brink.gateway']);
});

test('a file of the broker that is not JSON is left alone and named', async () => {
  await mkdir(join(folder, 'mosquitto'));
  await writeFile(join(folder, 'mosquitto/dynamic-security.json'), '{');
  await expect(initialise(options())).rejects.toMatchObject({ code: 'E_STORAGE_CORRUPT' });
});
