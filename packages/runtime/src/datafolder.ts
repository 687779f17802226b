import { existsSync } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import { BrinkError } from '@brink/protocol';

export interface DataFolder {
  readonly path: string;
  release(): Promise<void>;
}

/**
 * Makes the folder, proves that it can be written, and takes it for this process alone.
 *
 * The lock is SQLite's exclusive lock on an empty `lock.db`, that is a POSIX record lock: the kernel gives it back when the
 * process ends, however it ends, so there is no stale lock and no pid to mistake. It holds across containers that share the
 * volume (an abstract socket would not, it belongs to one network namespace) and has no limit on the length of the path (a
 * socket in the folder has: 107 bytes).
 * @throws BrinkError E_STORAGE_READONLY, E_STORAGE_FULL, E_STORAGE_CORRUPT, E_LOCKED (naming the owner)
 */
export async function openDataFolder(path: string): Promise<DataFolder> {
  await probe(path);
  const owner = join(path, 'owner.json');
  const lock = await take(path, owner);
  await writeFile(owner, JSON.stringify({ pid: process.pid, since: new Date().toISOString() }));
  let released = false;
  return {
    path,
    async release() {
      if (released) return;
      released = true;
      await rm(owner, { force: true }).catch(() => {});
      lock.close();
    },
  };
}

async function probe(path: string): Promise<void> {
  const file = join(path, `.probe-${process.pid}`);
  try {
    await makeFolder(path);
    await writeFile(file, 'x');
    await rm(file);
  } catch (error) {
    throw storageError(error, path);
  }
}

/**
 * `mkdir -p`. Not by Node's `recursive`: that tries for ever where a folder cannot be made in one that is there (procfs says
 * ENOENT), in a thread that nobody can stop.
 */
export async function makeFolder(path: string, mode = 0o777): Promise<void> {
  const code = await mkdir(path, mode).then(
    () => undefined,
    (error: NodeJS.ErrnoException) => error.code,
  );
  const parent = dirname(path);
  if (code !== 'ENOENT' || parent === path || existsSync(parent)) return;
  await makeFolder(parent, mode);
  await mkdir(path, mode).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error;
  });
}

async function take(path: string, owner: string): Promise<DatabaseSync> {
  // Loaded when it is needed: child processes import this package and own no folder.
  const { DatabaseSync } = await import('node:sqlite');
  let lock: DatabaseSync | undefined;
  try {
    lock = new DatabaseSync(join(path, 'lock.db'), { timeout: 0 });
    lock.exec('BEGIN EXCLUSIVE');
    return lock;
  } catch (error) {
    lock?.close();
    if (!/locked|busy/i.test(BrinkError.from(error).detail)) throw storageError(error, path);
    const by = await readFile(owner, 'utf8').catch(() => 'unknown');
    throw new BrinkError('E_LOCKED', `${path} is in use by another process: ${by.trim()}; stop that one first`, {
      cause: error,
    });
  }
}

function storageError(error: unknown, path: string): BrinkError {
  const code = (error as NodeJS.ErrnoException).code;
  const detail = BrinkError.from(error).detail;
  if (/not a database|malformed/.test(detail)) {
    return new BrinkError('E_STORAGE_CORRUPT', `${path}/lock.db is not what Brink made: ${detail}`, { cause: error });
  }
  if (code === 'ENOSPC' || code === 'EDQUOT')
    return new BrinkError('E_STORAGE_FULL', `${path}: ${detail}`, { cause: error });
  return new BrinkError('E_STORAGE_READONLY', `${path} cannot be written: ${detail}`, { cause: error });
}
