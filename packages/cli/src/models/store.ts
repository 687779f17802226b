import { lstat, open, readdir, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { BrinkError, isName } from '@brink/protocol';

// The models folder: `<name>/<version>/`. What begins with a dot is on its way in or out, and no service looks at it.

export const ADDING = '.adding-';
export const REMOVING = '.removing-';
/** A copy that is still going on was begun later than this, or is of no use any more. */
const LEFTOVER_MS_MIN = 60 * 60 * 1000;

/** @throws BrinkError E_NOT_FOUND */
export async function checkModelsDir(dir: string): Promise<void> {
  if ((await lstat(dir).catch(() => undefined))?.isDirectory() === true) return;
  throw new BrinkError(
    'E_NOT_FOUND',
    `${dir} is no folder; expected the models folder (--models-dir, BRINK_MODELS_DIR)`,
  );
}

/** Versions that are there, lowest first. */
export async function versionsOf(dir: string, name: string): Promise<number[]> {
  const entries = await readdir(join(dir, name), { withFileTypes: true }).catch(() => []);
  return entries
    .filter((entry) => entry.isDirectory() && /^[1-9]\d{0,8}$/.test(entry.name))
    .map((entry) => Number(entry.name))
    .sort((a, b) => a - b);
}

/** Names under which a model lies without a folder of its version: no service sees it. */
export async function withoutVersion(dir: string): Promise<string[]> {
  const entries = await readdir(dir, { withFileTypes: true }).catch(() => []);
  const found: string[] = [];
  for (const entry of entries) {
    if (!entry.isDirectory() || !isName(entry.name)) continue;
    const files: string[] = await readdir(join(dir, entry.name)).catch(() => []);
    if (files.includes('model.onnx') || files.includes('model.json')) found.push(entry.name);
  }
  return found;
}

/** What to do about one of them. */
export const belongs = (dir: string, name: string) =>
  `${join(dir, name)} is not seen: its files belong in ${join(dir, name, '1')}/ (models/<name>/<version>/)`;

/** Bytes of everything below a folder, links not followed. */
export async function bytesBelow(dir: string): Promise<number> {
  let bytes = 0;
  for (const entry of await readdir(dir, { withFileTypes: true }).catch(() => [])) {
    const path = join(dir, entry.name);
    if (entry.isDirectory()) bytes += await bytesBelow(path);
    else bytes += (await lstat(path).catch(() => undefined))?.size ?? 0;
  }
  return bytes;
}

/** Removes what copies and removals left that were cut off. @returns their folders */
export async function sweepLeftovers(dir: string, nowMs: number): Promise<string[]> {
  const swept: string[] = [];
  for (const { name } of await readdir(dir, { withFileTypes: true })) {
    if (!isName(name)) continue;
    for (const entry of await readdir(join(dir, name)).catch(() => [])) {
      if (!entry.startsWith(ADDING) && !entry.startsWith(REMOVING)) continue;
      const path = join(dir, name, entry);
      const found = await lstat(path).catch(() => undefined);
      if (found === undefined || nowMs - found.mtimeMs < LEFTOVER_MS_MIN) continue;
      await rm(path, { recursive: true, force: true });
      swept.push(path);
    }
    await rmdirIfEmpty(join(dir, name));
  }
  return swept;
}

export async function rmdirIfEmpty(path: string): Promise<void> {
  await rmdir(path).catch(() => {});
}

/** So that a name in a folder is there after the power went. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/** What the file system says, in words of ours. */
export function storageError(reason: unknown, dir: string): BrinkError {
  const code = (reason as NodeJS.ErrnoException).code ?? '';
  const { detail } = BrinkError.from(reason);
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new BrinkError('E_STORAGE_FULL', `${dir}: ${detail}`, { cause: reason });
  }
  if (['EROFS', 'EACCES', 'EPERM'].includes(code)) {
    return new BrinkError('E_STORAGE_READONLY', `${dir} cannot be written: ${detail}`, { cause: reason });
  }
  return BrinkError.from(reason);
}
