import { mkdir, open, readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { BrinkError } from '@brink/protocol';
import { type Extract, extract, type Header } from 'tar-stream';

// An archive comes from outside: nothing in it decides where bytes go but names that were looked at, and nothing is anything but a file.

/** Files and folders. */
const ENTRIES_MAX = 500;
const PATH_CHARACTERS_MAX = 200;
const DEPTH_MAX = 6;
/** A name as it can stand on every file system: no control characters, nothing that means something to a shell, Windows or macOS. */
const SEGMENT = /^[^\p{C}\\/:*?"<>|]{1,100}$/u;

/**
 * Unpacks a tar (ustar, pax, GNU) of one model into a folder that is there and empty.
 * @returns the version's folder in it: where model.json or model.onnx lies, or the only .onnx file
 * @throws BrinkError E_ARCHIVE (damaged; a link, a device, a path that leads out; no model or more than one), E_ENCODING (compressed),
 * E_EMPTY, E_TOO_LARGE, E_STORAGE_FULL
 */
export async function unpackModel(
  source: AsyncIterable<Uint8Array>,
  folder: string,
  bytesMax: number,
): Promise<string> {
  const tar = extract();
  const feeding = feed(tar, plain(source, bytesMax));
  const files = new Set<string>();
  let entries = 0;
  try {
    for await (const entry of tar) {
      entries += 1;
      if (entries > ENTRIES_MAX) throw new BrinkError('E_ARCHIVE', `more than ${ENTRIES_MAX} files and folders`);
      const path = pathOf(entry.header);
      if (path === undefined) entry.resume();
      else await write(entry, path, folder, files);
    }
  } catch (reason) {
    tar.destroy();
    throw refusal((await feeding) ?? reason);
  }
  const failed = await feeding;
  if (failed !== undefined) throw refusal(failed);
  if (files.size === 0) throw new BrinkError('E_ARCHIVE', 'found no file; expected model.onnx and what belongs to it');
  return await modelIn(folder);
}

/** @returns what went wrong with the source, where something did. Never rejects. */
async function feed(tar: Extract, source: AsyncIterable<Uint8Array>): Promise<unknown> {
  let goOn = () => {};
  tar.on('drain', () => goOn()).on('close', () => goOn());
  try {
    for await (const part of source) {
      if (tar.destroying) return undefined;
      const turn = new Promise<void>((resolve) => {
        goOn = resolve;
      });
      if (!tar.write(part)) await turn;
    }
    tar.end(null);
    return undefined;
  } catch (reason) {
    tar.destroy();
    return reason;
  }
}

/** What comes, while it is not too much and looks like a tar. */
async function* plain(source: AsyncIterable<Uint8Array>, bytesMax: number): AsyncGenerator<Uint8Array> {
  let bytes = 0;
  for await (const part of source) {
    if (bytes === 0) refuseCompressed(part);
    bytes += part.byteLength;
    if (bytes > bytesMax) throw new BrinkError('E_TOO_LARGE', `more than ${bytesMax} bytes`);
    yield part;
  }
  if (bytes === 0) throw new BrinkError('E_EMPTY', 'found nothing; expected a tar');
}

// First bytes: RFC 1952; PKWARE's APPNOTE; RFC 8878; https://tukaani.org/xz/xz-file-format.txt; bzip2.
const MAGIC: readonly [string, string][] = [
  ['1f8b', 'gzip'],
  ['504b', 'zip'],
  ['28b52ffd', 'zstd'],
  ['fd377a58', 'xz'],
  ['425a68', 'bzip2'],
];

function refuseCompressed(part: Uint8Array): void {
  const start = Buffer.from(part.subarray(0, 4)).toString('hex');
  const found = MAGIC.find(([magic]) => start.startsWith(magic))?.[1];
  if (found !== undefined) throw new BrinkError('E_ENCODING', `found ${found}; expected a plain tar, not compressed`);
}

/** Where an entry goes; undefined: it is of no use (a folder, what macOS adds). @throws BrinkError E_ARCHIVE */
function pathOf({ name, type }: Header): string | undefined {
  const shown = JSON.stringify(name.slice(0, PATH_CHARACTERS_MAX));
  const refuse = (found: string) =>
    new BrinkError('E_ARCHIVE', `${shown}: found ${found}; expected plain files inside`);
  if (type !== 'file' && type !== 'contiguous-file' && type !== 'directory') throw refuse(`a ${type}`);
  if (name.length > PATH_CHARACTERS_MAX) throw refuse(`a path of ${name.length} characters`);
  if (name.startsWith('/')) throw refuse('an absolute path');
  const segments = name.split('/').filter((segment) => segment !== '' && segment !== '.');
  if (segments.includes('..')) throw refuse('a path that leads out');
  if (segments.length > DEPTH_MAX) throw refuse(`${segments.length} folders`);
  if (segments.some((segment) => !SEGMENT.test(segment)))
    throw refuse('a name with characters that no file should have');
  if (type === 'directory' || segments.some((segment) => segment.startsWith('._') || segment === '.DS_Store')) {
    return undefined;
  }
  if (segments.length === 0 || segments.some((segment) => segment.startsWith('.'))) throw refuse('a hidden file');
  return segments.join('/');
}

async function write(entry: AsyncIterable<unknown>, path: string, folder: string, files: Set<string>): Promise<void> {
  // Some file systems do not tell upper from lower case: there the second one would be the first.
  const key = path.toLowerCase();
  if (files.has(key))
    throw new BrinkError('E_ARCHIVE', `${JSON.stringify(path)}: found it twice; expected each file once`);
  files.add(key);
  const to = join(folder, path);
  await mkdir(dirname(to), { recursive: true });
  const output = await open(to, 'wx', 0o644);
  try {
    for await (const part of entry) await output.write(part as Uint8Array);
  } finally {
    await output.close();
  }
}

async function modelIn(folder: string): Promise<string> {
  const found = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = found.filter((entry) => entry.isFile());
  const folders = new Set(
    files.filter(({ name }) => name === 'model.json' || name === 'model.onnx').map(({ parentPath }) => parentPath),
  );
  const onnx = files.filter(({ name }) => name.endsWith('.onnx'));
  const [only] = onnx;
  if (folders.size === 0 && onnx.length === 1 && only !== undefined) return join(only.parentPath, only.name);
  const [first, second] = folders;
  if (first !== undefined && second === undefined) return first;
  const what = first === undefined ? 'neither model.json nor model.onnx' : `${folders.size} folders with a model`;
  throw new BrinkError(
    'E_ARCHIVE',
    `found ${what}; expected the files of one version: model.onnx, model.json, labels.txt …`,
  );
}

function refusal(reason: unknown): BrinkError {
  if (reason instanceof BrinkError) return reason;
  const { code, message } = reason as NodeJS.ErrnoException;
  if (code === 'ENOSPC' || code === 'EDQUOT') return new BrinkError('E_STORAGE_FULL', `no room to unpack: ${message}`);
  if (code === 'EROFS' || code === 'EACCES') return new BrinkError('E_STORAGE_READONLY', `cannot unpack: ${message}`);
  // A file where a folder has to be, or the other way round.
  return new BrinkError('E_ARCHIVE', `found ${message}; expected a tar`, { cause: reason });
}
