import {
  createReadStream,
  createWriteStream,
  existsSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { type BackupManifest, BackupManifestSchema, BrinkError } from '@brink/protocol';
import { pack as createPack, type Pack } from 'tar-stream';
import manifest from '../../../package.json' with { type: 'json' };
import { readConfigFolder, readModelsFolder } from '../../configuration/folder.ts';
import { loadPublished } from '../revisions.ts';
import { openStoreForReading } from '../store.ts';
import { copyLedger, hashFile } from './copies.ts';
import type { Places } from './places.ts';

/** A file on its way into the tar. */
interface Part {
  readonly name: string;
  readonly path: string;
}

/**
 * Ledger, configuration, the list of models and the devices' credentials as one tar, its manifest first. May run beside
 * control: the ledger is copied by SQLite's backup API, the rest are files that are replaced whole.
 * @throws BrinkError E_NOT_FOUND where there is no ledger, E_CONFLICT where the file is there, E_STORAGE_FULL
 */
export async function writeBackup(file: string, places: Places, nowMs: number): Promise<BackupManifest> {
  if (!existsSync(join(places.data, 'ledger.db')))
    throw new BrinkError(
      'E_NOT_FOUND',
      `there is no ledger in ${places.data}; expected control's data folder (--data)`,
    );
  if (existsSync(file)) throw new BrinkError('E_CONFLICT', `${file} is there already; expected a new name`);
  // Beside the file: there is room for it, or the backup would not fit either.
  const staging = mkdtempSync(join(dirname(resolve(file)), '.brink-backup-'));
  try {
    const ledger = join(staging, 'ledger.db');
    const { schema, n } = await copyLedger(places.data, ledger);
    const parts = [{ name: 'ledger.db', path: ledger }, ...(await configParts(places)), ...credentialParts(places)];
    const written = BackupManifestSchema.parse({
      backup: 1,
      made_at: new Date(nowMs).toISOString(),
      brink: manifest.version,
      ...{ schema, n, site: siteOf(places.data) },
      files: parts.map(({ name, path }) => ({ name, bytes: statSync(path).size, sha256: hashFile(path) })),
      models: await listModels(places.models),
    });
    await writeTar(join(staging, 'backup.tar'), written, parts);
    renameSync(join(staging, 'backup.tar'), file);
    return written;
  } finally {
    rmSync(staging, { recursive: true, force: true });
  }
}

async function configParts({ config }: Places): Promise<Part[]> {
  const files = await readConfigFolder(config);
  return files.map(({ name }) => ({ name: `config/${name.slice(name.lastIndexOf('/') + 1)}`, path: name }));
}

function credentialParts({ devices }: Places): Part[] {
  if (devices === undefined || !existsSync(devices)) return [];
  return [{ name: 'credentials/devices.json', path: devices }];
}

function siteOf(data: string): string | null {
  const store = openStoreForReading(data);
  try {
    return loadPublished(store)?.configuration.site.name ?? null;
  } finally {
    store.close();
  }
}

/** Every version with the hashes of its files, weights included. */
export async function listModels(dir: string): Promise<BackupManifest['models']> {
  const { all } = await readModelsFolder(dir);
  return [...all].flatMap(([model, versions]) =>
    versions.map((version) => {
      const place = join(dir, model, String(version));
      const names = readdirSync(place, { withFileTypes: true }).filter((entry) => entry.isFile());
      const files = names
        .map(({ name }) => ({ name, bytes: statSync(join(place, name)).size, sha256: hashFile(join(place, name)) }))
        .toSorted((a, b) => (a.name < b.name ? -1 : 1));
      return { model, version, files };
    }),
  );
}

async function writeTar(path: string, written: BackupManifest, parts: readonly Part[]): Promise<void> {
  const tar = createPack();
  // Hashes of passwords, and who was seen where: nobody else's business.
  const done = pipeline(tar, createWriteStream(path, { mode: 0o600 }));
  const date = new Date(written.made_at);
  const add = async (name: string, size: number, bytes: Readable) =>
    pipeline(bytes, entryOf(tar, { name, size, mtime: date }));
  const text = Buffer.from(`${JSON.stringify(written, null, 2)}\n`);
  const adding = async () => {
    await add('manifest.json', text.length, Readable.from([text]));
    for (const [index, { name, path: from }] of parts.entries()) {
      const size = written.files[index]?.bytes ?? 0;
      // A file that grew since would break the tar; what is there beyond is not in the manifest.
      await add(name, size, size === 0 ? Readable.from([]) : createReadStream(from, { end: size - 1 }));
    }
    tar.finalize();
  };
  await Promise.all([done, adding()]);
  const handle = await open(path, 'r');
  await handle.sync();
  await handle.close();
}

const entryOf = (tar: Pack, header: { name: string; size: number; mtime: Date }) =>
  tar.entry({ ...header, mode: 0o600, type: 'file' });
