import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { lstat, open, readdir, realpath } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { BrinkError, isChain, isName, type Passport, PassportSchema, passportProblems } from '@brink/protocol';
import { z } from 'zod';

/** One `models/<name>/<version>/`. */
export interface VersionFolder {
  readonly name: string;
  readonly version: number;
  readonly path: string;
}

export interface ReadPassport {
  readonly passport: Passport;
  /** of the bytes of model.json; what a unit says it was prepared for */
  readonly sha256: string;
}

const PASSPORT_BYTES_MAX = 1024 * 1024;
const FILE_BYTES_MAX = 2 ** 31;

/** What a folder without a passport may have beside its model: names of classes, and what Hugging Face puts there. */
const BESIDE = ['labels.txt', 'config.json', 'preprocessor_config.json'] as const;
const BESIDE_BYTES_MAX = 4 * 1024 * 1024;
const MODEL = 'model.onnx';

/** Every version folder that has a passport or a model, by name, then version. Others (half copied, `train`) are none. @param only of this name */
export async function listVersions(dir: string, only?: string): Promise<VersionFolder[]> {
  const found: VersionFolder[] = [];
  for (const name of only === undefined ? await subfolders(dir) : [only]) {
    if (!isName(name)) continue;
    for (const version of await subfolders(join(dir, name))) {
      if (!/^[1-9]\d{0,8}$/.test(version)) continue;
      const path = join(dir, name, version);
      if (await isVersion(path)) found.push({ name, version: Number(version), path });
    }
  }
  return found.sort((a, b) => (a.name === b.name ? a.version - b.version : a.name < b.name ? -1 : 1));
}

/** A chain of other models has no graph of its own: whoever has the frames runs its steps. */
async function isVersion(path: string): Promise<boolean> {
  if (await isThere(path, MODEL)) return true;
  if (!(await isThere(path, 'model.json'))) return false;
  const bytes = await readPlainFile(join(path, 'model.json'), PASSPORT_BYTES_MAX, 'E_PASSPORT').catch(() => undefined);
  try {
    return !isChain(JSON.parse(bytes?.toString('utf8') ?? 'null'));
  } catch {
    return true;
  }
}

/** The stamp of a folder that is not there. */
export const GONE = 'gone';
/** Files that are looked at for a stamp; a passport that lists more is compared by its first ones. */
const STAMP_FILES_MAX = 100;
const ListSchema = z.object({
  files: z.array(z.object({ path: z.string() })).catch([]),
  golden: z.array(z.object({ input: z.string() })).catch([]),
});

/** How the stamp of a folder without a passport begins. */
const BARE = 'bare';
export const isBare = (stamp: string) => stamp.startsWith(BARE);

/**
 * Another stamp: the passport, or a file that it lists, was written again; without a passport, the model or what lies beside it.
 * Reads nothing but the passport.
 * @returns GONE where there is no folder, '' where it has neither a readable passport nor a model without one
 */
export async function stampOf({ path }: VersionFolder): Promise<string> {
  const passport = await readPlainFile(join(path, 'model.json'), PASSPORT_BYTES_MAX, 'E_PASSPORT').catch(
    () => undefined,
  );
  if (passport !== undefined) return stampOfFiles(path, sha256(passport), ['model.json', ...listedIn(passport)]);
  const bare = !(await isThere(path, 'model.json')) && (await isThere(path, MODEL));
  if (bare) return stampOfFiles(path, BARE, [MODEL, ...BESIDE]);
  return lstat(path).then(
    () => '',
    (reason: NodeJS.ErrnoException) => (reason.code === 'ENOENT' ? GONE : ''),
  );
}

async function stampOfFiles(path: string, first: string, files: readonly string[]): Promise<string> {
  const parts = [first];
  for (const file of files.slice(0, STAMP_FILES_MAX)) {
    const stat = await lstat(join(path, file)).catch(() => undefined);
    parts.push(stat === undefined ? '-' : `${stat.ino} ${stat.size} ${stat.mtimeMs}`);
  }
  return parts.join('\n');
}

function isThere(path: string, file: string): Promise<boolean> {
  return lstat(join(path, file)).then(
    () => true,
    () => false,
  );
}

/**
 * A folder without a passport: its model, and what is known of it beside it. Nothing says how the files must be, so they are
 * read while they rest.
 * @returns by name; `model.onnx` is always there @throws BrinkError E_MODEL_PARSE where a file changes meanwhile, E_PASSPORT (a
 * link, not a plain file)
 */
export async function readBare(folder: VersionFolder): Promise<ReadonlyMap<string, Buffer>> {
  const before = await stampOf(folder);
  const files = new Map([[MODEL, await readInside(folder, MODEL, 'E_PASSPORT')]]);
  for (const name of BESIDE) {
    const file = join(folder.path, name);
    if (await isThere(folder.path, name)) files.set(name, await readPlainFile(file, BESIDE_BYTES_MAX, 'E_PASSPORT'));
  }
  if ((await stampOf(folder)) !== before || !isBare(before)) {
    throw new BrinkError('E_MODEL_PARSE', `${folder.path} is being written; expected files that rest`);
  }
  return files;
}

