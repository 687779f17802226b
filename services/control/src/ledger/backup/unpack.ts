import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream, mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { type BackupManifest, BackupManifestSchema, BrinkError } from '@brink/protocol';
import { extract } from 'tar-stream';

/** As tar-stream gives them: its own kind of stream, which is read like any other. */
type Entry = AsyncIterable<Buffer> & { header: { name: string; type: string } };

const MANIFEST = 'manifest.json';
const MANIFEST_BYTES_MAX = 64 * 1024 * 1024;
/** Everything that a backup may hold. */
const NAME = /^(ledger\.db|config\/[^/\\]{1,200}\.yaml|credentials\/devices\.json)$/;

/**
 * Unpacks a backup into an empty folder and compares every file with the manifest.
 * @throws BrinkError E_NOT_FOUND, E_BAD_REQUEST where it is none of Brink's, E_STORAGE_CORRUPT where a file differs
 */
export async function unpackBackup(file: string, into: string): Promise<BackupManifest> {
  const tar = extract();
  let manifest: BackupManifest | undefined;
  const found = new Set<string>();
  const reading = pipeline(createReadStream(file), tar);
  reading.catch(() => {});
  try {
    for await (const entry of tar as AsyncIterable<Entry>) {
      const { name, type } = entry.header;
      if (type !== 'file') throw new BrinkError('E_BAD_REQUEST', `${file}: "${clip(name)}" is no file; expected files`);
      if (manifest === undefined) manifest = await readManifest(file, name, entry);
      else {
        await unpackFile(file, manifest, { name, entry, into });
        found.add(name);
      }
    }
    await reading;
  } catch (reason) {
    throw unreadable(file, reason);
  }
  if (manifest === undefined)
    throw new BrinkError('E_BAD_REQUEST', `${file} holds no ${MANIFEST}; expected a backup of Brink`);
  const missing = manifest.files.filter(({ name }) => !found.has(name)).map(({ name }) => name);
  if (missing.length > 0)
    throw new BrinkError('E_STORAGE_CORRUPT', `${file} lacks ${missing.join(', ')}; it is cut off`);
  return manifest;
}

async function readManifest(file: string, name: string, entry: AsyncIterable<Buffer>): Promise<BackupManifest> {
  if (name !== MANIFEST)
    throw new BrinkError('E_BAD_REQUEST', `${file} begins with "${clip(name)}"; expected ${MANIFEST}`);
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of entry) {
    bytes += part.length;
    if (bytes > MANIFEST_BYTES_MAX)
      throw new BrinkError('E_TOO_LARGE', `${file}: ${MANIFEST} is over ${MANIFEST_BYTES_MAX} bytes`);
    parts.push(part);
  }
  const parsed = BackupManifestSchema.safeParse(JSON.parse(Buffer.concat(parts).toString('utf8')));
  if (parsed.success) return parsed.data;
  throw new BrinkError('E_BAD_REQUEST', `${file}: ${MANIFEST} is not one that this version of Brink reads`, {
    cause: parsed.error,
  });
}

async function unpackFile(
  file: string,
  manifest: BackupManifest,
  { name, entry, into }: { name: string; entry: AsyncIterable<Buffer>; into: string },
): Promise<void> {
  const listed = manifest.files.find((one) => one.name === name);
  if (listed === undefined || !NAME.test(name))
    throw new BrinkError(
      'E_BAD_REQUEST',
      `${file} holds "${clip(name)}", which is not in its manifest or has no place in a backup`,
    );
  const path = join(into, name);
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const hash = createHash('sha256');
  let bytes = 0;
  const measure = new Transform({
    transform(chunk: Buffer, _, done) {
      bytes += chunk.length;
      if (bytes > listed.bytes) return done(differs(file, name));
      hash.update(chunk);
      done(null, chunk);
    },
  });
  await pipeline(entry, measure, createWriteStream(path, { mode: 0o600, flags: 'wx' }));
  if (bytes !== listed.bytes || hash.digest('hex') !== listed.sha256) throw differs(file, name);
}

const differs = (file: string, name: string) =>
  new BrinkError('E_STORAGE_CORRUPT', `${file}: ${name} is not what its manifest says; the backup is damaged`);
const clip = (name: string) => name.slice(0, 100).replaceAll(/[^\x20-\x7e]/g, '?');

function unreadable(file: string, reason: unknown): BrinkError {
  if (reason instanceof BrinkError) return reason;
  if ((reason as NodeJS.ErrnoException).code === 'ENOENT')
    return new BrinkError('E_NOT_FOUND', `there is no file ${file}`);
  return new BrinkError('E_STORAGE_CORRUPT', `${file} cannot be read as a backup: ${BrinkError.from(reason).detail}`, {
    cause: reason,
  });
}
