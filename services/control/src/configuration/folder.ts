import { type Dirent, watch } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import {
  BrinkError,
  ChainPassportSchema,
  type Detector,
  detectorOf,
  isName,
  type ModelNeeds,
  needsOf,
  PassportSchema,
  stepModel,
} from '@brink/protocol';
import type { Clock, Logger, Part } from '@brink/runtime';
import type { ModelsOnDisk } from './crosschecks.ts';
import { configError } from './problems.ts';
import type { SourceFile } from './sources.ts';

const FILES_MAX = 100;
const FILE_BYTES_MAX = 1024 * 1024;

/**
 * The files of the configuration, sorted by name.
 * @throws BrinkError E_CONFIG when the folder is missing or empty, or holds a file that would be passed over in silence
 */
export async function readConfigFolder(dir: string): Promise<SourceFile[]> {
  const refuse = (file: string, found: string, expected: string): BrinkError =>
    configError([{ file, line: 1, column: 1, path: '', found, expected }]);
  const entries = await entriesOf(dir);
  if (entries === undefined) throw refuse(dir, 'no such folder', 'a folder with *.yaml files');
  const names = entries.filter((entry) => !entry.isDirectory()).map(({ name }) => name);
  const passedOver = names.find((name) => /\.(yml|yaml\.txt)$/i.test(name) && !name.startsWith('.'));
  if (passedOver !== undefined) throw refuse(join(dir, passedOver), 'this file name', 'a name that ends in .yaml');
  const wanted = names.filter((name) => name.endsWith('.yaml') && !name.startsWith('.')).sort();
  if (wanted.length === 0) throw refuse(dir, 'no *.yaml file', 'at least one, as site.yaml');
  if (wanted.length > FILES_MAX) throw refuse(dir, `${wanted.length} files`, `at most ${FILES_MAX}`);
  return await Promise.all(wanted.map((name) => readSource(join(dir, name), refuse)));
}

async function readSource(
  path: string,
  refuse: (file: string, found: string, expected: string) => BrinkError,
): Promise<SourceFile> {
  try {
    const { size } = await stat(path);
    if (size > FILE_BYTES_MAX) throw refuse(path, `${size} bytes`, `at most ${FILE_BYTES_MAX}`);
    return { name: path, text: await readFile(path, 'utf8') };
  } catch (cause) {
    if (cause instanceof BrinkError) throw cause;
    throw refuse(path, `a file that cannot be read (${(cause as NodeJS.ErrnoException).code})`, 'a readable file');
  }
}

/** `<dir>/<name>/<version>/` with a passport, or a model alone, by name and version. A folder that is missing holds no models. */
export async function readModelsFolder(dir: string): Promise<ModelsOnDisk> {
  const versions = new Map<string, number[]>();
  const all = new Map<string, number[]>();
  const add = (to: Map<string, number[]>, name: string, version: string) =>
    to.set(
      name,
      [...(to.get(name) ?? []), Number(version)].sort((a, b) => a - b),
    );
  const names = ((await entriesOf(dir)) ?? []).map(({ name }) => name).filter(isName);
  for (const name of names.sort()) {
    for (const { name: version } of (await entriesOf(join(dir, name))) ?? []) {
      if (!/^[1-9][0-9]{0,8}$/.test(version)) continue;
      const isThere = async (file: string) =>
        (await stat(join(dir, name, version, file)).catch(() => undefined))?.isFile() === true;
      const passport = await isThere('model.json');
      if (passport) add(versions, name, version);
      if (passport || (await isThere('model.onnx'))) add(all, name, version);
    }
  }
  return { dir, versions, all };
}

/** The same, with what each passport says. One that cannot be read is named where the model is loaded. */
export async function readModels(dir: string): Promise<ModelsOnDisk> {
  const models = await readModelsFolder(dir);
  const needs = new Map<string, ModelNeeds>();
  const detectors = new Map<string, Detector>();
  for (const [name, versions] of models.versions) {
    for (const version of versions) {
      const of = await readPassport(dir, name, version).catch(() => undefined);
      if (of === undefined) continue;
      needs.set(`${name}/${version}`, of.needs);
      detectors.set(`${name}/${version}`, of.detector);
    }
  }
  return { ...models, needs, detectors };
}