/** @throws BrinkError E_PASSPORT (not there, a link, not a plain file) */
export function readModelFile(folder: VersionFolder): Promise<Buffer> {
  return readInside(folder, MODEL, 'E_PASSPORT');
}

/** Of a passport that may be half written, or wrong. */
function listedIn(passport: Buffer): string[] {
  try {
    const { files, golden } = ListSchema.parse(JSON.parse(passport.toString('utf8')));
    return [...files.map(({ path }) => path), ...golden.map(({ input }) => input)];
  } catch {
    return [];
  }
}

/** @throws BrinkError E_PASSPORT naming the file, the path in it, what was found and what was expected */
export async function readPassport(folder: VersionFolder): Promise<ReadPassport> {
  const file = join(folder.path, 'model.json');
  const bytes = await readPlainFile(file, PASSPORT_BYTES_MAX, 'E_PASSPORT');
  let json: unknown;
  try {
    json = JSON.parse(bytes.toString('utf8'));
  } catch (reason) {
    throw new BrinkError('E_PASSPORT', `${file}: ${BrinkError.from(reason).detail}; expected JSON`, { cause: reason });
  }
  const parsed = PassportSchema.safeParse(json);
  if (!parsed.success) {
    const problems = passportProblems(parsed.error).map(
      ({ path, message }) => `${z.core.toDotPath(path) || '(top)'}: ${message}`,
    );
    throw new BrinkError('E_PASSPORT', `${file}: ${problems.join('; ')}`);
  }
  const passport = parsed.data;
  if (passport.name !== folder.name || passport.version !== folder.version) {
    throw new BrinkError(
      'E_PASSPORT',
      `${file}: name, version are "${passport.name}", ${passport.version}; expected those of the folder, "${folder.name}", ${folder.version}`,
    );
  }
  return { passport, sha256: sha256(bytes) };
}

/**
 * Reads every file that the passport lists, once: what was hashed is what is handed on.
 * @returns by path @throws BrinkError E_MODEL_HASH, E_PASSPORT (not there, a link, not a plain file)
 */
export async function readFiles(folder: VersionFolder, passport: Passport): Promise<ReadonlyMap<string, Buffer>> {
  const files = new Map<string, Buffer>();
  for (const { path, sha256: expected, bytes } of passport.files) {
    const file = join(folder.path, path);
    const content = await readInside(folder, path, 'E_PASSPORT');
    if (bytes !== undefined && bytes !== content.byteLength) {
      throw new BrinkError('E_MODEL_HASH', `${file} has ${content.byteLength} bytes; its passport says ${bytes}`);
    }
    const given = sha256(content);
    if (given !== expected)
      throw new BrinkError('E_MODEL_HASH', `${file} has sha256 ${given}; its passport says ${expected}`);
    files.set(path, content);
  }
  return files;
}

/** A golden input: listed in the passport or not, it is a plain file in the folder. */
export function readGolden(folder: VersionFolder, path: string): Promise<Buffer> {
  return readInside(folder, path, 'E_MODEL_GOLDEN');
}

/** In hex. */
export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

type Refusal = 'E_PASSPORT' | 'E_MODEL_GOLDEN';

/** Follows no link on the way: the folder of a model refers to nothing outside of it. */
async function readInside(folder: VersionFolder, path: string, code: Refusal): Promise<Buffer> {
  const file = join(folder.path, path);
  const parent = await realpath(dirname(file)).catch((reason: unknown) => {
    throw new BrinkError(code, `${file}: ${BrinkError.from(reason).detail}`, { cause: reason });
  });
  if (parent !== dirname(join(await realpath(folder.path), path))) {
    throw new BrinkError(code, `${file}: a folder on the way is a symbolic link; expected a plain file`);
  }
  return readPlainFile(file, FILE_BYTES_MAX, code);
}

async function readPlainFile(path: string, bytesMax: number, code: Refusal): Promise<Buffer> {
  const refuse = (detail: string, cause?: unknown) =>
    new BrinkError(code, `${path}: ${detail}; expected a plain file`, { cause });
  // NONBLOCK, or opening a pipe would wait for its writer for ever.
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch(
    (reason: NodeJS.ErrnoException) => {
      throw refuse(reason.code === 'ELOOP' ? 'is a symbolic link' : reason.message, reason);
    },
  );
  try {
    const stat = await file.stat();
    if (!stat.isFile()) throw refuse('is no plain file');
    if (stat.size > bytesMax) throw refuse(`has ${stat.size} bytes, more than ${bytesMax}`);
    return await file.readFile();
  } finally {
    await file.close();
  }
}

async function subfolders(dir: string): Promise<string[]> {
  const entries = await readdir(dir, { withFileTypes: true }).catch((reason: NodeJS.ErrnoException) => {
    if (reason.code === 'ENOENT') return [];
    throw BrinkError.from(reason);
  });
  return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
}
