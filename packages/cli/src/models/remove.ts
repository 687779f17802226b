import { randomBytes } from 'node:crypto';
import { rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { BrinkError } from '@brink/protocol';
import { checkModelsDir, REMOVING, rmdirIfEmpty, storageError, syncFolder, versionsOf } from './store.ts';

/**
 * Takes versions out of the models folder: each is renamed first, so that nobody sees half of it. A Brink that runs ends it when it
 * has answered what it has.
 * @param version undefined: all of them @returns the versions that were removed
 * @throws BrinkError E_NOT_FOUND, E_STORAGE_READONLY
 */
export async function removeModel(modelsDir: string, name: string, version: number | undefined): Promise<number[]> {
  await checkModelsDir(modelsDir);
  const there = await versionsOf(modelsDir, name);
  const versions = version === undefined ? there : there.filter((one) => one === version);
  if (versions.length === 0) {
    const given = version === undefined ? `model ${name}` : `version ${version} of ${name}`;
    const has = there.length === 0 ? '' : `; there is ${there.join(', ')}`;
    throw new BrinkError('E_NOT_FOUND', `${modelsDir} has no ${given}${has}`);
  }
  const folder = join(modelsDir, name);
  try {
    for (const one of versions) {
      const away = join(folder, `${REMOVING}${one}-${randomBytes(6).toString('hex')}`);
      await rename(join(folder, String(one)), away);
      await syncFolder(folder);
      await rm(away, { recursive: true, force: true });
    }
    await rmdirIfEmpty(folder);
  } catch (reason) {
    throw storageError(reason, modelsDir);
  }
  return versions;
}
