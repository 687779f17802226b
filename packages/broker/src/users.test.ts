import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BrinkError } from '@brink/protocol';
import { type Logger, silentLogger, systemClock } from '@brink/runtime';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createUserTable, issuePassword, readUsers } from './users.ts';
import { createUsersWatch, readUserFiles } from './users-watch.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'brink-users-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const bytes = (text: string) => new TextEncoder().encode(text);

test('a user is let in by the password whose hash is kept', () => {
  const { password, sha256 } = issuePassword('cam-1');
  const table = createUserTable([{ username: 'cam-1', role: 'device', sha256 }]);
  expect(password).toMatch(/^brk_cam-1_[\w-]{43}$/);
  expect(table.verify('cam-1', bytes(password))).toEqual({ username: 'cam-1', role: 'device' });
  expect(table.verify('cam-1', bytes(`${password}x`))).toBeUndefined();
  expect(table.verify('cam-1', bytes(''))).toBeUndefined();
  expect(table.verify('cam-2', bytes(password))).toBeUndefined();
  expect(table.verify('__proto__', bytes(password))).toBeUndefined();
});

test('two passwords are never the same', () => {
  expect(issuePassword('a').password).not.toBe(issuePassword('a').password);
});

test('a users file is read, and what is wrong in it is named without telling a password', () => {
  const file = join(folder, 'users.json');
  writeFileSync(file, JSON.stringify({ users: [{ username: 'gateway', role: 'gateway', password: 'secret' }] }));
  expect(readUsers(file)).toEqual([{ username: 'gateway', role: 'gateway', password: 'secret' }]);

  writeFileSync(
    file,
    JSON.stringify({
      users: [
        { username: 'Cam 1', role: 'device', password: 'secret' },
        { username: 'cam-1', role: 'boss', password: 'secret' },
        { username: 'cam-1', role: 'device' },
        { username: 'fleet', role: 'device', password: 'secret' },
      ],
    }),
  );
  const error = caught(() => readUsers(file));
  expect(error.code).toBe('E_SETTING');
  for (const word of [file, 'users.0.username', 'users.1.role', 'password or sha256', 'not "fleet"']) {
    expect(error.detail).toContain(word);
  }
  expect(error.detail).not.toContain('secret');

  writeFileSync(file, '{"users": [');
  expect(caught(() => readUsers(file)).detail).toContain('not JSON');
  expect(caught(() => readUsers(join(folder, 'absent.json'))).code).toBe('E_SETTING');
});

test('users and devices are two files: what control says of a device holds, and nobody else is let in by it', () => {
  const files = { users: join(folder, 'users.json'), devices: join(folder, 'devices.json') };
  const user = (username: string, role: string, password: string) => ({ username, role, password });
  const write = (file: string, ...users: object[]) => writeFileSync(file, JSON.stringify({ users }));
  write(files.users, user('brink.gateway', 'gateway', 'g'), user('cam-1', 'device', 'old'));
  expect(readUserFiles(files)).toHaveLength(2);
  expect(readUserFiles({})).toEqual([]);
  write(files.devices, user('cam-1', 'device', 'new'), user('cam-2', 'device', 'x'));
  expect(readUserFiles(files).map(({ username, password }) => `${username} ${password}`)).toEqual([
    'brink.gateway g',
    'cam-1 new',
    'cam-2 x',
  ]);
  // A device that is called like an operator shuts nobody out.
  write(files.users, user('admin', 'operator', 'o'));
  write(files.devices, user('admin', 'device', 'new'));
  expect(readUserFiles(files)).toEqual([user('admin', 'operator', 'o')]);
  write(files.devices, user('brink.gateway', 'gateway', 'stolen'));
  expect(caught(() => readUserFiles(files)).detail).toContain('"brink.gateway" is gateway; expected devices only');
});

test('a change that could not be read is tried again, and its mistake is said once', () => {
  const files = { devices: join(folder, 'devices.json') };
  const told: string[] = [];
  const given: string[][] = [];
  const logger = { ...silentLogger, error: (of: object) => void told.push(JSON.stringify(of)) };
  let busy = false;
  let nowMs = 0;
  const clock = { ...systemClock, monotonic: () => nowMs };
  const broker = {
    setUsers(users: readonly { username: string }[]) {
      if (busy) throw new Error('EMFILE: too many open files');
      given.push(users.map(({ username }) => username));
    },
  };
  const watch = createUsersWatch(files, { broker, clock, logger: logger as unknown as Logger });
  busy = true;
  writeFileSync(files.devices, '{"users":[{"username":"cam-1","role":"device","password":"x"}]}');
  watch.look();
  nowMs = 1000;
  watch.look();
  expect([given.length, told.length]).toEqual([0, 1]);
  busy = false;
  nowMs = 2000;
  watch.look();
  watch.look();
  expect(given).toEqual([['cam-1']]);
});

test('the same user name twice is refused', () => {
  const user = { username: 'cam-1', role: 'device', password: 'x' } as const;
  expect(caught(() => createUserTable([user, user])).code).toBe('E_SETTING');
});

function caught(fn: () => unknown): BrinkError {
  try {
    fn();
  } catch (error) {
    if (error instanceof BrinkError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}
