import { randomBytes } from 'node:crypto';
import { mkdir, open, readdir, readFile, realpath, rename, rm, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { BrinkError } from '@brink/protocol';
import { z } from 'zod';
import type { FileChange } from './documents.ts';

// Writes files of the configuration folder so that a power cut leaves all of the change or none. One file is replaced by rename.
// Several are first written whole into a folder beside them: once that folder has its name, whoever comes next finishes the work.
// Names that begin with a dot are not read as configuration.

const PENDING = '.pending';
const STAGED = '.staged-';

const ManifestSchema = z.array(z.strictObject({ name: z.string(), text: z.string().nullable() }));

/**
 * All of the changes or, before the point from which they are finished, none.
 * @throws BrinkError E_CONFLICT (a file is no longer what it was when it was read), E_STORAGE_READONLY, E_STORAGE_FULL
 */
export async function writeChanges(dir: string, changes: readonly FileChange[]): Promise<void> {
  try {
    for (const change of changes) await checkUnchanged(change);
    const [first, ...more] = changes;
    if (first === undefined) return;
    if (more.length === 0) await write(first.name, first.after);
    else {
      await stage(dir, changes);
      await finishPending(dir);
    }
  } catch (reason) {
    throw refusal(reason, dir);
  }
}

/** Finishes what a power cut interrupted, and removes what it left. @returns whether there was anything to finish */
export async function finishPending(dir: string): Promise<boolean> {
  const names: string[] = await readdir(dir).catch(() => []);
  for (const name of names) if (name.startsWith(STAGED)) await rm(join(dir, name), { recursive: true, force: true });
  if (!names.includes(PENDING)) return false;
  const text = await readFile(join(dir, PENDING, 'changes.json'), 'utf8');
  for (const change of ManifestSchema.parse(JSON.parse(text))) {
    await write(join(dir, basename(change.name)), change.text ?? undefined);
  }
  await rm(join(dir, PENDING), { recursive: true, force: true });
  await syncFolder(dir);
  return true;
}

async function stage(dir: string, changes: readonly FileChange[]): Promise<void> {
  const staged = join(dir, STAGED + randomBytes(6).toString('hex'));
  try {
    await mkdir(staged);
    const manifest = changes.map(({ name, after }) => ({ name: basename(name), text: after ?? null }));
    await writeSynced(join(staged, 'changes.json'), JSON.stringify(manifest), 0o600);
    await syncFolder(staged);
    await rename(staged, join(dir, PENDING));
    await syncFolder(dir);
  } catch (reason) {
    await rm(staged, { recursive: true, force: true });
    throw reason;
  }
}

async function checkUnchanged({ name, before }: FileChange): Promise<void> {
  const now = await readFile(name, 'utf8').catch(() => undefined);
  if (now === before) return;
  throw new BrinkError('E_CONFLICT', `${name} was changed by somebody else meanwhile; try again`);
}

/** Replaces or, with undefined, removes. A link stays a link. */
async function write(name: string, text: string | undefined): Promise<void> {
  if (text === undefined) {
    await rm(name, { force: true });
    await syncFolder(dirname(name));
    return;
  }
  const target = await realpath(name).catch(() => name);
  const mode = (await stat(target).catch(() => undefined))?.mode ?? 0o644;
  const temporary = join(dirname(target), `.${randomBytes(6).toString('hex')}.tmp`);
  try {
    await writeSynced(temporary, text, mode);
    await rename(temporary, target);
  } catch (reason) {
    await rm(temporary, { force: true });
    throw reason;
  }
  await syncFolder(dirname(target));
}

async function writeSynced(path: string, text: string, mode: number): Promise<void> {
  const file = await open(path, 'wx', mode & 0o777);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/** Keeps a copy of files that are about to be replaced whole, in case they held an edit that was never active. One copy, the last. */
export async function keepReplaced(dir: string, changes: readonly FileChange[]): Promise<void> {
  const folder = join(dir, '.replaced');
  await rm(folder, { recursive: true, force: true });
  const old = changes.filter(({ before }) => before !== undefined);
  if (old.length === 0) return;
  await mkdir(folder);
  for (const { name, before = '' } of old) await writeFile(join(folder, basename(name)), before, { mode: 0o600 });
}

function refusal(reason: unknown, dir: string): BrinkError {
  if (reason instanceof BrinkError) return reason;
  const { detail } = BrinkError.from(reason);
  const full = ['ENOSPC', 'EDQUOT'].includes((reason as NodeJS.ErrnoException).code ?? '');
  return new BrinkError(full ? 'E_STORAGE_FULL' : 'E_STORAGE_READONLY', `${dir} cannot be written: ${detail}`, {
    cause: reason,
  });
}
