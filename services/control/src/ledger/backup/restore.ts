import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { copyFile, readFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { type BackupManifest, BrinkError } from '@brink/protocol';
import { checkRules } from '@brink/rules';
import { openDataFolder } from '@brink/runtime';
import { readModels } from '../../configuration/folder.ts';
import { formatProblem } from '../../configuration/problems.ts';
import { validateConfiguration } from '../../configuration/validate.ts';
import { markRestored } from '../integrity/restored.ts';
import { MIGRATIONS } from '../migrations.ts';
import { openStore } from '../store.ts';
import { listModels } from './pack.ts';
import type { Places } from './places.ts';
import { unpackBackup } from './unpack.ts';

export interface RestoreDone {
  readonly manifest: BackupManifest;
  /** Where what was there before is kept. */
  readonly replaced: string;
  /** Models that the backup knew and that are not here as they were. */
  readonly models: readonly string[];
}

const LEDGER_FILES = ['ledger.db', 'ledger.db-wal', 'ledger.db-shm', 'ledger.sums'];

/**
 * Puts a backup where everything was; what was there moves to replaced/ in the data folder. All of it is unpacked, compared
 * and checked before anything is moved.
 * @param force takes a configuration whose models are not here
 * @throws BrinkError E_LOCKED while control runs, E_STORAGE_CORRUPT, E_STORAGE_NEWER, E_CONFIG where it does not fit
 */
export async function restoreBackup(
  file: string,
  places: Places,
  o: { nowMs: number; force: boolean },
): Promise<RestoreDone> {
  const folder = await openDataFolder(places.data);
  const staging = mkdtempSync(join(places.data, '.restore-'));
  try {
    const manifest = await unpackBackup(file, staging);
    if (manifest.schema > MIGRATIONS.length) {
      const detail = `${file} holds a ledger of schema ${manifest.schema}, this program knows up to ${MIGRATIONS.length}; expected a newer Brink`;
      throw new BrinkError('E_STORAGE_NEWER', detail);
    }
    if (!existsSync(join(staging, 'ledger.db'))) throw new BrinkError('E_BAD_REQUEST', `${file} holds no ledger.db`);
    await checkLedger(staging);
    if (!o.force) await checkConfig(staging, places);
    if (places.devices === undefined && existsSync(join(staging, 'credentials'))) {
      throw new BrinkError(
        'E_CONFLICT',
        `${file} holds credentials of the embedded broker; expected --devices, the file that they belong in`,
      );
    }
    const models = await missingModels(manifest, places.models);
    const replaced = await swap(staging, places, o.nowMs);
    markRestored(places.data, {
      from: basename(file),
      made_at: manifest.made_at,
      restored_at: new Date(o.nowMs).toISOString(),
    });
    return { manifest, replaced, models };
  } finally {
    rmSync(staging, { recursive: true, force: true });
    await folder.release();
  }
}

/** Opens a copy of it, and so brings it to this program's schema before anything is moved. */
async function checkLedger(staging: string): Promise<void> {
  const trial = join(staging, 'trial');
  mkdirSync(trial);
  await copyFile(join(staging, 'ledger.db'), join(trial, 'ledger.db'));
  const store = await openStore(trial, MIGRATIONS, 'whole');
  store.close();
  rmSync(trial, { recursive: true });
}

async function checkConfig(staging: string, { config, models }: Places): Promise<void> {
  const place = join(staging, 'config');
  const names = existsSync(place) ? readdirSync(place).toSorted() : [];
  const files = await Promise.all(
    names.map(async (name) => ({ name: join(config, name), text: await readFile(join(place, name), 'utf8') })),
  );
  const validation = validateConfiguration(files, await readModels(models), checkRules);
  if (validation.ok) return;
  const why = validation.problems.map(formatProblem).join('\n');
  throw new BrinkError(
    'E_CONFIG',
    `the configuration of the backup does not fit here (--force takes it all the same):\n${why}`,
  );
}

async function missingModels(manifest: BackupManifest, dir: string): Promise<string[]> {
  const here = new Map(
    (await listModels(dir)).map((one) => [`${one.model}@${one.version}`, JSON.stringify(one.files)]),
  );
  return manifest.models.flatMap(({ model, version, files }) => {
    const name = `${model}@${version}`;
    const there = here.get(name);
    if (there === JSON.stringify(files)) return [];
    return [there === undefined ? `${name} is not here` : `${name} has other files here`];
  });
}

/** @returns where what was there before is now */
async function swap(staging: string, places: Places, nowMs: number): Promise<string> {
  const stamp = new Date(nowMs).toISOString().replaceAll(/[-:.]/g, '');
  const replaced = join(places.data, 'replaced', stamp);
  mkdirSync(join(replaced, 'config'), { recursive: true, mode: 0o700 });
  // A configuration without a ledger starts; a ledger goes last, so that a restore that was cut off is seen as none.
  mkdirSync(places.config, { recursive: true });
  for (const name of yamlIn(places.config)) await copyFile(join(places.config, name), join(replaced, 'config', name));
  for (const name of yamlIn(join(staging, 'config')))
    await place(join(staging, 'config', name), join(places.config, name));
  const wanted = new Set(yamlIn(join(staging, 'config')));
  for (const name of yamlIn(places.config)) if (!wanted.has(name)) rmSync(join(places.config, name));
  const credentials = join(staging, 'credentials/devices.json');
  if (places.devices !== undefined && existsSync(credentials)) {
    if (existsSync(places.devices)) await copyFile(places.devices, join(replaced, 'devices.json'));
    mkdirSync(dirname(places.devices), { recursive: true, mode: 0o700 });
    await place(credentials, places.devices);
  }
  // ledger.head stays: it knows which numbers were given.
  for (const name of LEDGER_FILES) {
    if (existsSync(join(places.data, name))) renameSync(join(places.data, name), join(replaced, name));
  }
  renameSync(join(staging, 'ledger.db'), join(places.data, 'ledger.db'));
  return replaced;
}

const yamlIn = (dir: string) => (existsSync(dir) ? readdirSync(dir).filter((name) => name.endsWith('.yaml')) : []);

/** Whole or not at all, also where the folder is on another disk. */
async function place(from: string, to: string): Promise<void> {
  const part = `${to}.part`;
  await copyFile(from, part);
  renameSync(part, to);
}
