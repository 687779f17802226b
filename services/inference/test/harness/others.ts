import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { prepareFile } from '@brink/decode';
import { wireHeads } from '@brink/preprocess';
import { type Passport, PassportSchema } from '@brink/protocol';
import type { Unit, UnitTensor } from './inference.ts';
import { sha256 } from './models.ts';

// Other people's models and pictures. They stay where they are: what is kept here are passports, whose `files` say where each
// file comes from instead of its hash.

const ROOT = join(import.meta.dirname, '../../../..');
const SHARED = join(ROOT, '../shared');
const FIXTURES = join(import.meta.dirname, '../models');

/** Why the tests with them are skipped; undefined where they are there. */
export const noOthers = existsSync(join(SHARED, 'models')) ? undefined : `there is no ${SHARED}`;

/** @param path below ../shared */
export const readShared = (path: string) => readFile(join(SHARED, path));

type FixtureFile = { path: string } & ({ from: string } | { lines: string[] });

export interface Installed {
  readonly passport: Passport;
  /** of model.json */
  readonly sha256: string;
}

/** Makes `models/<name>/1/` of test/models/<name>.json. @param change the passport on the way */
export async function installOther(
  dir: string,
  fixture: string,
  change: (passport: Record<string, unknown>) => Record<string, unknown> = (same) => same,
): Promise<Installed> {
  const raw = JSON.parse(await readFile(join(FIXTURES, `${fixture}.json`), 'utf8')) as Record<string, unknown>;
  const given = change(raw);
  const folder = join(dir, String(given['name']), String(given['version']));
  const files = [];
  for (const file of given['files'] as FixtureFile[]) {
    const content = 'from' in file ? await readShared(file.from) : Buffer.from(`${file.lines.join('\n')}\n`);
    const to = join(folder, file.path);
    await mkdir(dirname(to), { recursive: true });
    await writeFile(to, content);
    files.push({ path: file.path, sha256: sha256(content) });
  }
  const bytes = Buffer.from(JSON.stringify({ ...given, files }));
  await writeFile(join(folder, 'model.json'), bytes);
  return { passport: PassportSchema.parse(JSON.parse(bytes.toString())), sha256: sha256(bytes) };
}

/** A folder with nothing but the graph. */
export async function installBare(dir: string, name: string, from: string): Promise<void> {
  const folder = join(dir, name, '1');
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'model.onnx'), await readShared(from));
}

/** A raw file as units, through the code that makes them of frames; states are not in them. */
export async function unitsOf(
  bytes: Uint8Array,
  { passport }: Installed,
): Promise<Extract<Unit, { tensors: unknown }>[]> {
  const heads = wireHeads(passport);
  return (await prepareFile(bytes, passport)).map(({ tensors }) => ({
    tensors: tensors.map((tensor, at): UnitTensor => {
      const { name = '', dtype = '', shape = [] } = heads[at] ?? {};
      return { name, dtype, shape, bytes: tensor };
    }),
  }));
}
