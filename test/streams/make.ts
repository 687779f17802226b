import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { installOther, noOthers } from '../harness/others.ts';
import { formulas } from './formulas.ts';

const repository = join(import.meta.dirname, '../..');

// npx node test/streams/make.ts <folder> (Node 24; npx finds the one of this project): the site of docs/streams.md, a stream of every kind with something that decides on it.

const OTHERS = ['keyword-spotting', 'silero-vad', 'ultraface'];

export function makeSite(folder: string): { config: string; models: string } {
  const models = join(folder, 'models');
  const config = join(folder, 'config');
  mkdirSync(models, { recursive: true });
  cpSync(join(repository, 'models/cifar-net'), join(models, 'cifar-net'), { recursive: true });
  for (const { graph, passport, files: others = {} } of formulas) {
    const place = join(models, passport.name, String(passport.version));
    mkdirSync(place, { recursive: true });
    const files = Object.entries({ 'model.onnx': graph, ...others }).map(([path, content]) => {
      writeFileSync(join(place, path), content);
      return { path, sha256: createHash('sha256').update(content).digest('hex') };
    });
    writeFileSync(join(place, 'model.json'), JSON.stringify({ ...passport, files }, null, 2));
  }
  mkdirSync(config, { recursive: true });
  const copy = (file: string) => cpSync(join(import.meta.dirname, file), join(config, file));
  copy('streams.yaml');
  if (noOthers === undefined) {
    for (const name of OTHERS) installOther(models, name);
    copy('others.yaml');
  }
  return { config, models };
}

if (process.argv[1] === import.meta.filename) {
  const [, , folder] = process.argv;
  if (folder === undefined) {
    process.stderr.write('npx node test/streams/make.ts <folder>\n');
    process.exit(2);
  }
  const { config, models } = makeSite(folder);
  if (noOthers !== undefined) process.stdout.write(`${noOthers}: there are no streams "words", "voice" and "door"\n`);
  process.stdout.write(`npm start -- --no-demo --config ${config} --models ${models}\n`);
}
