import { createHash } from 'node:crypto';
import { lstat, readFile, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { BrinkError, isName } from '@brink/protocol';

/** What was given to `check` or `add`: a version's folder, its model.json, or an ONNX file somewhere. */
export interface ModelSource {
  readonly folder: string;
  /** Where the graph is: model.onnx of the folder, or the file that was given. */
  readonly onnxFile: string;
  readonly onnx: Buffer | undefined;
  /** model.json, where the folder has one and is what was given. */
  readonly passportText: string | undefined;
  /** as the folders say it: `models/<name>/<version>` */
  readonly place: { readonly name?: string; readonly version?: number };
}

/** inference takes no larger ones */
const FILE_BYTES_MAX = 2 ** 31;

/** @throws BrinkError E_NOT_FOUND where there is neither a model nor a passport, E_TOO_LARGE */
export async function openSource(given: string): Promise<ModelSource> {
  const path = resolve(given);
  const found = await lstat(path).catch(() => undefined);
  if (found === undefined) {
    throw new BrinkError('E_NOT_FOUND', `${path} does not exist; expected models/<name>/<version>/, or an .onnx file`);
  }
  const isFile = !found.isDirectory();
  if (isFile && basename(path) !== 'model.json' && basename(path) !== 'model.onnx') {
    return {
      folder: dirname(path),
      onnxFile: path,
      onnx: await bytesOf(path),
      passportText: undefined,
      place: named(basename(path).replace(/\.[^.]*$/, '')),
    };
  }
  const folder = isFile ? dirname(path) : path;
  const onnxFile = join(folder, 'model.onnx');
  const onnx = await bytesOf(onnxFile);
  const passportText = (await bytesOf(join(folder, 'model.json')))?.toString('utf8');
  if (onnx === undefined && passportText === undefined) {
    throw new BrinkError(
      'E_NOT_FOUND',
      `${folder} has no model.onnx and no model.json; expected models/<name>/<version>/, or an .onnx file`,
    );
  }
  return { folder, onnxFile, onnx, passportText, place: placeOf(folder) };
}

function placeOf(folder: string): ModelSource['place'] {
  const version = basename(folder);
  // As repositories of Hugging Face are laid out.
  if (version === 'onnx') return named(basename(dirname(folder)));
  if (!/^[1-9]\d{0,8}$/.test(version)) return named(version);
  return { ...named(basename(dirname(folder))), version: Number(version) };
}

/** `YOLO11n_best` is called `yolo11n-best` here; other names have to be given. */
function named(text: string): { name?: string } {
  const name = text
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .replaceAll(/^-|-$/g, '');
  return isName(name) ? { name } : {};
}

/** @returns undefined where there is no such file @throws BrinkError E_NOT_FOUND where it cannot be read, E_TOO_LARGE */
export async function bytesOf(file: string): Promise<Buffer | undefined> {
  try {
    const { size } = await lstat(file);
    if (size > FILE_BYTES_MAX)
      throw new BrinkError('E_TOO_LARGE', `${file} has ${size} bytes; at most ${FILE_BYTES_MAX}`);
    return await readFile(file);
  } catch (error) {
    if (error instanceof BrinkError) throw error;
    if (['ENOENT', 'ENOTDIR', 'EISDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw new BrinkError('E_NOT_FOUND', `${file} cannot be read: ${BrinkError.from(error).detail}`, { cause: error });
  }
}

/** Where a file that says something about the model lies: beside it, or above a folder called `onnx`, as on Hugging Face. */
export async function beside(folder: string, file: string): Promise<string> {
  const here = join(folder, file);
  if (basename(folder) !== 'onnx' || (await stat(here).catch(() => undefined)) !== undefined) return here;
  return join(dirname(folder), file);
}

/** undefined where there is none, or no JSON: then it is none of the files that are of use. */
export async function jsonOf(folder: string, file: string): Promise<unknown> {
  const bytes = await bytesOf(await beside(folder, file));
  try {
    return bytes === undefined ? undefined : JSON.parse(bytes.toString('utf8'));
  } catch {
    return undefined;
  }
}

export const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

export const fileLine = (path: string, bytes: Uint8Array) =>
  `{ "path": "${path}", "sha256": "${sha256(bytes)}", "bytes": ${bytes.length} }`;
