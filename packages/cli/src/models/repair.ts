import { randomBytes } from 'node:crypto';
import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { BrinkError } from '@brink/protocol';
import { checkModel, type ModelCheck } from './check.ts';
import type { ModelProblem } from './passport.ts';
import { storageError } from './store.ts';

type Json = Record<string, unknown>;

/** What the files and the graph say beyond doubt. Names of tensors are not among it: which one is meant is a guess. */
const SETTABLE = new Set(['name', 'version', 'batch_max', 'dtype', 'shape', 'image']);
/** Each round may show what was hidden behind what it mended. */
const ROUNDS_MAX = 4;

/**
 * Writes into model.json what `check` would have a person write: hashes and sizes, files that belong to the list, name and version, what
 * the graph fixes. Where there is no model.json, the draft, if nothing of it is missing.
 * @returns what is left to put right, and the paths that were written @throws BrinkError E_STORAGE_READONLY, E_STORAGE_FULL
 */
export async function repairModel(given: string): Promise<{ check: ModelCheck; written: readonly string[] }> {
  let check = await checkModel(given);
  const written: string[] = [];
  if (check.draft?.complete === true && check.problems.length === 0) {
    await replace(check.folder, check.draft.draft);
    return { check: await checkModel(check.folder), written: ['model.json'] };
  }
  for (let round = 0; round < ROUNDS_MAX; round++) {
    const passport = await passportOf(check.folder);
    const mended = passport === undefined ? [] : check.problems.filter((problem) => mend(passport, problem));
    if (passport === undefined || mended.length === 0) break;
    await replace(check.folder, passport);
    written.push(...mended.map(({ path }) => path));
    check = await checkModel(check.folder);
  }
  return { check, written: [...new Set(written)] };
}

/** @returns whether it was one that can be put right from here */
function mend(passport: Json, { path, write }: ModelProblem): boolean {
  if (write === undefined) return false;
  const file = /^files\[(\d+)\]\.(?:sha256|bytes)$/.exec(path);
  if (file !== null || /^output\.[\w.]+$/.test(path)) return mendFile(passport, jsonOf(write), file?.[1]);
  const line = jsonOf(`{${write}}`);
  const key = path.split(/[.[\]]+/).at(-1) ?? '';
  const parent = at(passport, path.split(/[.[\]]+/).slice(0, -1));
  if (line === undefined || parent === undefined || !SETTABLE.has(key) || !Object.hasOwn(line, key)) return false;
  parent[key] = line[key];
  return true;
}

/** A line of `files`: instead of the one that is there, or one more. */
function mendFile(passport: Json, line: Json | undefined, index: string | undefined): boolean {
  const { files } = passport;
  if (line === undefined || !Array.isArray(files) || typeof line['sha256'] !== 'string') return false;
  if (index === undefined) files.push(line);
  else files[Number(index)] = line;
  return true;
}

function at(value: Json, path: readonly string[]): Json | undefined {
  const found = path.reduce<unknown>((inner, key) => (isObject(inner) ? inner[key] : undefined), value);
  return isObject(found) ? found : undefined;
}

const isObject = (value: unknown): value is Json => typeof value === 'object' && value !== null;

function jsonOf(text: string): Json | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

async function passportOf(folder: string): Promise<Json | undefined> {
  const text = await readFile(join(folder, 'model.json'), 'utf8').catch(() => '');
  return jsonOf(text);
}

async function replace(folder: string, passport: object): Promise<void> {
  const temporary = join(folder, `.model.json.${randomBytes(6).toString('hex')}`);
  try {
    await writeFile(temporary, `${JSON.stringify(passport, null, 2)}\n`, { flag: 'wx', flush: true });
    await rename(temporary, join(folder, 'model.json'));
  } catch (reason) {
    await rm(temporary, { force: true });
    throw storageError(BrinkError.from(reason).cause ?? reason, folder);
  }
}