/** Of a chain: what its first step is fed with. */
async function readPassport(
  dir: string,
  name: string,
  version: number,
  inChain = false,
): Promise<{ needs: ModelNeeds; detector: Detector } | undefined> {
  const file = join(dir, name, String(version), 'model.json');
  if ((await stat(file)).size > FILE_BYTES_MAX) return undefined;
  const json: unknown = JSON.parse(await readFile(file, 'utf8'));
  const [first] = inChain ? [] : (ChainPassportSchema.safeParse(json).data?.steps ?? []);
  if (first !== undefined) {
    const of = await readPassport(dir, stepModel(first).name, stepModel(first).version, true);
    return of && { ...of, detector: { ...of.detector, isChain: true } };
  }
  const { data } = PassportSchema.safeParse(json);
  return data && { needs: needsOf(data.inputs), detector: detectorOf(data) };
}

async function entriesOf(dir: string): Promise<Dirent[] | undefined> {
  return await readdir(dir, { withFileTypes: true }).catch(() => undefined);
}

const SETTLE_MS = 150;
const POLL_MS = 2000;

/**
 * Calls `changed` once the files have stopped changing for a moment. `fs.watch` is fast but is not heard through every
 * mount (and loses a folder that is replaced), so the folder is also looked at every two seconds.
 */
export function createFolderWatch(
  o: { dir: string; modelsDir: string },
  d: { clock: Clock; logger: Logger; changed: () => Promise<void> },
): Part {
  const stopping = new AbortController();
  let settled: ReturnType<Clock['setTimeout']> | undefined;
  let poll: ReturnType<Clock['setTimeout']> | undefined;
  let seen = '';

  function noticed(): void {
    if (stopping.signal.aborted) return;
    if (settled !== undefined) d.clock.clearTimeout(settled);
    settled = d.clock.setTimeout(() => void look(), SETTLE_MS);
  }

  async function look(): Promise<void> {
    const now = await signatureOf(o);
    if (now === seen || stopping.signal.aborted) return;
    seen = now;
    await d
      .changed()
      .catch((error: unknown) => d.logger.error({ err: error }, 'configuration could not be read again'));
  }

  function pollNext(): void {
    if (stopping.signal.aborted) return;
    poll = d.clock.setTimeout(() => {
      void signatureOf(o).then((now) => {
        if (now !== seen) noticed();
        pollNext();
      });
    }, POLL_MS);
  }

  return {
    async start() {
      seen = await signatureOf(o);
      try {
        watch(o.dir, { signal: stopping.signal, persistent: false }, noticed).on('error', (error) =>
          d.logger.warn({ err: error }, 'the configuration folder is no longer watched, only looked at'),
        );
      } catch (error) {
        d.logger.warn({ err: error }, 'the configuration folder cannot be watched, only looked at');
      }
      pollNext();
    },
    stop() {
      stopping.abort();
      if (settled !== undefined) d.clock.clearTimeout(settled);
      if (poll !== undefined) d.clock.clearTimeout(poll);
      return Promise.resolve();
    },
  };
}

/** Changes whenever a file of the folder does, or the list of models. */
async function signatureOf(o: { dir: string; modelsDir: string }): Promise<string> {
  const names = ((await entriesOf(o.dir)) ?? []).map(({ name }) => name).sort();
  const files = await Promise.all(
    names.map(async (name) => {
      const found = await stat(join(o.dir, name)).catch(() => undefined);
      return `${name} ${found?.ino} ${found?.size} ${found?.mtimeMs}`;
    }),
  );
  const { versions, all } = await readModelsFolder(o.modelsDir);
  return JSON.stringify([files, [...versions], [...all]]);
}
