import { randomBytes } from 'node:crypto';
import { mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { BrinkError } from '@brink/protocol';
import { issuePassword, readUsersIfAny, type User } from './users.ts';

/** The devices' users, as control keeps them for the embedded broker, which reads the file again when it changes. */
export interface DeviceUsers {
  /** A new password for a device, with or without one before. @throws BrinkError E_SETTING, E_STORAGE_FULL, E_STORAGE_READONLY */
  put(device: string): Promise<{ readonly password: string }>;
  /** @returns whether it was there */
  remove(device: string): Promise<boolean>;
  has(device: string): Promise<boolean>;
}

/**
 * @param path of the file; it and its folder are made with the first device. Only one process may write it: control holds the lock
 * of its data folder.
 */
export function createDeviceUsers(path: string): DeviceUsers {
  let last: Promise<unknown> = Promise.resolve();

  /** One change after the other: each begins with what the one before wrote. */
  function change<T>(of: (users: readonly User[]) => { users: readonly User[]; value: T }): Promise<T> {
    const turn = last.then(async () => {
      const before = readUsersIfAny(path);
      const { users, value } = of(before);
      if (users !== before) await replace(path, JSON.stringify({ users }));
      return value;
    });
    last = turn.catch(() => {});
    return turn;
  }

  const without = (users: readonly User[], device: string) => users.filter(({ username }) => username !== device);
  return {
    put: (device) =>
      change((users) => {
        const { password, sha256 } = issuePassword(device);
        const user: User = { username: device, role: 'device', sha256 };
        return { users: [...without(users, device), user], value: { password } };
      }),
    remove: (device) =>
      change((users) => {
        const others = without(users, device);
        const there = others.length < users.length;
        return { users: there ? others : users, value: there };
      }),
    async has(device) {
      await last;
      return readUsersIfAny(path).some(({ username }) => username === device);
    },
  };
}

/** Whole at every moment, on the disk before it is answered, and nobody else's to read. */
async function replace(path: string, text: string): Promise<void> {
  const folder = dirname(path);
  const temporary = join(folder, `.${randomBytes(6).toString('hex')}.tmp`);
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await synced(temporary, 'wx', (file) => file.writeFile(text));
    await rename(temporary, path);
    await synced(folder, 'r');
  } catch (reason) {
    await rm(temporary, { force: true }).catch(() => {});
    const full = (reason as NodeJS.ErrnoException).code === 'ENOSPC';
    const detail = `users file ${path} cannot be written: ${BrinkError.from(reason).detail}`;
    throw new BrinkError(full ? 'E_STORAGE_FULL' : 'E_STORAGE_READONLY', detail, { cause: reason });
  }
}

type Handle = Awaited<ReturnType<typeof open>>;

async function synced(path: string, flags: string, write: (file: Handle) => Promise<void> = async () => {}) {
  const file = await open(path, flags, 0o600);
  try {
    await write(file);
    await file.sync();
  } finally {
    await file.close();
  }
}
