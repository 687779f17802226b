import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { repository } from './fleet.ts';

// Other people's models and pictures stay where they are. What the repository has of them are passports (services/inference/
// test/models), whose `files` say where each file comes from instead of its hash.

const shared = join(repository, '../shared');
export const noOthers = existsSync(join(shared, 'models')) ? undefined : `there is no ${shared}`;

/** @param path below ../shared */
export const readShared = (path: string) => readFileSync(join(shared, path));

type Draft = Record<string, unknown> & {
  name: string;
  version: number;
  files: ({ path: string } & ({ from: string } | { lines: string[] }))[];
};

/** Makes `<dir>/<name>/<version>/` of a passport. @param change it on the way */
export function installOther(dir: string, fixture: string, change: (passport: Draft) => Draft = (same) => same): void {
  const file = join(repository, `services/inference/test/models/${fixture}.json`);
  const passport = change(JSON.parse(readFileSync(file, 'utf8')) as Draft);
  const folder = join(dir, passport.name, String(passport.version));
  const files = passport.files.map((one) => {
    const content = 'from' in one ? readShared(one.from) : Buffer.from(`${one.lines.join('\n')}\n`);
    mkdirSync(dirname(join(folder, one.path)), { recursive: true });
    writeFileSync(join(folder, one.path), content);
    return { path: one.path, sha256: createHash('sha256').update(content).digest('hex') };
  });
  writeFileSync(join(folder, 'model.json'), JSON.stringify({ ...passport, files }));
}
