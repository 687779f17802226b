import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { copyFile, mkdir, open, rename, rm, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { PassportDraft } from '@brink/onnx';
import { BrinkError, isName } from '@brink/protocol';
import { draftOf, type Examination, examine, type ModelCheck, tokenizerOf } from './check.ts';
import { beside, bytesOf, sha256 } from './source.ts';
import {
  ADDING,
  bytesBelow,
  checkModelsDir,
  rmdirIfEmpty,
  storageError,
  sweepLeftovers,
  syncFolder,
  versionsOf,
} from './store.ts';

export interface InstallOptions {
  readonly modelsDir: string;
  readonly name?: string;
  readonly version?: number;
  /** of the whole models folder */
  readonly quotaBytes: number;
  readonly nowMs: number;
}

export interface Installed {
  readonly name: string;
  readonly version: number;
  readonly path: string;
  readonly bytes: number;
  /** There is a passport: pipelines can name it. Else only the Open Inference Protocol reaches it. */
  readonly passport: boolean;
  /** Where the passport was made here, or could not be. */
  readonly draft?: PassportDraft;
}

/** What else is worth keeping, if it lies there: of a single file only what says something about it. */
const BESIDE_FILE = ['labels.txt', 'config.json', 'preprocessor_config.json', 'tokenizer.json'];
const BESIDE = [...BESIDE_FILE, 'README.md', 'LICENSE'];

type Content = { readonly from: string } | { readonly text: string };

/**
 * Puts a model into the models folder: checked, copied beside its place, then renamed to it, so that nobody ever sees half of it.
 * @returns no `installed` where the check found problems
 * @throws BrinkError E_NAME, E_CONFLICT (the version is there), E_STORAGE_FULL (quota or disk), E_STORAGE_READONLY, E_NOT_FOUND
 */
export async function installModel(
  given: string,
  o: InstallOptions,
): Promise<{ check: ModelCheck; installed?: Installed }> {
  const examined = await examine(given);
  // Where it lies, name and version may be others: what is checked is what it will be.
  const problems = examined.check.problems.filter(({ path }) => path !== 'name' && path !== 'version');
  const check = { ...examined.check, problems };
  if (problems.length > 0) return { check };
  await checkModelsDir(o.modelsDir);
  await sweepLeftovers(o.modelsDir, o.nowMs);
  const { name, version } = await placeFor(examined, o);
  const { contents, draft, passport } = await contentsOf(examined, name, version);
  const bytes = await sizeOf(contents);
  await checkQuota(o, bytes);
  const path = join(o.modelsDir, name, String(version));
  await put(contents, path).catch((reason: unknown) => {
    throw storageError(reason, o.modelsDir);
  });
  return { check, installed: { name, version, path, bytes, passport, ...(draft === undefined ? {} : { draft }) } };
}

/** @throws BrinkError E_NAME, E_CONFLICT */
async function placeFor({ passport, source }: Examination, o: InstallOptions) {
  const name = o.name ?? passport?.name ?? source.place.name;
  if (name === undefined || !isName(name)) {
    throw new BrinkError('E_NAME', `"${name ?? ''}" is no name; give one of a-z, 0-9 and - with --name`);
  }
  const there = await versionsOf(o.modelsDir, name);
  const highest = there.at(-1) ?? 0;
  const own = passport?.version ?? source.place.version ?? 1;
  const version = o.version ?? Math.max(own, highest + 1);
  if (there.includes(version)) {
    throw new BrinkError(
      'E_CONFLICT',
      `${name} has a version ${version}; versions do not change, the next one is ${highest + 1}`,
    );
  }
  return { name, version };
}

type Contents = Map<string, Content>;
interface Parcel {
  /** by the path in the folder */
  readonly contents: Contents;
  readonly draft?: PassportDraft;
  readonly passport: boolean;
}

async function contentsOf(examined: Examination, name: string, version: number): Promise<Parcel> {
  const { source, passport } = examined;
  const { folder, onnxFile } = source;
  const contents: Contents = new Map();
  for (const file of basename(onnxFile) === 'model.onnx' ? BESIDE : BESIDE_FILE) {
    const from = await beside(folder, file);
    if ((await stat(from).catch(() => undefined))?.isFile()) contents.set(file, { from });
  }
  contents.set('model.onnx', { from: onnxFile });
  if (passport === undefined) return withDraft(examined, contents, name, version);
  for (const { path } of passport.files) contents.set(path, { from: join(folder, path) });
  for (const { input } of passport.golden) contents.set(input, { from: join(folder, input) });
  const text = source.passportText ?? '';
  const renamed = `${JSON.stringify({ ...JSON.parse(text), name, version }, null, 2)}\n`;
  contents.set('model.json', { text: passport.name === name && passport.version === version ? text : renamed });
  return { contents, passport: true };
}

/** A passport where the sources say enough for one. */
async function withDraft(
  { source, info }: Examination,
  contents: Contents,
  name: string,
  version: number,
): Promise<Parcel> {
  const { folder, onnx, onnxFile } = source;
  if (info === undefined || onnx === undefined) throw new BrinkError('E_NOT_FOUND', `${onnxFile} is not there`);
  const files = [
    { path: 'model.onnx', sha256: sha256(onnx), bytes: onnx.length },
    ...(await tokenizerOf(folder, info)),
  ];
  const listed = await bytesOf(await beside(folder, 'labels.txt'));
  const known = (await draftOf(source, info, onnx, { name, version })).labels;
  // What lies there was put there by a person; else what the file's metadata or Hugging Face's say.
  const labels = listed ?? (known === undefined ? undefined : Buffer.from(`${known.join('\n')}\n`));
  if (labels !== undefined) {
    files.push({ path: 'labels.txt', sha256: sha256(labels), bytes: labels.length });
    contents.set('labels.txt', { text: labels.toString('utf8') });
  }
  const draft = await draftOf(source, info, onnx, { name, version, files });
  if (draft.complete) contents.set('model.json', { text: `${JSON.stringify(draft.draft, null, 2)}\n` });
  return { contents, draft, passport: draft.complete };
}

async function sizeOf(contents: ReadonlyMap<string, Content>): Promise<number> {
  let bytes = 0;
  for (const content of contents.values()) {
    bytes += 'text' in content ? Buffer.byteLength(content.text) : (await stat(content.from)).size;
  }
  return bytes;
}

/** @throws BrinkError E_STORAGE_FULL */
async function checkQuota({ modelsDir, quotaBytes }: InstallOptions, needed: number): Promise<void> {
  const used = await bytesBelow(modelsDir);
  if (used + needed <= quotaBytes) return;
  const [usedMb, neededMb, limitMb] = [used, needed, quotaBytes].map((bytes) => (bytes / 2 ** 20).toFixed(1));
  throw new BrinkError(
    'E_STORAGE_FULL',
    `${modelsDir} has ${usedMb} MB, this model needs ${neededMb} MB, the limit is ${limitMb} MB (--quota-mb); \`brink models remove\` makes room`,
  );
}

/** @throws what the file system says, E_CONFLICT where another one was faster */
async function put(contents: ReadonlyMap<string, Content>, path: string): Promise<void> {
  const parent = dirname(path);
  const temporary = join(parent, `${ADDING}${process.pid}-${randomBytes(6).toString('hex')}`);
  try {
    await mkdir(temporary, { recursive: true });
    const folders = new Set([temporary]);
    for (const [file, content] of contents) {
      const to = join(temporary, file);
      await mkdir(dirname(to), { recursive: true });
      folders.add(dirname(to));
      if ('text' in content) await writeFile(to, content.text, { flag: 'wx' });
      else await copyFile(content.from, to, constants.COPYFILE_EXCL);
      await syncFile(to);
    }
    for (const folder of folders) await syncFolder(folder);
    await rename(temporary, path);
  } catch (reason) {
    await rm(temporary, { recursive: true, force: true });
    await rmdirIfEmpty(parent);
    if (!['ENOTEMPTY', 'EEXIST', 'ENOTDIR'].includes((reason as NodeJS.ErrnoException).code ?? '')) throw reason;
    throw new BrinkError('E_CONFLICT', `${path} is there already`, { cause: reason });
  }
  await syncFolder(parent);
  await syncFolder(dirname(parent));
}

async function syncFile(path: string): Promise<void> {
  // A copied file keeps the rights of its source, which may be read only: reading is enough to sync.
  const file = await open(path, 'r');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}
