import { writeBackup } from './ledger/backup/pack.ts';
import { answer, readArguments } from './ledger/backup/places.ts';

// node services/control/src/backup.ts <file> [--data folder] [--config folder] [--models folder] [--devices file] [--json]
// Everything that a site cannot be set up again without, in one tar. May run beside control. Exit 0: done, 1: not, 2: called wrongly.

const { file, places, json } = readArguments(process.env);
await answer(json, async () => {
  const manifest = await writeBackup(file, places, Date.now());
  const bytes = manifest.files.reduce((sum, one) => sum + one.bytes, 0);
  return {
    value: { file, ...manifest },
    lines: [
      `${file}: ${manifest.n === 0 ? 'no decision yet' : `decisions up to ${manifest.n}`}, ${manifest.files.length} files, ${bytes} bytes`,
      `it lists ${manifest.models.length} versions of models by their hashes; their files are not in it`,
      'keep it where others cannot read it: it holds hashes of passwords, and what your devices saw',
    ],
  };
});
