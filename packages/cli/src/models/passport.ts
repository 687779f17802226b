import { lstat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { BrinkError, isName, outputFiles, type Passport, PassportSchema, passportProblems } from '@brink/protocol';
import { bytesOf, fileLine, sha256 } from './source.ts';

/** One thing that is wrong in a model's folder: what the passport says, what was found, and what to write. */
export interface ModelProblem {
  /** `files[0].sha256`, or a file's name. */
  readonly path: string;
  readonly given: string;
  readonly expected: string;
  /** A line for model.json, where there is one that puts it right. */
  readonly write?: string;
}

export function parsePassport(text: string, problems: ModelProblem[]): Passport | undefined {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    problems.push({ path: 'model.json', given: BrinkError.from(error).detail, expected: 'JSON' });
    return undefined;
  }
  const parsed = PassportSchema.safeParse(withHashes(json));
  if (parsed.success) return parsed.data;
  for (const issue of passportProblems(parsed.error)) {
    const path = issue.path.reduce<string>(
      (all, part) => (typeof part === 'number' ? `${all}[${part}]` : `${all}${all && '.'}${String(part)}`),
      '',
    );
    problems.push({
      path: path === '' ? 'model.json' : path,
      given: short(at(json, issue.path)),
      expected: issue.message.replace(/^expected /, ''),
    });
  }
  return undefined;
}

const NO_HASH = '0'.repeat(64);

/** A hash that nobody wrote yet must not hide the rest: it is read as 64 zeros, and the files say the right one. */
function withHashes(json: unknown): unknown {
  if (typeof json !== 'object' || json === null || !('files' in json) || !Array.isArray(json.files)) return json;
  const files = json.files.map((file: unknown) => {
    if (typeof file !== 'object' || file === null || !('sha256' in file)) return file;
    return /^[0-9a-f]{64}$/.test(String(file.sha256)) ? file : { ...file, sha256: NO_HASH };
  });
  return { ...json, files };
}

/** Only of a folder that lies as models lie: `<name>/<version>`. */
export function checkPlace(folder: string, passport: Passport, problems: ModelProblem[]): void {
  const version = basename(folder);
  const name = basename(dirname(folder));
  if (!/^\d+$/.test(version)) return;
  const differs = (path: string, given: string | number, found: string) =>
    problems.push({
      path,
      given: String(given),
      expected: `${found}, as the folder says`,
      write: `"${path}": ${path === 'name' ? `"${found}"` : found}`,
    });
  if (passport.version !== Number(version)) differs('version', passport.version, version);
  if (isName(name) && passport.name !== name) differs('name', passport.name, name);
}

/**
 * Every file that the passport names is there, plain, and, if it is one to be hashed, as it was.
 * @param unreadable a file whose hash is of no use: it is broken
 */
export async function checkFiles(
  folder: string,
  passport: Passport,
  problems: ModelProblem[],
  unreadable?: string,
): Promise<void> {
  for (const [index, file] of passport.files.entries()) {
    const path = `files[${index}]`;
    const bytes = await plainFile(folder, file.path, `${path}.path`, problems);
    if (bytes !== undefined) problems.push(...differences(file, bytes, { path, broken: file.path === unreadable }));
  }
  // What classes are called, and where priors lie, must not change unnoticed: like weights.
  const listed = new Set(passport.files.map((file) => file.path));
  for (const [key, file] of Object.entries(outputFiles(passport.output))) {
    if (listed.has(file)) continue;
    const bytes = await bytesOf(join(folder, file));
    const write = bytes === undefined ? {} : { write: fileLine(file, bytes) };
    problems.push({
      path: `output.${key}`,
      given: file,
      expected: 'a file that `files` lists with its hash',
      ...write,
    });
  }
  for (const [index, golden] of passport.golden.entries()) {
    await plainFile(folder, golden.input, `golden[${index}].input`, problems);
  }
}

/** Of a listed file from what is there. */
function differences(
  file: Passport['files'][number],
  bytes: Buffer,
  { path, broken }: { path: string; broken: boolean },
): ModelProblem[] {
  const hash = sha256(bytes);
  const write = fileLine(file.path, bytes);
  const none = file.sha256 === NO_HASH;
  if (hash !== file.sha256) {
    const given = none ? 'no hash: 64 zeros, or something else than 64 of 0-9 a-f' : file.sha256;
    const again = `the file of this hash: the one that is here (${bytes.length} bytes) cannot be read; get it again`;
    if (broken) return none ? [] : [{ path: `${path}.sha256`, given, expected: again }];
    return [{ path: `${path}.sha256`, given, expected: `${hash}, the hash of ${file.path}`, write }];
  }
  if (file.bytes === undefined || file.bytes === bytes.length) return [];
  const expected = `${bytes.length}, the size of ${file.path}`;
  return [{ path: `${path}.bytes`, given: String(file.bytes), expected, write }];
}

/** Links lead out of the folder: inference takes none, so they are said here. */
async function plainFile(
  folder: string,
  file: string,
  path: string,
  problems: ModelProblem[],
): Promise<Buffer | undefined> {
  const found = await lstat(join(folder, file)).catch(() => undefined);
  if (found === undefined || !found.isFile()) {
    const given = found?.isSymbolicLink() === true ? `${file}, a link` : file;
    problems.push({ path, given, expected: 'a plain file in this folder' });
    return undefined;
  }
  return bytesOf(join(folder, file));
}

function at(value: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>(
    (inner, key) =>
      typeof inner === 'object' && inner !== null ? (inner as Record<PropertyKey, unknown>)[key] : undefined,
    value,
  );
}

function short(value: unknown): string {
  const text = value === undefined ? 'nothing' : JSON.stringify(value);
  return text.length > 100 ? `${text.slice(0, 100)}…` : text;
}
